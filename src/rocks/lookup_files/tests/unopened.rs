//! Files that are not opened, or are closed early: loads ask RocksDB meanwhile.

use super::*;

#[test]
fn a_file_that_cannot_be_opened_is_tried_less_and_less_often() {
    let database = Database::new(false);
    let mut random = random(19);
    for group in 1..4 {
        database.add(&rows(&mut random, group, 1000, &[75]));
    }
    let (keys, values) = all(&database);
    let (path, ..) = database.files().pop().unwrap();
    let aside = path.with_extension("aside");
    // RocksDB has it open.
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    let mut tried = Vec::new();
    for list in 0..20 {
        let files = files(&database).unwrap();
        assert_eq!(open(&files), files.files.len() - 1);
        assert!(compare(&files, &keys, &values) > 0, "RocksDB is asked");
        let one = files.files.iter().find(|one| one.path == path).unwrap();
        let Use::Unopened(failures) = one.state else { panic!("it is a folder") };
        tried.extend((failures.count > tried.len() as u32).then_some(list));
        // A change, so that the list is made again.
        database.rocks.flush().unwrap();
    }
    assert_eq!(tried, [0, 1, 3, 7, 15]);
    fs::remove_dir(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    for list in 20..32 {
        assert_eq!(files(&database).unwrap().is_complete(), list == 31, "list {list}");
        database.rocks.flush().unwrap();
    }
}

#[test]
fn an_old_list_is_closed_when_two_have_too_many_descriptors() {
    let mut database = Database::new(false);
    make_files_small(&database);
    let mut random = random(18);
    database.add(&rows(&mut random, 1, 6000, &[75]));
    database.rocks.compact().unwrap();
    let count = files(&database).unwrap().files.len();
    lookups(&mut database).most_descriptors = count + 2;
    let mut options = CompactOptions::default();
    options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    database.rocks.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
    let (db, lookups) = (&database.rocks.db, &database.rocks.lookups);
    let listed = newest_first(&db.live_files().unwrap()).unwrap();
    let mut admission = Admission::new(lookups, lookups.known.lock().files.clone(), &listed);
    assert!(count > 10 && listed.len() > 10, "{count} files, and {}", listed.len());
    for (index, file) in listed.into_iter().enumerate() {
        assert!(admission.add(file));
        assert_eq!(lookups.known.lock().files.is_some(), index < 2, "file {index}");
    }
    drop(admission);
    database.rocks.flush().unwrap();
    assert!(files(&database).unwrap().is_complete());
    let (keys, values) = all(&database);
    assert_eq!(compare(&files(&database).unwrap(), &keys, &values), 0);
}

#[test]
fn rocksdb_is_asked_after_a_panic_until_the_next_change() {
    let database = Database::new(true);
    let mut random = random(17);
    database.add(&rows(&mut random, 1, 100, &[75]));
    assert!(files(&database).is_some());
    let panics = |on: bool| database.rocks.lookups.panics.store(on, Ordering::Relaxed);
    panics(true);
    // RocksDB takes over the file all the same.
    database.add(&rows(&mut random, 1, 100, &[75]));
    assert!(files(&database).is_none());
    assert_eq!(database.rocks.lookup_bytes(), 0);
    panics(false);
    assert!(files(&database).is_none(), "nothing has changed");
    database.add(&rows(&mut random, 1, 100, &[75]));
    let known = files(&database).unwrap();
    // A merge also has the list made anew.
    database.rocks.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    panics(true);
    assert!(database.rocks.lookups.is_behind());
    database.rocks.free_deleted_files();
    assert!(!database.rocks.lookups.is_behind() && files(&database).is_none());
    panics(false);
    database.rocks.flush().unwrap();
    let (keys, values) = all(&database);
    assert_eq!(compare(&known, &keys, &values), 0);
    assert_eq!(compare(&files(&database).unwrap(), &keys, &values), 0);
}
