//! Increments fit every dump of their number, and name each row that was deleted.

use std::fs;
use std::path::Path;
use std::time::Duration;

use damo::params::Value;
use damo::storage::{DumpOptions, Dumped, Storage};
use damo::table::merge;

use crate::common::{int, open, params, races, sgd, text};

fn dump(storage: &Storage, path: &Path, extra: &[(&'static str, Value)]) -> Dumped {
    let list = [&[("format", text("table"))], extra].concat();
    storage.dump(path, DumpOptions::read(&params(&list)).unwrap(), |_, _| true).unwrap()
}

/// Two dumps have the same number and differ in expire_days.
#[test]
fn an_increment_fits_each_dump_of_its_number() {
    const DAY: u64 = 86_400_000;
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let storage = Storage::open(path("a"), 10 * 86_400, &params(&[])).unwrap();
    let start = 1_795_000_000_000;
    storage.set_clock_for_test(start).unwrap();
    let embedding = sgd(&storage, 2, 1.0, &[]);
    embedding.apply_gradients(&[1], &[1.0; 2]).unwrap();
    storage.set_clock_for_test(start + 5 * DAY).unwrap();
    embedding.apply_gradients(&[2], &[1.0; 2]).unwrap();
    let fresh = dump(&storage, &path("fresh"), &[("expire_days", int(1))]);
    let all = dump(&storage, &path("all"), &[]);
    assert_eq!((fresh.number, fresh.rows, all.number, all.rows), (all.number, 1, fresh.number, 2));
    storage.set_clock_for_test(start + 11 * DAY).unwrap();
    let full = dump(&storage, &path("full"), &[]);
    assert_eq!(full.rows, 1);
    dump(&storage, &path("increment"), &[("since", int(all.number as i64))]);
    merge(&path("all"), &path("increment"), &path("merged")).unwrap();
    assert_eq!(
        fs::read(path("merged")).unwrap(),
        fs::read(path("full")).unwrap(),
        "an expired row is served"
    );
}

/// Opening starts merges, which must keep the tombstones that base dumps need.
#[test]
fn tombstones_survive_opening() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let mut lost = Vec::new();
    for round in 0..races() {
        let dir = path(&format!("a{round}"));
        let storage = open(&dir);
        let embedding = sgd(&storage, 4, 1.0, &[]);
        let keys: Vec<i64> = (0..200_000).collect();
        for keys in keys.chunks(250_000) {
            embedding.insert(keys, &vec![1.0; keys.len() * 4]).unwrap();
        }
        let since = dump(&storage, &path("base"), &[]).number;
        for chunk in keys[..100_000].chunks(25_000) {
            embedding.delete(chunk).unwrap();
            storage.flush().unwrap();
        }
        for key in 0..2 {
            embedding.insert(&[5_000_000 + key], &[1.0; 4]).unwrap();
            storage.flush().unwrap();
        }
        drop((storage, embedding));
        let storage = open(&dir);
        std::thread::sleep(Duration::from_secs(3));
        let increment = dump(&storage, &path("increment"), &[("since", int(since as i64))]);
        println!("removed {}", increment.removed);
        if increment.removed != 100_000 {
            lost.push(100_000 - increment.removed);
        }
    }
    assert!(lost.is_empty(), "keys that stay in served tables: {lost:?}");
}
