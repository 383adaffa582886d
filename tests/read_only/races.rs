//! Openings with `read_only` while others make, train, merge and read the storage.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use damo::error::{Result, Status};
use damo::params::{Params, Value};
use damo::storage::Storage;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::common::{failure, int, params, races, rerun, sgd};

const CHILD: &str = "DAMO_READ_ONLY_RACES_TEST_DIR";

pub(crate) fn look(dir: &Path) -> Result<Storage> {
    Storage::open(dir, 0, &params(&[("read_only", Value::from(true)), ("threads", int(1))]))
}

/// The directory that a test gets in a process of its own.
pub(crate) fn of_child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Runs a test of this file in another process.
pub(crate) fn start(test: impl Fn(), dir: &Path) -> Child {
    rerun(test).env(CHILD, dir).stdout(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn wait_for(child: &mut Child, line: &str) {
    let said =
        BufReader::new(child.stdout.as_mut().unwrap()).lines().map_while(std::result::Result::ok);
    assert!(said.into_iter().any(|said| said.ends_with(line)), "'{line}' was not said");
}

pub(crate) fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Six files of rows that wait to be merged.
fn fill(dir: &Path) -> Storage {
    let storage = Storage::open(dir, 0, &params(&[("threads", int(1))])).unwrap();
    let embedding = sgd(&storage, 4, 1.0, &[]);
    for file in 0..6 {
        let keys: Vec<i64> = (0..500).map(|key| key * 7 + file).collect();
        embedding.apply_gradients(&keys, &[0.5; 2000]).unwrap();
        storage.flush().unwrap();
    }
    storage
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "sst")).collect()
}

/// Reads everything: rows, checksums, and the files for a checkpoint.
fn read_everything(storage: &Storage) -> u64 {
    let rows = storage.row_count(None).unwrap();
    assert_eq!(storage.verify().unwrap().rows, rows);
    let scratch = tempfile::tempdir().unwrap();
    let checkpoint = scratch.path().join("checkpoint");
    storage.checkpoint(&checkpoint).unwrap();
    assert_eq!(
        Storage::open(&checkpoint, 0, &Params::new()).unwrap().row_count(None).unwrap(),
        rows
    );
    rows
}

#[test]
fn files_that_are_merged_away_are_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let owner = fill(dir.path());
    let storage = look(dir.path()).unwrap();
    let before = tables(dir.path());
    sgd(&owner, 4, 1.0, &[]).apply_gradients(&[-1, 0], &[0.5; 8]).unwrap();
    owner.compact().unwrap();
    assert!(before.len() >= 6 && before.iter().all(|path| !path.exists()), "they were not merged");
    assert_eq!(read_everything(&storage), 3000);
    assert_eq!(read_everything(&look(dir.path()).unwrap()), 3001);
}

#[test]
fn descriptors_are_left_to_rocksdb_and_the_rest_is_named() {
    let Some(dir) = of_child() else {
        let dir = tempfile::tempdir().unwrap();
        let child = start(descriptors_are_left_to_rocksdb_and_the_rest_is_named, dir.path());
        let output = child.wait_with_output().unwrap();
        return assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    let owner = fill(&dir);
    let usual = getrlimit(Resource::Nofile);
    let open = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut few = usual;
    // The lock of the opening's folder, 64 for files other than SST files, one for each SST file
    // that RocksDB opens, and three that are held.
    few.current = Some(open + 1 + 64 + tables(&dir).len() as u64 + 3);
    setrlimit(Resource::Nofile, few).unwrap();
    let storage = look(&dir).unwrap();
    assert_eq!(read_everything(&storage), 3000);
    owner.compact().unwrap();
    let checkpoint = dir.with_file_name("checkpoint-of-what-is-gone");
    for outcome in [storage.verify().map(drop), storage.checkpoint(&checkpoint)] {
        let error = failure(outcome, Status::Io);
        let names =
            ["ulimit -n", "open it here again", "Only 3 of its ", &*dir.to_string_lossy(), ".sst"];
        assert!(names.iter().all(|part| error.message().matches(part).count() >= 1), "{error}");
        assert_eq!(error.message().matches("ulimit -n").count(), 1, "{error}");
    }
    assert!(!checkpoint.exists());
    drop(storage);
    assert_eq!(read_everything(&look(&dir).unwrap()), 3000);
}

#[test]
fn those_that_look_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    drop(fill(dir.path()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 * races() {
                    assert_eq!(look(dir.path()).unwrap().row_count(None).unwrap(), 3000);
                }
            });
        }
    });
}

#[test]
fn a_storage_that_merges_all_the_time_is_seen_whole() {
    if let Some(dir) = of_child() {
        let storage = fill(&dir);
        let embedding = sgd(&storage, 4, 1.0, &[]);
        println!("filled");
        for key in 10_000.. {
            embedding.apply_gradients(&[key % 20_000], &[0.5; 4]).unwrap();
            storage.flush().unwrap();
            if key % 20 == 0 {
                storage.compact().unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(a_storage_that_merges_all_the_time_is_seen_whole, dir.path());
    wait_for(&mut child, "filled");
    let mut last = 3000;
    for _ in 0..20 * races() {
        let storage = look(dir.path()).unwrap();
        thread::sleep(Duration::from_millis(20));
        let rows = read_everything(&storage);
        assert!(rows >= last, "{rows} rows after {last}");
        last = rows;
    }
    assert!(last > 3000);
    end(child);
}

#[test]
fn a_storage_is_seen_from_its_first_moment() {
    const STORAGES: usize = 15;
    if let Some(dir) = of_child() {
        for number in 0..STORAGES * races() as usize {
            let storage =
                Storage::open(dir.join(number.to_string()), 0, &params(&[("threads", int(1))]))
                    .unwrap();
            sgd(&storage, 2, 0.5, &[]).apply_gradients(&[7], &[1.0, 1.0]).unwrap();
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let child = start(a_storage_is_seen_from_its_first_moment, dir.path());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for number in 0..STORAGES * races() as usize {
                    let path = dir.path().join(number.to_string());
                    // Tries until the storage exists; it stays.
                    while look(&path)
                        .map_err(|error| assert_eq!(error.status(), Status::NotFound, "{error}"))
                        .is_err()
                    {}
                    while look(&path).unwrap().row_count(None).unwrap() == 0 {}
                }
            });
        }
    });
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn a_first_opening_is_waited_for_while_its_process_lives() {
    if let Some(dir) = of_child() {
        let lock = File::create(dir.join("LOCK")).unwrap();
        fcntl_lock(&lock, FlockOperation::LockExclusive).unwrap();
        println!("locked");
        thread::sleep(Duration::from_secs(60));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".damo-first-opening"), "").unwrap();
    let mut child = start(a_first_opening_is_waited_for_while_its_process_lives, dir.path());
    wait_for(&mut child, "locked");
    let begun = Instant::now();
    let error = failure(look(dir.path()), Status::Busy);
    assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
    for part in
        ["is being made by another process", "open it again", &*dir.path().to_string_lossy()]
    {
        assert!(error.message().contains(part), "{error}");
    }
    // The killed process has left no storage.
    end(child);
    failure(look(dir.path()), Status::NotFound);
}
