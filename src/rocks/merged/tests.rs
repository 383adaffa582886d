//! Scans of several files against RocksDB's own iterator.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};

use super::*;
use crate::rocks::sst::tests::{Database, GOES, IS_REPLACED, found, random, rows};

/// Deletes and overwrites some of a few keys, so that runs share most of them.
fn overlapping(random: &mut impl Rng, group: u16) -> BTreeMap<(u16, i64), Option<Vec<u8>>> {
    let mut rows = BTreeMap::new();
    for _ in 0..random.random_range(1..400) {
        let mut value = vec![0; random.random_range(1..120)];
        random.fill(value.as_mut_slice());
        value[0] = match random.random_range(0..20) {
            0 => GOES,
            1 => IS_REPLACED,
            _ => value[0] % GOES,
        };
        let value = Some(value).filter(|_| random.random_range(0..5) > 0);
        rows.insert((group, random.random_range(-300..300)), value);
    }
    rows
}

fn compare(database: &Database, files: &MergedRows) {
    let expected = database.expected(&KeyRange::all());
    assert!(found(files, &KeyRange::all()) == expected);
    for group in 0..4 {
        let start = key::encode(group, -7);
        for end in [None, Some(key::encode(group, 90)), Some(key::encode(group + 1, 3))] {
            let range = KeyRange { start, end };
            assert!(found(files, &range) == database.expected(&range), "{range:?}");
        }
    }
}

#[test]
fn random_histories_read_as_rocksdb_reads_them() {
    let (mut compared, mut with_clears, mut asked) = (0, 0, 0);
    for seed in 0..12 {
        let database = Database::new(seed % 2 == 0);
        let mut random = random(seed);
        // Some snapshots keep old versions from being merged away.
        let mut snapshots = Vec::new();
        for _ in 0..40 {
            match random.random_range(0..20) {
                0 => {
                    database.clear(random.random_range(0..4));
                    assert!(database.merged().is_none(), "the deletion is in memory only");
                }
                1 | 2 => database.rocks.flush().unwrap(),
                3 => database.rocks.compact().unwrap(),
                4 => snapshots.push(database.rocks.db.snapshot()),
                5 => snapshots.clear(),
                _ => {
                    let group = random.random_range(0..4);
                    database.add(&overlapping(&mut random, group));
                }
            }
            match database.merged() {
                Some(files) => {
                    compare(&database, &files);
                    compared += 1;
                    with_clears += usize::from(!files.deleted.is_empty());
                }
                None => asked += 1,
            }
        }
    }
    assert!(compared > 360, "{compared} compared, RocksDB asked {asked} times");
    assert!(with_clears > 40, "{with_clears} of {compared} with deleted groups");
}

#[test]
fn the_last_group_can_be_cleared() {
    let database = Database::new(false);
    database.add(&rows(&mut random(1), u16::MAX, 100, &[30]));
    database.clear(u16::MAX);
    database.rocks.flush().unwrap();
    let files = database.merged().unwrap();
    assert_eq!(files.deleted.len(), 1);
    compare(&database, &files);
    assert!(found(&files, &KeyRange::all()).is_empty());
    database.add(&BTreeMap::from([((u16::MAX, i64::MAX), Some(vec![1]))]));
    let files = database.merged().unwrap();
    compare(&database, &files);
    assert_eq!(found(&files, &KeyRange::all()).len(), 1);
}

#[test]
fn rows_stay_readable_when_merges_delete_their_files() {
    let database = Database::new(false);
    let mut random = random(2);
    for _ in 0..5 {
        database.add(&overlapping(&mut random, 1));
    }
    let (files, expected) = (database.merged().unwrap(), database.expected(&KeyRange::all()));
    let before: Vec<_> = database.files().into_iter().map(|(path, ..)| path).collect();
    database.rocks.compact().unwrap();
    database.clear(1);
    database.rocks.flush().unwrap();
    database.rocks.compact().unwrap();
    assert!(before.iter().all(|path| !path.exists()));
    assert!(database.expected(&KeyRange::all()).is_empty());
    assert!(found(&files, &KeyRange::all()) == expected);
}

#[test]
fn a_visitor_ends_the_scan_or_fails() {
    let database = Database::new(false);
    database.add(&rows(&mut random(3), 1, 100, &[30]));
    let files = database.merged().unwrap();
    let mut seen = 0;
    let mut visit = |_: &[u8; KEY_LEN], _: &[u8]| {
        seen += 1;
        Ok(seen < 7)
    };
    files.scan(&KeyRange::all(), &mut visit).unwrap();
    assert_eq!(seen, 7);
    let failed = files.scan(&KeyRange::all(), |_, _| Err(Error::io("no more")));
    assert!(matches!(failed, Err(Stopped::Failed(error)) if error.message() == "no more"));
}
