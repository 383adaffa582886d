//! Blocks that are read in each way: from mapped files, and by calls.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, fadvise, fstatfs};

use super::*;
use crate::memory::shortage;
use crate::rocks::block_reader::BlockReads;
use crate::rocks::sst::{OpenFile, SstLookup, SstRows, forget_all, note_refused, test_room};

/// Readers that may use different ways, each with its name.
fn readers() -> Vec<(&'static str, BlockReader)> {
    let refused = BlockReader::new(false, true);
    refused.note_refusal();
    vec![
        ("mapped", BlockReader::new(true, false)),
        ("pread", BlockReader::new(false, false)),
        ("io_uring", BlockReader::new(false, true)),
        ("io_uring refused", refused),
        ("all", BlockReader::new(true, true)),
    ]
}

/// A database with a few files, all keys, and what they have.
fn filled(seed: u64) -> (Database, Keys, Values) {
    let database = Database::new(false);
    let mut random = random(seed);
    for _ in 0..3 {
        database.add(&rows(&mut random, 1, 3000, &[75]));
    }
    let (keys, values) = all(&database);
    (database, keys, values)
}

/// Takes a file out of the page cache, as far as the file system has one.
fn drop_pages(path: &std::path::Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    // Mapped pages would stay.
    forget_all();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
}

/// Whether a file is kept in memory only.
fn is_in_memory_only(path: &std::path::Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    fstatfs(File::open(path).unwrap()).is_ok_and(|found| found.f_type as u64 == TMPFS)
}

#[test]
fn all_ways_find_the_same_rows() {
    let (database, keys, values) = filled(40);
    let files = files(&database).unwrap();
    let mut random = random(41);
    for (name, reader) in readers() {
        let (found, rest) = read_by(&reader, &files, &keys);
        assert!(found == values && rest.refused.is_empty(), "{name}");
        for _ in 0..200 {
            let mut some = super::keys(&mut random);
            some.truncate(random.random_range(1..60));
            assert_eq!(read_by(&reader, &files, &some).0, expected(&database, &some), "{name}");
        }
    }
}

#[test]
fn keys_of_one_block_read_it_once() {
    let (database, keys, values) = filled(42);
    let files = files(&database).unwrap();
    for (name, reader) in readers() {
        let (found, rest) = read_by(&reader, &files, &keys);
        assert!(found == values, "{name}");
        // A block of 2 KiB has a dozen rows of 75 bytes, and few filters lie.
        assert!(rest.reads.all() < keys.len() / 4, "{:?} of {}", rest.reads, keys.len());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_the_page_cache_has_is_read_from_mapped_files() {
    let (database, keys, values) = filled(43);
    let files = files(&database).unwrap();
    let read = |count: usize, maps| {
        let (found, rest) = read_by(&BlockReader::new(maps, false), &files, &keys[..count]);
        assert!(found[..] == values[..count]);
        rest.reads
    };
    for count in [1, 5, keys.len()] {
        let BlockReads { mapped, by_pread, .. } = read(count, true);
        assert!(mapped > 0 && by_pread == 0, "{count} keys: {mapped} and {by_pread}");
        assert_eq!(read(count, false).mapped, 0);
    }
    let paths: Vec<_> = files.files.iter().map(|one| one.path.clone()).collect();
    if is_in_memory_only(&paths[0]) {
        return;
    }
    for count in [1, 5, keys.len()] {
        // The system keeps pages that are in use at this moment. The second wave has blocks that
        // the first has just brought in.
        let is_cold = |_| {
            paths.iter().for_each(|path| drop_pages(path));
            let reads = read(count, true);
            reads.mapped * 4 < reads.all()
        };
        assert!((0..20).any(is_cold), "{count} keys");
    }
    // Now the page cache has one file of three.
    paths[1..].iter().for_each(|path| drop_pages(path));
    let reads = read(keys.len(), true);
    assert!(reads.mapped > reads.all() / 8 && reads.mapped < reads.all(), "{reads:?}");
    // All of them, after that.
    let reads = read(keys.len(), true);
    assert_eq!(reads.mapped, reads.all());
}

#[test]
#[cfg(target_os = "linux")]
fn what_has_no_room_in_mappings_is_read_by_calls() {
    let (database, keys, values) = filled(49);
    let files = files(&database).unwrap();
    let reader = BlockReader::new(true, true);
    let read = |windows| {
        let (found, rest) = test_room::of(windows, || read_by(&reader, &files, &keys));
        assert!(found == values && rest.refused.is_empty());
        rest.reads
    };
    let reads = read(0);
    assert!(reads.mapped == 0 && reads.all() > 0, "{reads:?}");
    // Some file systems in memory do not tell whether a call would wait.
    let path = &files.files[0].path;
    assert!(is_in_memory_only(path) || reads.by_io_uring == 0, "{reads:?}");
    let all = read(usize::MAX);
    assert_eq!(all.mapped, all.all());
    // What was mapped serves further, though there is no room for more.
    assert_eq!(read(0).mapped, all.mapped);
    // After a while the room is given to what is wanted then. A test beside this may count, too.
    let mut left = 1000;
    while read(1).mapped == all.mapped {
        left -= 1;
        assert!(
            left > 0
                && test_room::of(1, || {
                    note_refused(1);
                    true
                })
        );
    }
    if !is_in_memory_only(path) {
        forget_all();
        files.files.iter().for_each(|one| drop_pages(&one.path));
        let reads = read(0);
        assert_eq!(reads.mapped, 0);
        assert!(!reader.makes_rings() || reads.by_io_uring > 0, "{reads:?}");
    }
}

#[test]
fn what_the_page_cache_lacks_is_read_by_io_uring_where_that_is_allowed() {
    let (database, keys, values) = filled(48);
    let files = files(&database).unwrap();
    for maps in [true, false] {
        let reader = BlockReader::new(maps, true);
        for (path, ..) in database.files() {
            drop_pages(&path);
        }
        let (found, rest) = read_by(&reader, &files, &keys);
        assert!(found == values);
        let BlockReads { mapped, by_io_uring, by_pread } = rest.reads;
        println!("{mapped} mapped, {by_io_uring} by io_uring, {by_pread} by pread");
        // The last waves have a few blocks, which are not worth a ring.
        let is_refused = !reader.makes_rings();
        assert!(if is_refused { by_io_uring == 0 } else { by_pread < 50 });
        assert!(maps || is_refused || by_io_uring > 50);
        let (found, rest) = read_by(&reader, &files, &keys[..3]);
        assert!(found[..] == values[..3] && rest.reads.by_io_uring == 0);
    }
}

#[test]
fn damage_is_refused_alike_in_all_ways() {
    let (database, keys, values) = filled(44);
    let files = files(&database).unwrap();
    let mut random = random(45);
    let (path, _, bytes) = database.files().pop().unwrap();
    let file = File::options().write(true).open(path).unwrap();
    let mut refused = 0;
    for _ in 0..60 {
        let at = random.random_range(0..bytes.len() * 9 / 10);
        file.write_all_at(&[bytes[at] ^ 1 << random.random_range(0..8)], at as u64).unwrap();
        let outcomes = readers().into_iter().map(|(name, reader)| {
            let (mut found, rest) = read_by(&reader, &files, &keys);
            rest.refused.iter().for_each(|&at| found[at].clone_from(&values[at]));
            assert!(found == values, "{name}: another row, byte {at}");
            rest.refused
        });
        let outcomes: Vec<_> = outcomes.collect();
        assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "byte {at}");
        refused += usize::from(!outcomes[0].is_empty());
        file.write_all_at(&[bytes[at]], at as u64).unwrap();
    }
    assert!(refused > 40, "{refused} of 60");
}

/// The same files, where each is read from another file after its opening.
fn reading_from(files: &LookupFiles, other: impl Fn(&std::path::Path) -> File) -> LookupFiles {
    let replaced = files.files.iter().cloned().map(|mut one| {
        let opened = |file| Box::new(OpenFile::new(file).unwrap());
        let source = opened(File::open(&one.path).unwrap());
        let rows = SstRows::open(one.path.clone(), source, one.bounds.clone()).unwrap();
        let mut file = SstLookup::new(rows).unwrap();
        file.read_from(opened(other(&one.path)));
        one.state = Use::Open(Arc::new(file));
        one
    });
    LookupFiles::new(replaced.collect())
}

#[test]
fn a_read_that_fails_is_an_error_in_all_ways() {
    let (database, keys, values) = filled(46);
    let files = files(&database).unwrap();
    let folder = reading_from(&files, |path| File::open(path.parent().unwrap()).unwrap());
    let unreadable = reading_from(&files, |path| File::options().write(true).open(path).unwrap());
    let present: Vec<_> = (0..keys.len()).filter(|at| values[*at].is_some()).collect();
    for (name, reader) in readers() {
        for (what, files) in [("a folder", &folder), ("unreadable", &unreadable)] {
            for range in [0..keys.len(), 7..8] {
                let (found, rest) = read_by(&reader, files, &keys[range.clone()]);
                assert!(found.iter().all(Option::is_none), "{name}, {what}");
                let is_refused = |at: &usize| rest.refused.contains(&(at - range.start));
                let here = present.iter().filter(|at| range.contains(at));
                assert!(here.clone().count() > 0 && here.clone().all(is_refused), "{name}, {what}");
            }
        }
    }
}

#[test]
fn a_file_that_was_cut_off_is_an_error_in_all_ways() {
    for range in [0..usize::MAX, 4000..4005] {
        let (database, keys, values) = filled(47);
        let files = files(&database).unwrap();
        let range = range.start..range.end.min(keys.len());
        let (keys, values) = (&keys[range.clone()], &values[range]);
        for (name, reader) in readers() {
            assert!(read_by(&reader, &files, keys).0[..] == *values, "{name}");
        }
        for (path, _, bytes) in database.files() {
            let file = File::options().write(true).open(path).unwrap();
            file.set_len(bytes.len() as u64 / 8).unwrap();
        }
        for (name, reader) in readers() {
            let (mut found, rest) = read_by(&reader, &files, keys);
            assert!(rest.refused.len() > keys.len() / 2, "{name}: {}", rest.refused.len());
            rest.refused.iter().for_each(|&at| found[at].clone_from(&values[at]));
            assert!(found[..] == *values, "{name}");
        }
    }
}

#[test]
fn a_compressed_block_without_memory_is_an_error() {
    let database = Database::new(false);
    let mut rows = rows(&mut random(77), 1, 1000, &[218]);
    rows.values_mut().for_each(|value| value.as_mut().unwrap()[20..].fill(0));
    database.add(&rows);
    database.rocks.compact().unwrap();
    let files = files(&database).unwrap();
    let (keys, values) = all(&database);
    let reader = BlockReader::new(true, true);
    let mut visits = 0;
    // The block has 2 KiB. All else that one key needs is smaller.
    let refused = shortage::from(1 << 10, || {
        files.read(&reader, &keys[..1], |_, _| {
            visits += 1;
            Ok(())
        })
    });
    let error = refused.err().expect("RocksDB would be asked, which needs memory, too");
    assert_eq!((error.status(), visits), (Status::OutOfMemory, 0), "{error}");
    assert_eq!(compare(&files, &keys, &values), 0);
}
