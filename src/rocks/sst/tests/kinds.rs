//! Files of every kind that damo's options make.

use super::super::SstFile;
use super::*;
use crate::memory::shortage;

#[test]
fn rows_of_all_lengths_are_those_of_rocksdb() {
    for has_two_levels in [false, true] {
        let database = Database::new(has_two_levels);
        let mut random = random(1);
        let lens: [&[usize]; 7] =
            [&[0], &[13], &[11, 75, 218], &[218], &[700], &[4096, 9], &[20, 80_000]];
        for (group, lens) in lens.iter().enumerate() {
            let count = if lens.contains(&80_000) { 60 } else { 2000 };
            database.add(&rows(&mut random, group as u16 * 257, count, lens));
        }
        database.add(&rows(&mut random, u16::MAX, 500, &[40]));
        for _ in 0..2 {
            for (path, bounds, bytes) in database.files() {
                let file = on_disk(&path, &bounds).unwrap();
                let all = entries(&file, 16 << 10).unwrap();
                assert_eq!(all.len() as u64, file.entries, "{}", path.display());
                let whole = in_memory(&path, &bounds, bytes).unwrap();
                assert_eq!(entries(&whole, 0).unwrap(), all, "{}", path.display());
                assert_eq!(entries(&file, 1 << 20).unwrap(), all, "{}", path.display());
            }
            let expected = database.expected(&KeyRange::all());
            assert!(expected.len() > 9_000);
            assert!(found(&database.merged().unwrap(), &KeyRange::all()) == expected);
            database.rocks.compact().unwrap();
        }
    }
}

#[test]
fn any_range_of_a_file_is_that_of_rocksdb() {
    for has_two_levels in [false, true] {
        let database = Database::new(has_two_levels);
        let mut random = random(2);
        for group in [3, 4, 9] {
            database.add(&rows(&mut random, group, 3000, &[11, 75]));
        }
        database.rocks.compact().unwrap();
        let all = database.expected(&KeyRange::all());
        let files = database.merged().unwrap();
        for _ in 0..300 {
            let mut bound = || match random.random_range(0..4) {
                0 => key::encode(random.random_range(0..12), random.random()),
                1 => key::encode(random.random_range(0..12), random.random_range(-9..9)),
                _ => {
                    let row = &all[random.random_range(0..all.len())].0;
                    let mut key: [u8; 10] = row.as_slice().try_into().unwrap();
                    key[9] = key[9].wrapping_add(random.random_range(0..3)).wrapping_sub(1);
                    key
                }
            };
            let (start, end) = (bound(), bound());
            let end = Some(end).filter(|_| random.random_range(0..9) > 0);
            let range = KeyRange { start, end };
            assert!(found(&files, &range) == database.expected(&range), "{range:?}");
        }
    }
}

#[test]
fn compressed_blocks_are_unpacked() {
    let database = Database::new(false);
    let mut rows = rows(&mut random(3), 1, 4000, &[218]);
    for (index, value) in rows.values_mut().enumerate() {
        if index / 500 % 2 == 0 {
            value.as_mut().unwrap()[20..].fill(0);
        }
    }
    database.add(&rows);
    let (path, bounds, bytes) = database.merged_file();
    // RocksDB compressed half of the blocks.
    let (raw, stored) = (rows.len() * 218, bytes.len());
    assert!((raw * 4 / 10..raw * 7 / 10).contains(&stored), "{stored} bytes of {raw}");
    let file = on_disk(&path, &bounds).unwrap();
    let expected: Vec<_> = rows.into_values().map(Option::unwrap).collect();
    let found: Vec<_> = entries(&file, 64 << 10).unwrap().into_iter().map(|row| row.3).collect();
    assert!(found == expected);
}

#[test]
fn a_block_without_memory_is_not_damaged() {
    let database = Database::new(false);
    database.add(&rows(&mut random(3), 1, 400, &[30]));
    let (path, bounds, _) = database.merged_file();
    let unreadable = shortage::from(1, || SstFile::open(&path)).err().unwrap();
    assert!(unreadable.is_shortage && unreadable.what.contains("memory"), "{unreadable:?}");
    let mut file = SstFile::open(&path).unwrap();
    file.hold().unwrap();
    let what = shortage::from(1, || file.entries_of(0)).unwrap_err();
    assert!(file.is_short() && what.contains("memory"), "{what}");
    assert!(!file.entries_of(0).unwrap().is_empty());
    let source = OpenFile::new(regular::open(&path).unwrap()).unwrap();
    let passing = source.passing();
    let rows = SstRows::open(path, Box::new(source), bounds).unwrap();
    assert!(!passing.is_noted());
    assert!(shortage::from(1, || rows.fences().is_err()));
    assert!(passing.is_noted(), "the next list opens it");
}

#[test]
fn entries_of_ingested_files_have_the_number_of_the_file() {
    let database = Database::new(false);
    let mut random = random(4);
    for count in [400, 300, 200] {
        database.add(&rows(&mut random, 1, count, &[30]));
    }
    let mut seqnos = Vec::new();
    for (path, bounds, _) in database.files() {
        let all = entries(&on_disk(&path, &bounds).unwrap(), 4096).unwrap();
        assert!(all.iter().all(|entry| entry.1 == bounds.last_seqno));
        seqnos.push(bounds.last_seqno);
    }
    seqnos.sort_unstable();
    seqnos.dedup();
    assert_eq!(seqnos.len(), 3, "{seqnos:?}");
}

#[test]
fn other_files_are_refused() {
    let database = Database::new(false);
    database.add(&rows(&mut random(5), 1, 400, &[30]));
    let mut batch = Batch::default();
    batch.put_meta("document".to_owned(), vec![1; 100]);
    database.rocks.write(batch).unwrap();
    database.rocks.flush().unwrap();
    let (path, bounds, bytes) = database.files().pop().unwrap();
    let refused = |bounds: &Bounds, bytes: &[u8]| {
        let file = in_memory(&path, bounds, bytes.to_vec());
        file.and_then(|file| entries(&file, 0)).unwrap_err().to_string()
    };
    let longer = refused(&Bounds { len: bounds.len + 1, ..bounds.clone() }, &bytes);
    assert!(longer.contains(&format!("{} are needed", bounds.len + 1)), "{longer}");
    let mixed = refused(&Bounds { first_seqno: 1, last_seqno: 2, ..bounds.clone() }, &bytes);
    assert!(mixed.contains("several sequence numbers"), "{mixed}");
    let live = database.rocks.db.live_files().unwrap();
    let document = live.iter().find(|file| file.column_family_name != "default").unwrap();
    let document = database.dir.path().join(document.name.trim_start_matches('/'));
    let other = regular::read(&document).unwrap();
    let refused = refused(&Bounds { len: other.len() as u64, ..bounds.clone() }, &other);
    assert!(refused.contains("a key that is not a row's"), "{refused}");
}
