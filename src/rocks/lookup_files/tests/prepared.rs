//! Many files are opened by a thread of its own, and RocksDB is asked meanwhile.

use std::time::{Duration, Instant};

use super::*;

/// A database whose loads open no file themselves.
fn database() -> Database {
    let mut database = Database::new(true);
    lookups(&mut database).at_once = 1;
    make_files_small(&database);
    database
}

fn wait(database: &Database) {
    let began = Instant::now();
    while database.rocks.lookups.is_preparing() {
        assert!(began.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(1));
    }
}

/// The files of this moment, once they are open.
fn prepared(database: &Database) -> Option<Arc<LookupFiles>> {
    for _ in 0..10 {
        let found = files(database);
        if found.is_some() {
            return found;
        }
        if !database.rocks.lookups.is_preparing() {
            // The thread may have left its files since they were asked for.
            let found = files(database);
            if found.is_some() || !database.rocks.lookups.is_preparing() {
                return found;
            }
        }
        wait(database);
    }
    panic!("files are opened again and again");
}

fn add(database: &Database, seed: u64, group: u16, count: usize) {
    database.add(&rows(&mut random(seed), group, count, &[75]));
}

#[test]
fn rocksdb_is_asked_until_files_are_open() {
    let database = database();
    for seed in 0..9 {
        add(&database, 30 + seed, seed as u16 % 3, 300);
    }
    let lookups = &database.rocks.lookups;
    let pause = lookups.pause.lock();
    for _ in 0..3 {
        assert!(files(&database).is_none() && lookups.is_preparing());
        assert_eq!(database.rocks.metadata_bytes().unwrap(), 8 << 20, "all may be needed");
        let taken = database.rocks.index_bytes();
        assert_eq!(taken, database.rocks.cache.get_usage() as u64, "no file is open yet");
        assert!(taken < 4 << 20, "{taken}");
    }
    drop(pause);
    wait(&database);
    assert_eq!(lookups.opening_bytes.load(Ordering::Relaxed), 0);
    assert_eq!(lookups.filters_read.swap(0, Ordering::Relaxed), 9);
    let files = files(&database).unwrap();
    assert!(files.is_complete() && files.files.len() == 9);
    assert_eq!(lookups.filters_read.load(Ordering::Relaxed), 0, "the load has opened none");
    assert_eq!(database.rocks.lookup_bytes(), files.bytes as u64);
    let (keys, values) = all(&database);
    assert_eq!(compare(&files, &keys, &values), 0);
}

#[test]
fn what_changes_meanwhile_is_in_the_next_list() {
    let (mut asked, mut all_keys, mut refused) = (0, 0, 0);
    for seed in 0..20 {
        let database = database();
        let mut random = random(200 + seed);
        for _ in 0..8 {
            add_some(&database, &mut random);
        }
        for _ in 0..20 {
            let pause = database.rocks.lookups.pause.lock();
            drop(files(&database));
            let is_preparing = database.rocks.lookups.is_preparing();
            // Otherwise the writer opens files.
            let pause = Some(pause).filter(|_| is_preparing);
            for _ in 0..random.random_range(0..3) {
                match random.random_range(0..8) {
                    0 => database.clear(random.random_range(0..4)),
                    1 => database.rocks.flush().unwrap(),
                    // A file may be open by the time that a merge deletes it, or not.
                    2 if is_preparing => {
                        database.rocks.db.compact_range(None::<&[u8]>, None::<&[u8]>);
                    }
                    // An older list may have what the merge drops.
                    2 => database.rocks.compact().unwrap(),
                    _ => add_some(&database, &mut random),
                }
            }
            drop(pause);
            let (keys, values) = all(&database);
            match prepared(&database) {
                Some(files) => {
                    all_keys += keys.len();
                    // A deletion of a group may go beyond its file.
                    refused += compare(&files, &keys, &values);
                }
                None => asked += 1,
            }
            let keys = super::keys(&mut random);
            if let Some(files) = prepared(&database) {
                compare(&files, &keys, &expected(&database, &keys));
            }
        }
    }
    assert!((1..300).contains(&asked), "{asked} of 400");
    assert!(refused < all_keys / 5, "{refused} of {all_keys}");
}

#[test]
fn closing_waits_for_the_files_being_opened_only() {
    let database = database();
    for seed in 0..9 {
        add(&database, 50 + seed, 1, 300);
    }
    let lookups = Arc::clone(&database.rocks.lookups);
    let pause = lookups.pause.lock();
    assert!(files(&database).is_none());
    let closing = thread::spawn(move || drop(database));
    let began = Instant::now();
    while !lookups.is_stopped() {
        assert!(began.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(1));
    }
    drop(pause);
    closing.join().unwrap();
    assert!(lookups.filters_read.load(Ordering::Relaxed) <= lookups.opening_threads);
    assert!(lookups.known.lock().files.is_none(), "half of a list is of no use");
}

#[test]
fn no_list_is_made_before_closing() {
    let database = Database::new(true);
    add(&database, 60, 1, 300);
    let before = files(&database).unwrap();
    database.rocks.stop_listing();
    database.rocks.lookups.filters_read.store(0, Ordering::Relaxed);
    add(&database, 61, 1, 300);
    assert_eq!(database.rocks.lookups.filters_read.load(Ordering::Relaxed), 0);
    assert!(files(&database).is_none(), "the list is too old");
    assert!(before.is_complete());
}

#[test]
fn a_panic_while_files_are_opened_counts_until_the_next_change() {
    let database = database();
    add(&database, 70, 1, 300);
    let panics = |on: bool| database.rocks.lookups.panics.store(on, Ordering::Relaxed);
    panics(true);
    assert!(files(&database).is_none());
    wait(&database);
    panics(false);
    assert!(files(&database).is_none() && !database.rocks.lookups.is_preparing());
    add(&database, 71, 1, 300);
    assert!(prepared(&database).unwrap().is_complete());
}

#[test]
fn a_table_that_is_too_large_is_found_before_its_filters_are_read() {
    let mut database = database();
    for seed in 0..9 {
        add(&database, 80 + seed, 1, 300);
    }
    lookups(&mut database).room = 1024;
    assert!(prepared(&database).is_none());
    let lookups = &database.rocks.lookups;
    assert_eq!(lookups.filters_read.load(Ordering::Relaxed), 0);
    assert!(lookups.too_large.load(Ordering::Relaxed) < u64::MAX && !lookups.is_preparing());
}
