//! Rows of several files against RocksDB's own reads.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rand::{Rng, RngExt};

use super::*;
use crate::error::Status;
use crate::rocks::key;
use crate::rocks::sst::tests::{Database, GOES, IS_REPLACED, random, rows};

/// Some keys of all groups, ascending.
fn keys(random: &mut impl Rng) -> Vec<[u8; KEY_LEN]> {
    let mut keys: Vec<_> = (0..random.random_range(1..700))
        .map(|_| key::encode(random.random_range(0..5), random.random_range(-320..320)))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

type Values = Vec<Option<Vec<u8>>>;

/// What the files have, and the positions for which RocksDB has to be asked.
fn read(files: &LookupFiles, keys: &[[u8; KEY_LEN]]) -> (Values, Vec<usize>) {
    let mut values = vec![None; keys.len()];
    let mut visits = vec![0; keys.len()];
    let refused = files.read(keys, |at, value| {
        values[at] = value.map(<[u8]>::to_vec);
        visits[at] += 1;
        Ok(())
    });
    let refused = refused.unwrap();
    refused.iter().for_each(|&at| visits[at] += 1);
    assert!(visits.iter().all(|visits| *visits == 1), "each key has one answer");
    (values, refused)
}

fn expected(database: &Database, keys: &[[u8; KEY_LEN]]) -> Values {
    keys.iter().map(|key| database.rocks.db.get(key).unwrap()).collect()
}

/// The files of this moment.
fn files(database: &Database) -> Option<Arc<LookupFiles>> {
    database.rocks.lookup_files(1 << 20)
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
    let (mut compared, mut with_clears, mut asked) = (0, 0, 0);
    for seed in 0..10 {
        let database = Database::new(seed % 2 == 0);
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
            assert!(read(&files, &keys) == (expected(&database, &keys), Vec::new()));
            compared += 1;
            with_clears += usize::from(!files.deleted.is_empty());
        }
    }
    assert!(compared > 400, "{compared} compared, RocksDB asked {asked} times");
    assert!(with_clears > 40, "{with_clears} of {compared} with deleted groups");
}

#[test]
fn rows_are_found_while_merges_replace_the_files() {
    let database = Database::new(false);
    let mut random = random(5);
    for _ in 0..6 {
        database.add(&rows(&mut random, 1, 2000, &[75]));
    }
    let all: Vec<_> = database.expected(&crate::rocks::KeyRange::all());
    let keys: Vec<[u8; KEY_LEN]> =
        all.iter().map(|(key, _)| key.as_slice().try_into().unwrap()).collect();
    let values: Values = all.iter().map(|(_, value)| Some(value.clone())).collect();
    let early = files(&database).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let merge = scope.spawn(|| {
            for _ in 0..5 {
                database.rocks.compact().unwrap();
            }
            is_over.store(true, Ordering::Release);
        });
        while !is_over.load(Ordering::Acquire) {
            let files = files(&database).unwrap();
            assert!(read(&files, &keys) == (values.clone(), Vec::new()));
        }
        merge.join().unwrap();
    });
    // The files of the first list are deleted by now.
    assert!(early.files.iter().all(|one| !one.path.exists()));
    assert!(read(&early, &keys) == (values, Vec::new()));
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
        let open = later.by_path();
        assert_eq!((first.files.len(), open.len()), (2 * count - 1, 2 * count));
        let stays = |one: &Leveled| Arc::ptr_eq(&one.file, open[one.path.as_path()]);
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
    let all: Vec<_> = database.expected(&crate::rocks::KeyRange::all());
    let keys: Vec<[u8; KEY_LEN]> =
        all.iter().map(|(key, _)| key.as_slice().try_into().unwrap()).collect();
    let (path, _, mut bytes) = database.files().pop().unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (values, refused) = read(&files(&database).unwrap(), &keys);
    assert!((1..60).contains(&refused.len()), "{} were refused", refused.len());
    for (at, (_, value)) in all.iter().enumerate() {
        let is_refused = refused.contains(&at);
        assert!(is_refused || values[at].as_ref() == Some(value));
    }
    let asked = [keys[refused[0]]];
    let error = database.rocks.read_rows(&asked, 75, |_, _| Ok(())).unwrap_err();
    assert_eq!(error.status(), Status::Corruption);
}

#[test]
fn rocksdb_is_asked_for_the_first_keys() {
    let database = Database::new(false);
    database.add(&rows(&mut random(8), 1, 100, &[75]));
    assert!(database.rocks.lookup_files(1).is_none(), "few keys were asked for so far");
    assert!(files(&database).is_some());
}

#[test]
fn files_that_nobody_reads_are_closed_after_a_merge() {
    let database = Database::new(true);
    database.add(&rows(&mut random(9), 1, 100, &[75]));
    let close = || database.rocks.close_unused_lookups();
    assert!(files(&database).is_some());
    close();
    assert!(database.rocks.lookup_bytes() > 0, "nothing has changed");
    database.rocks.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    for _ in 0..2 {
        close();
        assert!(database.rocks.lookup_bytes() > 0, "somebody may read soon");
    }
    thread::sleep(std::time::Duration::from_millis(1100));
    close();
    assert_eq!(database.rocks.lookup_bytes(), 0);
    assert!(files(&database).is_some());
}
