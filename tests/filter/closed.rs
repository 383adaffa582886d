//! A filter that was closed in order, or copied into a checkpoint, has a checksum: one flipped bit
//! of a counter is found. A filter of a killed process has none, and opens.

use std::fs;
use std::path::Path;

use damo::error::Status;
use damo::filter::Filter;
use damo::params::{Params, Value};
use std::sync::Arc;

use crate::common::{failure, float, int, open as open_storage, params, sgd, text};

const HEADER: usize = 4096;

fn bag(path: &Path, more: &[(&str, Value)]) -> Params {
    let list = [
        ("path", text(path.to_str().unwrap())),
        ("capacity", int(10_000)),
        ("count", int(3)),
        ("fpr", float(1e-3)),
    ];
    more.iter().fold(params(&list), |bag, (name, value)| match value {
        Value::Bool(value) => bag.with(name, *value).unwrap(),
        other => panic!("{other:?}"),
    })
}

fn open(path: &Path) -> Filter {
    Filter::open(&bag(path, &[])).unwrap()
}

fn version(path: &Path) -> u8 {
    fs::read(path).unwrap()[8]
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_flipped_counter_of_a_closed_filter_is_found() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("filter");
    let filter = open(&path);
    filter.add_batch(1, &(0..500).collect::<Vec<i64>>(), 2).unwrap();
    drop(filter);
    assert_eq!(version(&path), 2);
    let whole = fs::read(&path).unwrap();
    for byte in [HEADER, HEADER + 1, whole.len() / 2, whole.len() - 1] {
        flip(&path, byte);
        let error = failure(Filter::open(&bag(&path, &[])), Status::Corruption);
        let names_it = error.message().contains(path.to_str().unwrap());
        assert!(names_it && error.message().contains("reload false"), "{error}");
        // A refused file stays as it is, and verify false opens it.
        assert_ne!(fs::read(&path).unwrap(), whole);
        flip(&path, byte);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    flip(&path, HEADER);
    drop(Filter::open(&bag(&path, &[("verify", Value::Bool(false))])).unwrap());
    // Closing such a filter writes no checksum, so the next opening has none to compare.
    assert_eq!(version(&path), 1);
    drop(open(&path));
    assert_eq!(version(&path), 2);
}

#[test]
fn counters_that_a_power_cut_took_are_not_damage_however_often_it_is_opened() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("filter");
    let filter = open(&path);
    filter.add_batch(1, &(0..100).collect::<Vec<i64>>(), 2).unwrap();
    drop(filter);
    // It was closed without a sync before the system started again: the header reached the disk, a
    // counter did not.
    let mut bytes = fs::read(&path).unwrap();
    bytes[56..72].fill(7);
    let lost = (HEADER..bytes.len()).find(|&byte| bytes[byte] != 0).unwrap();
    bytes[lost] = 0;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..12]);
    crc.update(&bytes[16..HEADER]);
    bytes[12..16].copy_from_slice(&crc.finalize().to_le_bytes());
    fs::write(&path, bytes).unwrap();
    for _ in 0..3 {
        drop(open(&path));
    }
    flip(&path, lost);
    failure(Filter::open(&bag(&path, &[])), Status::Corruption);
}

#[test]
fn closing_says_what_is_there_whatever_was_done() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("filter");
    let keys: Vec<i64> = (0..100).collect();
    let mut admitted = vec![0; keys.len()];
    for round in 0..3 {
        let filter = open(&path);
        assert_eq!(version(&path), 1, "the checksum goes before anything can change");
        match round {
            0 => filter.add(0, 7, 1).unwrap(),
            1 => filter.add_batch(0, &keys, 1).unwrap(),
            _ => filter.count(0, (&keys, None), None, &mut admitted).unwrap(),
        }
        drop(filter);
        assert_eq!(version(&path), 2);
        // Opening and closing without a change keeps the checksum.
        drop(open(&path));
        assert_eq!(version(&path), 2);
        let filter = open(&path);
        filter.sync().unwrap();
        drop(filter);
    }
    assert!(open(&path).check(0, 7).unwrap());
}

/// As after a power cut behind the closing: the header is on disk, counters are not.
#[test]
fn a_checksum_from_before_the_machine_stopped_binds_only_what_was_on_disk() {
    let scratch = tempfile::tempdir().unwrap();
    for is_on_disk in [false, true] {
        let path = scratch.path().join(format!("filter{is_on_disk}"));
        let filter = open(&path);
        filter.add(0, 7, 2).unwrap();
        if is_on_disk {
            filter.sync().unwrap();
        }
        drop(filter);
        let mut bytes = fs::read(&path).unwrap();
        assert_eq!(bytes[52], u8::from(is_on_disk));
        bytes[56] ^= 1;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..12]);
        hasher.update(&bytes[16..HEADER]);
        bytes[12..16].copy_from_slice(&hasher.finalize().to_le_bytes());
        bytes[HEADER + 77] ^= 1;
        fs::write(&path, bytes).unwrap();
        let opened = Filter::open(&bag(&path, &[]));
        match is_on_disk {
            true => drop(failure(opened, Status::Corruption)),
            false => drop(opened.unwrap()),
        }
    }
}

#[test]
fn a_filter_of_before_there_were_checksums_opens() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("filter");
    // A killed process leaves the same bytes.
    let filter = open(&path);
    filter.add(0, 7, 3).unwrap();
    let old = fs::read(&path).unwrap();
    assert_eq!((old[8], &old[48..72]), (1, &[0; 24][..]));
    drop(filter);
    fs::write(&path, old).unwrap();
    assert!(open(&path).check(0, 7).unwrap());
}

#[test]
fn copies_in_checkpoints_are_compared_when_they_are_loaded_or_verified() {
    let scratch = tempfile::tempdir().unwrap();
    let in_scratch = |name: &str| scratch.path().join(name);
    let storage = open_storage(&in_scratch("storage"));
    let rows = sgd(&storage, 1, 1.0, &[]);
    let filter = Arc::new(open(&in_scratch("filter")));
    rows.set_filter(Some(Arc::clone(&filter))).unwrap();
    filter.add(0, 7, 2).unwrap();
    let checkpoint = in_scratch("checkpoint");
    storage.checkpoint(&checkpoint).unwrap();
    let copy = checkpoint.join("filters/0.filter");
    assert_eq!((version(&copy), fs::read(&copy).unwrap()[52]), (2, 1));
    storage.load_from_checkpoint(&checkpoint).unwrap();
    filter.add(0, 7, 1).unwrap();
    assert!(filter.check(0, 7).unwrap());

    flip(&copy, HEADER + 3);
    let error = failure(storage.load_from_checkpoint(&checkpoint), Status::Corruption);
    assert!(error.message().contains("0.filter"), "{error}");
    assert!(filter.check(0, 7).unwrap(), "a refused checkpoint changes nothing");
    rows.set_filter(None).unwrap();
    let error = failure(storage.load_from_checkpoint(&checkpoint), Status::Corruption);
    assert!(
        error.message().contains("0.filter"),
        "also where no embedding has the filter: {error}"
    );
    let error = failure(open_storage(&checkpoint).verify(), Status::Corruption);
    assert!(error.message().contains("0.filter"), "{error}");
    flip(&copy, HEADER + 3);
    open_storage(&checkpoint).verify().unwrap();
}
