//! Rows of several files against RocksDB's own reads.

#[cfg(feature = "check-index")]
mod checked;
mod flips;
mod prepared;
mod unopened;
mod ways;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rand::{Rng, RngExt};
use rust_rocksdb::{BottommostLevelCompaction, CompactOptions};

use super::waves::Rest;
use super::*;
use crate::error::Status;
use crate::rocks::admission::Admission;
use crate::rocks::block_reader::BlockReader;
use crate::rocks::file_list::newest_first;
use crate::rocks::key::{self, KEY_LEN};
use crate::rocks::lookups::Lookups;
use crate::rocks::sst::tests::{Database, GOES, IS_REPLACED, random, rows};
use crate::rocks::{KeyRange, Rocks};

type Keys = Vec<[u8; KEY_LEN]>;
type Values = Vec<Option<Vec<u8>>>;

/// Some keys of all groups, ascending.
fn keys(random: &mut impl Rng) -> Keys {
    let mut keys: Vec<_> = (0..random.random_range(1..700))
        .map(|_| key::encode(random.random_range(0..5), random.random_range(-320..320)))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// All rows of a database: their keys and values.
fn all(database: &Database) -> (Keys, Values) {
    let all = database.expected(&KeyRange::all());
    let encoded = |key: Vec<u8>| <[u8; KEY_LEN]>::try_from(key).unwrap();
    all.into_iter().map(|(key, value)| (encoded(key), Some(value))).unzip()
}

/// What the files have, and the positions for which RocksDB has to be asked.
fn read(files: &LookupFiles, keys: &[[u8; KEY_LEN]]) -> (Values, Vec<usize>) {
    let (values, Rest { refused, .. }) = read_by(&BlockReader::new(true, true), files, keys);
    (values, refused)
}

fn read_by(reader: &BlockReader, files: &LookupFiles, keys: &[[u8; KEY_LEN]]) -> (Values, Rest) {
    let mut values = vec![None; keys.len()];
    let mut visits = vec![0; keys.len()];
    let rest = files.read(reader, keys, |at, value| {
        values[at] = value.map(<[u8]>::to_vec);
        visits[at] += 1;
        Ok(())
    });
    let rest = rest.unwrap();
    let refused = &rest.refused;
    assert!(rest.reads.all() > 0 || values.iter().all(Option::is_none), "no block is cached");
    assert!(refused.is_sorted_by(|a, b| a < b));
    refused.iter().for_each(|&at| visits[at] += 1);
    assert!(visits.iter().all(|visits| *visits == 1), "each key has one answer");
    (values, rest)
}

fn expected(database: &Database, keys: &[[u8; KEY_LEN]]) -> Values {
    keys.iter().map(|key| database.rocks.db.get(key).unwrap()).collect()
}

/// Compares what files have with RocksDB's answers. Returns how many keys RocksDB has to be asked
/// for.
fn compare(files: &LookupFiles, keys: &[[u8; KEY_LEN]], expected: &Values) -> usize {
    let (mut values, refused) = read(files, keys);
    refused.iter().for_each(|&at| values[at].clone_from(&expected[at]));
    assert!(values == *expected);
    refused.len()
}

/// The files of this moment.
fn files(database: &Database) -> Option<Arc<LookupFiles>> {
    database.rocks.lookup_files(1 << 20)
}

/// Has merges write several files.
fn make_files_small(database: &Database) {
    let small = [("target_file_size_base", "16384"), ("max_compaction_bytes", "65536")];
    database.rocks.db.set_options(&small).unwrap();
}

fn lookups(database: &mut Database) -> &mut Lookups {
    Arc::get_mut(&mut database.rocks.lookups).expect("no thread opens files")
}

fn open(files: &LookupFiles) -> usize {
    files.files.iter().filter(|one| matches!(one.state, Use::Open(_))).count()
}

/// A file of a few keys, so that runs share most of them.
fn add_some(database: &Database, random: &mut impl Rng) {
    let (group, mut some) = (random.random_range(0..4), BTreeMap::new());
    for _ in 0..random.random_range(1..400) {
        let mut value = vec![0; random.random_range(1..120)];
        random.fill(value.as_mut_slice());
        value[0] = match random.random_range(0..20) {
            0 => GOES,
            1 => IS_REPLACED,
            _ => value[0] % GOES,
        };
        let value = Some(value).filter(|_| random.random_range(0..5) > 0);
        some.insert((group, random.random_range(-300..300)), value);
    }
    database.add(&some);
}

#[test]
fn random_histories_read_as_rocksdb_reads_them() {
    let (mut compared, mut with_clears, mut asked, mut most_files) = (0, 0, 0, 0);
    let (mut all_keys, mut refused) = (0, 0);
    for seed in 0..12 {
        let database = Database::new(seed % 2 == 0);
        if seed % 3 == 2 {
            make_files_small(&database);
        }
        let mut random = random(100 + seed);
        // Some snapshots keep old versions from being merged away.
        let mut snapshots = Vec::new();
        for _ in 0..60 {
            match random.random_range(0..20) {
                0 => {
                    database.clear(random.random_range(0..4));
                    assert!(files(&database).is_none(), "the deletion is in memory only");
                }
                1 | 2 => database.rocks.flush().unwrap(),
                3 => database.rocks.compact().unwrap(),
                4 => snapshots.push(database.rocks.db.snapshot()),
                5 => snapshots.clear(),
                _ => add_some(&database, &mut random),
            }
            let Some(files) = files(&database) else {
                asked += 1;
                continue;
            };
            let keys = keys(&mut random);
            let asked_for = compare(&files, &keys, &expected(&database, &keys));
            // A deletion that goes beyond its file is one that a merge has divided.
            assert!(asked_for == 0 || seed % 3 == 2);
            compared += 1;
            all_keys += keys.len();
            refused += asked_for;
            with_clears += usize::from(!files.deleted.is_empty());
            most_files = most_files.max(files.files.len());
        }
    }
    assert!(compared > 480, "{compared} compared, RocksDB asked {asked} times");
    assert!(with_clears > 40, "{with_clears} of {compared} with deleted groups");
    assert!(most_files > 20, "at most {most_files} files");
    assert!(refused < all_keys / 5, "{refused} of {all_keys} keys were refused");
}

/// Does something again and again until another thread has merged all files five times.
fn while_merging(rocks: &Rocks, mut again: impl FnMut()) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let merge = scope.spawn(|| {
            for _ in 0..5 {
                rocks.compact().unwrap();
            }
            is_over.store(true, Ordering::Release);
        });
        while !is_over.load(Ordering::Acquire) {
            again();
        }
        merge.join().unwrap();
    });
}

#[test]
fn rows_are_found_while_merges_replace_the_files() {
    let database = Database::new(false);
    make_files_small(&database);
    let mut random = random(5);
    for _ in 0..6 {
        database.add(&rows(&mut random, 1, 2000, &[75]));
    }
    let (keys, values) = all(&database);
    let early = files(&database).unwrap();
    let mut lists = 0;
    while_merging(&database.rocks, || {
        database.rocks.free_deleted_files();
        assert_eq!(compare(&files(&database).unwrap(), &keys, &values), 0);
        lists += 1;
    });
    // The files of the first list are deleted by now.
    assert!(early.files.iter().all(|one| !one.path.exists()));
    assert_eq!(compare(&early, &keys, &values), 0);
    let late = files(&database).unwrap();
    assert!(late.files.len() > 20 && late.files.iter().all(|one| one.path.exists()));
    println!("{lists} lists");
}

#[test]
fn a_merge_is_seen_by_a_list_that_is_made_later() {
    let database = Database::new(false);
    let mut random = random(12);
    database.add(&rows(&mut random, 1, 500, &[75]));
    database.add(&rows(&mut random, 1, 500, &[75]));
    let (keys, values) = all(&database);
    let are_there = |files: &LookupFiles| files.files.iter().all(|one| one.path.exists());
    assert!(are_there(&files(&database).unwrap()));
    database.rocks.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    let before = files(&database).unwrap();
    assert!(!are_there(&before), "no reader waits for a merge to be listed");
    assert_eq!(compare(&before, &keys, &values), 0);
    assert!(database.rocks.lookups.is_behind());
    database.rocks.free_deleted_files();
    let after = files(&database).unwrap();
    assert!(are_there(&after));
    assert_eq!(compare(&after, &keys, &values), 0);
    assert!(!database.rocks.lookups.is_behind(), "nothing has changed since");
}

#[test]
fn files_that_stay_are_opened_once() {
    let database = Database::new(false);
    let mut random = random(6);
    for count in 1..5 {
        database.add(&rows(&mut random, 1, 500, &[75]));
        let (first, again) = (files(&database).unwrap(), files(&database).unwrap());
        assert!(Arc::ptr_eq(&first, &again), "nothing has changed");
        database.add(&rows(&mut random, 2, 500, &[75]));
        let later = files(&database).unwrap();
        let known = later.known();
        assert_eq!((first.files.len(), known.len()), (2 * count - 1, 2 * count));
        let stays = |one: &Leveled| match (&one.state, &known[&one.path].1) {
            (Use::Open(before), Use::Open(after)) => Arc::ptr_eq(before, after),
            _ => false,
        };
        assert!(first.files.iter().all(stays));
    }
    assert_eq!(database.rocks.lookup_bytes(), files(&database).unwrap().bytes as u64);
}

#[test]
fn rocksdb_is_asked_for_keys_of_damaged_blocks_only() {
    let database = Database::new(false);
    let mut random = random(7);
    for _ in 0..3 {
        database.add(&rows(&mut random, 1, 3000, &[75]));
    }
    let (keys, all) = all(&database);
    let (path, _, mut bytes) = database.files().pop().unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let files = files(&database).unwrap();
    let (_, refused) = read(&files, &keys);
    assert!((1..60).contains(&refused.len()), "{} were refused", refused.len());
    assert_eq!(compare(&files, &keys, &all), refused.len());
    let asked = [keys[refused[0]]];
    let error = database.rocks.read_rows(&asked, 75, |_, _| Ok(())).unwrap_err();
    assert_eq!(error.status(), Status::Corruption);
}

#[test]
fn rocksdb_is_asked_for_the_keys_between_the_ends_of_a_refused_file_only() {
    let database = Database::new(false);
    let mut random = random(13);
    for group in 1..4 {
        database.add(&rows(&mut random, group, 1000, &[75]));
    }
    let (keys, values) = all(&database);
    // RocksDB has its end in memory.
    let files_on_disk = database.files();
    let of_two = |bounds: &Bounds| bounds.first[..2] == [0, 2];
    let (path, _, mut bytes) =
        files_on_disk.into_iter().find(|(_, bounds, _)| of_two(bounds)).unwrap();
    let intact = bytes.clone();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refusing = files(&database).unwrap();
    assert_eq!((open(&refusing), refusing.files.len()), (2, 3));
    let of_two = keys.iter().filter(|key| key[..2] == [0, 2]).count();
    assert_eq!(compare(&refusing, &keys, &values), of_two);
    // A refused file is not read again.
    fs::write(&path, &intact).unwrap();
    database.add(&rows(&mut random, 4, 100, &[75]));
    let later = files(&database).unwrap();
    assert_eq!((open(&later), later.files.len()), (3, 4));
    database.rocks.compact().unwrap();
    let (keys, values) = all(&database);
    assert_eq!(compare(&files(&database).unwrap(), &keys, &values), 0);
}

#[test]
fn files_are_opened_while_memory_has_room() {
    let mut database = Database::new(true);
    make_files_small(&database);
    let mut random = random(14);
    database.add(&rows(&mut random, 1, 6000, &[75]));
    database.rocks.compact().unwrap();
    let (keys, values) = all(&database);
    let whole = files(&database).unwrap();
    let (bytes, count) = (whole.bytes, whole.files.len());
    assert!(whole.is_complete() && count > 10, "{count} files");
    drop(whole);
    let filters_read = |rocks: &Rocks| rocks.lookups.filters_read.swap(0, Ordering::Relaxed);
    assert_eq!(filters_read(&database.rocks), count);
    for part in 2..10 {
        lookups(&mut database).room = bytes * part / 10;
        // A change, so that the list is made again.
        database.rocks.flush().unwrap();
        let Some(files) = files(&database) else {
            assert!(part < 6, "more than half of the table has room");
            assert_eq!(filters_read(&database.rocks), 0, "they would be of no use");
            assert_eq!(database.rocks.lookup_bytes(), 0);
            database.rocks.lookups.too_large.store(u64::MAX, Ordering::Relaxed);
            continue;
        };
        assert!(part > 4, "less than half of the table has room");
        assert!(files.bytes <= bytes * part / 10);
        assert!((part - 2..=part).contains(&(open(&files) * 10 / count)), "{}", open(&files));
        // Those of the largest keys have no room.
        let asked = compare(&files, &keys, &values);
        assert!(read(&files, &keys[..keys.len() - asked]).1.is_empty());
        let metadata = database.rocks.metadata_bytes().unwrap();
        assert_eq!(metadata, database.rocks.metadata.bytes() as u64, "RocksDB has the rest");
    }
    // What a file says of itself is a little more than it takes.
    lookups(&mut database).room = bytes * 11 / 10;
    database.rocks.flush().unwrap();
    assert!(files(&database).unwrap().is_complete());
}

#[test]
fn files_without_a_descriptor_are_the_last_ones() {
    let mut database = Database::new(false);
    make_files_small(&database);
    let mut random = random(15);
    database.add(&rows(&mut random, 1, 6000, &[75]));
    database.rocks.compact().unwrap();
    let (keys, values) = all(&database);
    let count = files(&database).unwrap().files.len();
    lookups(&mut database).most_files = count - 2;
    database.rocks.flush().unwrap();
    let files = files(&database).unwrap();
    assert_eq!((open(&files), files.files.len()), (count - 2, count));
    assert!((1..keys.len() / 3).contains(&compare(&files, &keys, &values)));
}

#[test]
fn two_files_of_a_level_may_share_a_key() {
    let leveled = |level, first: i64, last: i64, seqno| {
        let ends = [first, last].map(|key| key::encode(1, key).to_vec());
        let [first, last] = ends;
        let bounds = Bounds { len: 1, first, last, first_seqno: seqno, last_seqno: seqno };
        Leveled::new(level, PathBuf::from(format!("{level} {seqno}")), bounds)
    };
    let order = |files: Vec<Leveled>| -> Option<Vec<String>> {
        let files = in_order(files)?;
        Some(files.iter().map(|one| one.path.display().to_string()).collect())
    };
    let files = vec![leveled(6, 5, 9, 1), leveled(6, 1, 5, 2), leveled(0, 0, 9, 3)];
    assert_eq!(order(files).unwrap(), ["0 3", "6 2", "6 1"]);
    let files = vec![leveled(6, 5, 5, 1), leveled(6, 5, 5, 2), leveled(6, 5, 9, 0)];
    assert_eq!(order(files).unwrap(), ["6 2", "6 1", "6 0"]);
    assert!(order(vec![leveled(6, 5, 9, 1), leveled(6, 1, 6, 2)]).is_none());
    assert!(order(vec![leveled(0, 5, 9, 1), leveled(0, 1, 6, 1)]).is_none());
}

#[test]
#[cfg(not(feature = "check-index"))]
fn rocksdb_is_asked_for_the_first_keys() {
    let database = Database::new(false);
    database.add(&rows(&mut random(8), 1, 100, &[75]));
    assert!(database.rocks.lookup_files(1).is_none(), "few keys were asked for so far");
    assert!(files(&database).is_some());
}

#[test]
fn a_list_that_nobody_reads_is_renewed_after_a_merge() {
    let database = Database::new(true);
    database.add(&rows(&mut random(9), 1, 100, &[75]));
    let renew = || database.rocks.renew_old_lookups();
    let merged = Arc::downgrade(&files(&database).unwrap());
    renew();
    assert!(merged.strong_count() > 0, "nothing has changed");
    database.rocks.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    for _ in 0..2 {
        renew();
        assert!(merged.strong_count() > 0, "somebody may read soon");
    }
    thread::sleep(std::time::Duration::from_millis(1100));
    renew();
    assert_eq!(merged.strong_count(), 0);
    assert!(!database.rocks.lookups.is_behind());
    let bytes = database.rocks.lookup_bytes();
    assert_eq!(bytes, files(&database).unwrap().bytes as u64);
    assert!(bytes > 0, "the next load waits for no file");
}

#[test]
fn a_list_that_a_load_reads_is_closed_by_the_writer_afterwards() {
    let database = Database::new(true);
    database.add(&rows(&mut random(9), 1, 100, &[75]));
    let reading = files(&database).unwrap();
    let merged = Arc::downgrade(&reading);
    database.rocks.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    database.rocks.free_deleted_files();
    assert!(!database.rocks.lookups.is_behind());
    drop(reading);
    assert_eq!(merged.strong_count(), 1, "a load closes no files");
    database.rocks.renew_old_lookups();
    assert_eq!(merged.strong_count(), 0);
    // Before the database is closed, its space may be needed, too.
    let last = Arc::downgrade(&files(&database).unwrap());
    database.rocks.stop_listing();
    database.rocks.free_deleted_files();
    assert_eq!(last.strong_count(), 0);
    assert!(files(&database).is_none(), "RocksDB is asked");
}

#[test]
fn files_that_are_still_there_stay_open_while_rocksdb_is_asked() {
    let database = Database::new(true);
    let mut random = random(16);
    database.add(&rows(&mut random, 1, 100, &[75]));
    database.add(&rows(&mut random, 1, 100, &[75]));
    assert!(files(&database).is_some());
    database.rocks.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    database.rocks.free_deleted_files();
    database.add(&rows(&mut random, 2, 100, &[75]));
    let before = files(&database).unwrap();
    assert_eq!(open(&before), 2);
    database.clear(3);
    assert!(files(&database).is_none(), "the deletion is in memory only");
    thread::sleep(std::time::Duration::from_millis(1100));
    for _ in 0..2 {
        database.rocks.renew_old_lookups();
        thread::sleep(std::time::Duration::from_millis(1100));
    }
    assert_eq!(database.rocks.lookup_bytes(), before.bytes as u64);
    database.rocks.flush().unwrap();
    let known = files(&database).unwrap().known();
    for one in &before.files {
        let (Use::Open(before), Use::Open(after)) = (&one.state, &known[&one.path].1) else {
            panic!("all files are open");
        };
        assert!(Arc::ptr_eq(before, after));
    }
    drop((before, known));
    // Files that a merge has deleted are closed.
    database.clear(3);
    database.rocks.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    database.clear(3);
    assert!(files(&database).is_none());
    assert_eq!(database.rocks.lookup_bytes(), 0);
}
