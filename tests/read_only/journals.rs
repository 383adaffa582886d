//! Openings with `read_only` while another process trains, writes its rows to disk, and uses the
//! journal's files again.

use std::fs;
use std::path::Path;

use damo::storage::Storage;

use crate::common::{int, lookup, params, races, sgd};
use crate::races::{end, look, of_child, start, wait_for};

const KEYS: i64 = 20_000;
const DIM: usize = 16;

fn keys() -> Vec<i64> {
    (0..KEYS).collect()
}

/// Each call steps every row by the same, and is more than a megabyte of the journal.
fn train(dir: &Path) {
    let storage = Storage::open(dir, 0, &params(&[("threads", int(2))])).unwrap();
    let embedding = sgd(&storage, DIM, 1.0, &[]);
    let (keys, gradients) = (keys(), vec![-1.0; KEYS as usize * DIM]);
    embedding.apply_gradients(&keys, &gradients).unwrap();
    println!("begun");
    loop {
        for _ in 0..3 {
            embedding.apply_gradients(&keys, &gradients).unwrap();
        }
        storage.flush().unwrap();
    }
}

/// Whether the journal has a spare; None where its files are not mapped, so that there are none.
fn has_spare(dir: &Path) -> Option<bool> {
    let mut is_mapped = false;
    for entry in fs::read_dir(dir.join("journal")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|suffix| suffix == "spare") {
            return Some(true);
        }
        // Byte 8 has the version.
        is_mapped |= fs::read(path).is_ok_and(|bytes| bytes.get(8) == Some(&2));
    }
    is_mapped.then_some(false)
}

#[test]
fn a_journal_whose_files_are_used_again_is_seen_whole() {
    if let Some(dir) = of_child() {
        return train(&dir);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(a_journal_whose_files_are_used_again_is_seen_whole, dir.path());
    wait_for(&mut child, "begun");
    let (mut last, mut looks, mut spares) = (0.0, 0, 0);
    for _ in 0..40 * races() {
        let storage = look(dir.path()).unwrap();
        if let Some(has_spare) = has_spare(dir.path()) {
            (looks, spares) = (looks + 1, spares + u32::from(has_spare));
        }
        let weights = lookup(&sgd(&storage, DIM, 1.0, &[]), &keys());
        assert!(weights.iter().all(|weight| *weight == weights[0]), "part of a call was seen");
        assert!(weights[0] > 1.0 && weights[0] >= last, "{} after {last}", weights[0]);
        last = weights[0];
    }
    end(child);
    println!("{last} calls, {spares} spares seen in {looks} looks");
    assert!(looks == 0 || spares > 0);
}
