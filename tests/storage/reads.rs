//! Rows that are read from disk, in each way that the options allow.

use std::path::Path;

use damo::storage::Storage;

use crate::common::{int, lookup, params, sgd, text};

/// More than RocksDB is asked for after opening.
const KEYS: i64 = 6_000;
const DIM: usize = 8;
const WAYS: [&str; 2] = ["blocks_read_mapped", "blocks_read_by_pread"];

/// A storage whose rows are on disk only: the row of key k is k in all columns.
fn fill(dir: &Path) {
    let storage = Storage::open(dir, 0, &params(&[])).unwrap();
    let embedding = sgd(&storage, DIM, 1.0, &[]);
    let keys: Vec<i64> = (0..KEYS).collect();
    let rows: Vec<f32> = keys.iter().flat_map(|key| [*key as f32; DIM]).collect();
    embedding.insert(&keys, &rows).unwrap();
}

/// Looks up all rows, in calls of so many. Returns how many blocks were read in which way.
fn read(dir: &Path, options: &[(&str, &str)], batch: usize) -> [u64; WAYS.len()] {
    let mut options: Vec<_> = options.iter().map(|(name, value)| (*name, text(value))).collect();
    options.push(("threads", int(2)));
    let storage = Storage::open(dir, 0, &params(&options)).unwrap();
    let embedding = sgd(&storage, DIM, 1.0, &[]);
    let keys: Vec<i64> = (0..=KEYS).collect();
    for keys in keys.chunks(batch) {
        let weights = lookup(&embedding, keys);
        for (key, row) in keys.iter().zip(weights.chunks_exact(DIM)) {
            let expected = if *key == KEYS { 1.0 } else { *key as f32 };
            assert_eq!(row, [expected; DIM], "key {key}");
        }
    }
    assert!(storage.stat("rows_loaded").unwrap() >= KEYS as u64);
    WAYS.map(|way| storage.stat(way).unwrap())
}

#[test]
fn options_tell_how_blocks_are_read() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    for batch in [KEYS as usize + 1, 1500, 40] {
        let [mapped, by_pread] = read(dir.path(), &[], batch);
        println!("calls of {batch} keys: {mapped} mapped, {by_pread} by pread");
        assert!(mapped + by_pread > 0);
        let [mapped, by_pread] = read(dir.path(), &[("mapped_reads", "off")], batch);
        assert!(mapped == 0 && by_pread > 0);
    }
}

/// What was just written is in the page cache.
#[test]
#[cfg(target_os = "linux")]
fn a_warm_table_is_read_from_mapped_files() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let [mapped, by_pread] = read(dir.path(), &[("mapped_reads", "auto")], 1000);
    assert!(mapped > by_pread, "{mapped} mapped, {by_pread} by pread");
}
