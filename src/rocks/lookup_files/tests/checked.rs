//! The check of reads finds wrong lists of files, and accepts what merges have dropped.

use super::*;
use crate::rocks::fate::Fate;
use crate::rocks::read_batch::{ReadFrom, read_part, read_rows_of};
use crate::rocks::row::{self, Found, RowHeader, Stored, expired_on};
use crate::seqno::Seqno;

const ROW_LEN: usize = 3;
const GROUP: u16 = 1;
/// Merges leave nothing of rows from before this time.
const GONE: u64 = 500;
/// Merges put a tombstone in the place of later rows from before this time. They drop tombstones of
/// deleted rows from before it.
const EXPIRED: u64 = 1000;

type Files = BTreeMap<(u16, i64), Option<Vec<u8>>>;

fn new() -> Database {
    Database::with_fate(false, |value| match row::parse(value) {
        Ok(Stored::Row(header, _)) if header.update_time < GONE => Fate::Go,
        Ok(Stored::Row(header, _)) if header.update_time < EXPIRED => Fate::Leave(expired_on(1)),
        Ok(Stored::Deleted { time, .. }) if time < EXPIRED => Fate::Go,
        _ => Fate::Stay,
    })
}

/// Rows of one time under some keys.
fn rows_at(update_time: u64, keys: impl Iterator<Item = i64>) -> Files {
    let row = |key: i64| {
        let header = RowHeader { update_time, update_num: 1, seqno: Seqno::new(2) };
        let mut value = Vec::new();
        row::encode(&mut value, header, &[key as f32; ROW_LEN]);
        ((GROUP, key), Some(value))
    };
    keys.map(row).collect()
}

/// Tombstones of one time under some keys.
fn tombstones_at(time: u64, keys: impl Iterator<Item = i64>) -> Files {
    let tombstone = |key: i64| {
        let mut value = Vec::new();
        row::encode_deleted(&mut value, time, Seqno::new(3));
        ((GROUP, key), Some(value))
    };
    keys.map(tombstone).collect()
}

/// Reads all keys of the tests, and has the check compare them. Returns the message of its error.
fn check(database: &Database, files: &LookupFiles) -> std::result::Result<(), String> {
    let keys: Vec<i64> = (0..300).collect();
    let from = ReadFrom { files, reader: &BlockReader::new(true, true) };
    let read = read_part(&database.rocks, Some(from), GROUP, &keys, ROW_LEN);
    read.map(drop).map_err(|error| {
        assert_eq!(error.status(), Status::Panic, "{error}");
        error.to_string()
    })
}

fn list(files: &LookupFiles, change: impl Fn(&mut Vec<Leveled>)) -> LookupFiles {
    let mut changed = files.files.clone();
    change(&mut changed);
    LookupFiles::new(changed)
}

/// Adds three files: rows, later rows, and tombstones. Each has some keys of the other two.
fn three_files(database: &Database, time: u64) {
    database.add(&rows_at(time, 0..200));
    database.add(&rows_at(time + 1, 100..250));
    database.add(&tombstones_at(time + 2, 50..150));
}

#[test]
fn a_wrong_list_is_found_each_time() {
    let database = new();
    three_files(&database, 2000);
    let right = files(&database).unwrap();
    assert_eq!((check(&database, &right), right.files.len()), (Ok(()), 3));
    for left_out in 0..3 {
        let wrong = list(&right, |files| drop(files.remove(left_out)));
        for _ in 0..2 {
            let error = check(&database, &wrong).unwrap_err();
            assert!(error.contains("read again, the same files have"), "{error}");
        }
        assert_eq!(check(&database, &files(&database).unwrap()), Ok(()));
    }
    assert!(check(&database, &list(&right, |files| files.reverse())).is_err());
    assert!(check(&database, &list(&right, |files| files.swap(1, 2))).is_err());
    assert!(check(&database, &list(&right, Vec::clear)).is_err());
    // RocksDB is asked for the keys of a file that is not read.
    let unread = |files: &mut Vec<Leveled>| files[1].state = Use::Refused;
    assert_eq!(check(&database, &list(&right, unread)), Ok(()));
}

#[test]
fn a_list_from_before_a_change_is_found() {
    let database = new();
    three_files(&database, 2000);
    let before = files(&database).unwrap();
    database.add(&rows_at(3000, 299..300));
    assert!(check(&database, &before).unwrap_err().contains("key 299"));
    let before = files(&database).unwrap();
    database.clear(GROUP);
    assert!(files(&database).is_none(), "the deletion is in memory only");
    assert!(check(&database, &before).is_err());
    database.rocks.flush().unwrap();
    assert!(check(&database, &before).is_err());
    assert_eq!(check(&database, &files(&database).unwrap()), Ok(()));
    database.rocks.compact().unwrap();
    assert!(check(&database, &before).is_err(), "no merge has dropped these rows as expired");
}

#[test]
fn other_floats_under_the_same_header_are_found() {
    let database = new();
    database.add(&rows_at(2000, 0..10));
    let before = files(&database).unwrap();
    let mut others = rows_at(2000, 0..10);
    let last = others.get_mut(&(GROUP, 7)).unwrap().as_mut().unwrap().last_mut().unwrap();
    *last ^= 1;
    database.add(&others);
    let error = check(&database, &before).unwrap_err();
    assert!(error.contains("key 7: ") && error.contains("with other floats"), "{error}");
}

#[test]
fn what_a_merge_drops_is_not_reported() {
    for time in [GONE - 10, EXPIRED - 10] {
        let database = new();
        three_files(&database, time);
        database.add(&rows_at(2000, (0..300).step_by(7)));
        let before = files(&database).unwrap();
        assert_eq!(check(&database, &before), Ok(()));
        database.rocks.compact().unwrap();
        // What `check` compares: the files from before the merge, and RocksDB after it.
        let keys: Vec<i64> = (0..300).collect();
        let found = |from| {
            let rows = read_rows_of(&database.rocks, from, GROUP, &keys, ROW_LEN).unwrap();
            (0..keys.len()).map(|index| rows.found(index)).collect::<Vec<_>>()
        };
        let from = ReadFrom { files: &before, reader: &BlockReader::new(true, true) };
        let (early, late) = (found(Some(from)), found(None));
        let count = |expected: fn(&Found) -> bool| early.iter().filter(|it| expected(it)).count();
        let tombstones = count(|found| matches!(found, Found::Deleted { .. }));
        let dropped = late.iter().zip(&early).filter(|(late, early)| late != early);
        assert!(dropped.clone().all(|(late, _)| *late == Found::Nothing));
        // Of 250 keys with rows or tombstones, 36 have new rows.
        assert_eq!((dropped.count(), tombstones), (214, 86));
        assert_eq!(check(&database, &before), Ok(()));
        assert_eq!(check(&database, &files(&database).unwrap()), Ok(()));
        // The new rows are in the newest file.
        let wrong = list(&before, |files| drop(files.remove(0)));
        assert!(check(&database, &wrong).is_err());
    }
}

#[test]
fn the_check_passes_while_merges_drop_rows() {
    let database = new();
    for _ in 0..4 {
        three_files(&database, EXPIRED - 10);
    }
    make_files_small(&database);
    let before = files(&database).unwrap();
    while_merging(&database.rocks, || {
        database.rocks.free_deleted_files();
        assert_eq!(check(&database, &before), Ok(()));
        assert_eq!(check(&database, &files(&database).unwrap()), Ok(()));
    });
    // Once more, also if the merges were the faster.
    assert_eq!(check(&database, &before), Ok(()));
    assert_eq!(check(&database, &files(&database).unwrap()), Ok(()));
}
