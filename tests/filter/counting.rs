//! The counting Bloom filter: counts, batches, threads, and its file.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use damo::error::Status;
use damo::filter::Filter;
use damo::params::{Params, Value};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{failure, float, int, params, text};

fn bag(path: &Path, list: &[(&str, Value)]) -> Params {
    params(list).with("path", path.to_str().unwrap()).unwrap()
}

fn open(path: &Path, capacity: i64, count: i64) -> Filter {
    Filter::open(&bag(path, &[("capacity", int(capacity)), ("count", int(count))])).unwrap()
}

fn in_scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seen.filter");
    (dir, path)
}

fn check_all(filter: &Filter, group: u32, keys: &[i64]) -> Vec<u8> {
    let mut admitted = vec![9; keys.len()];
    filter.check_batch(group, keys, &mut admitted).unwrap();
    admitted
}

#[test]
fn a_key_is_admitted_with_its_count_th_addition() {
    for count in 1..=15 {
        let (_dir, path) = in_scratch();
        let filter = open(&path, 1000, count);
        for key in [0, 1, -1, i64::MIN, i64::MAX] {
            for _ in 1..count {
                filter.add(7, key, 1).unwrap();
                assert!(!filter.check(7, key).unwrap(), "count {count}, key {key}");
            }
            filter.add(7, key, 1).unwrap();
            assert!(filter.check(7, key).unwrap(), "count {count}, key {key}");
            assert!(!filter.check(8, key).unwrap(), "another group's key is another key");
        }
    }
}

#[test]
fn additions_saturate_and_zero_adds_nothing() {
    let (_dir, path) = in_scratch();
    let filter = open(&path, 1000, 15);
    for _ in 0..100 {
        filter.add(0, 1, 0).unwrap();
    }
    assert!(!filter.check(0, 1).unwrap());
    filter.add(0, 1, u32::MAX).unwrap();
    filter.add(0, 1, u32::MAX).unwrap();
    filter.add(0, 2, 14).unwrap();
    assert!(filter.check(0, 1).unwrap() && !filter.check(0, 2).unwrap());
    // An overflowing counter would have changed its neighbours.
    assert!((3..1000).all(|key| !filter.check(0, key).unwrap()));
}

/// With ten times the room that the keys need, false positives are out of the question, and check
/// is exact.
#[test]
fn random_additions_agree_with_a_map() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let (_dir, path) = in_scratch();
    let count = 6;
    let mut filter = open(&path, 20_000, count);
    let mut map: HashMap<(u32, i64), u64> = HashMap::new();
    let keys: Vec<i64> = (0..500).map(|_| random.random()).collect();
    for round in 0..400 {
        let group = [0, 3, 65535][random.random_range(0..3)];
        let len = [1, 5, 24, 25, 100][random.random_range(0..5)];
        let batch: Vec<i64> = (0..len).map(|_| keys[random.random_range(0..keys.len())]).collect();
        let num = [0, 1, 1, 1, 2, 9][random.random_range(0..6)];
        match random.random_range(0..4) {
            0 => batch.iter().for_each(|key| filter.add(group, *key, num).unwrap()),
            1 => filter.add_batch(group, &batch, num).unwrap(),
            _ => {
                let skipped = batch[0];
                let mut admitted = vec![9; len];
                filter.count(group, (&batch, None), Some(skipped), &mut admitted).unwrap();
                for key in batch.iter().filter(|key| **key != skipped) {
                    *map.entry((group, *key)).or_default() += 1;
                }
                for (key, admitted) in batch.iter().zip(admitted) {
                    let is_known =
                        map.get(&(group, *key)).is_some_and(|seen| *seen >= count as u64);
                    assert_eq!(admitted == 1, is_known && *key != skipped);
                }
                continue;
            }
        }
        for key in batch {
            *map.entry((group, key)).or_default() += u64::from(num);
        }
        if round % 50 == 49 {
            drop(filter);
            filter = open(&path, 20_000, count);
        }
    }
    let mut admitted = 0;
    for group in [0, 3, 65535, 5] {
        let expected: Vec<u8> = keys
            .iter()
            .map(|key| u8::from(map.get(&(group, *key)).is_some_and(|seen| *seen >= count as u64)))
            .collect();
        assert_eq!(check_all(&filter, group, &keys), expected);
        let one_by_one: Vec<u8> =
            keys.iter().map(|key| u8::from(filter.check(group, *key).unwrap())).collect();
        assert_eq!(one_by_one, expected);
        admitted += expected.iter().filter(|admitted| **admitted == 1).count();
    }
    assert!(
        (100..1400).contains(&admitted),
        "{admitted} keys admitted: too few or too many for a test"
    );
}

/// Four threads add the same keys at once, many of them in the same few blocks: 14 times, and then
/// once more.
#[test]
fn threads_lose_no_addition_and_make_none_up() {
    let (_dir, path) = in_scratch();
    let filter = open(&path, 4000, 15);
    let keys: Vec<i64> = (0..300).collect();
    for round in 0..200 {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (filter, keys) = (&filter, &keys);
                scope.spawn(move || {
                    // 14 = 4 + 4 + 3 + 3
                    for _ in 0..if thread < 2 { 4 } else { 3 } {
                        filter.add_batch(round, keys, 1).unwrap();
                    }
                });
            }
        });
        assert_eq!(check_all(&filter, round, &keys[..10]), [0; 10], "round {round}: too many");
        filter.add_batch(round, &keys, 1).unwrap();
        assert_eq!(
            check_all(&filter, round, &keys),
            vec![1; 300],
            "round {round}: an addition was lost"
        );
        if round % 10 == 9 {
            fs::remove_file(&path).unwrap();
            // The next rounds begin with an empty filter, which has no false positives.
            filter.restore_from(&empty_copy(&path)).unwrap();
        }
    }
}

/// A checkpoint's copy of an empty filter with the parameters of the test above.
fn empty_copy(path: &Path) -> PathBuf {
    let fresh = path.with_extension("fresh");
    let copy = path.with_extension("copy");
    Filter::open(&bag(&fresh, &[("capacity", int(4000)), ("reload", Value::Bool(false))]))
        .unwrap()
        .save_copy(&copy)
        .unwrap();
    copy
}

#[test]
fn counts_survive_reopening_and_a_fresh_filter_forgets_them() {
    let (_dir, path) = in_scratch();
    let filter = open(&path, 10_000, 3);
    let keys: Vec<i64> = (0..1000).map(|n| n * 7919).collect();
    filter.add_batch(1, &keys, 2).unwrap();
    filter.sync().unwrap();
    drop(filter);
    let filter = open(&path, 10_000, 3);
    assert_eq!(check_all(&filter, 1, &keys), vec![0; 1000]);
    filter.add_batch(1, &keys, 1).unwrap();
    assert_eq!(check_all(&filter, 1, &keys), vec![1; 1000]);
    drop(filter);
    let anew = [("capacity", int(10_000)), ("count", int(3)), ("reload", Value::Bool(false))];
    let filter = Filter::open(&bag(&path, &anew)).unwrap();
    assert_eq!(check_all(&filter, 1, &keys), vec![0; 1000]);
    drop(filter);
    // reload false accepts other parameters, and any file.
    fs::write(&path, "not a filter").unwrap();
    let filter =
        Filter::open(&bag(&path, &[("capacity", int(5)), ("reload", Value::Bool(false))])).unwrap();
    assert_eq!(check_all(&filter, 1, &keys), vec![0; 1000]);
    assert_eq!(
        fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "something was left behind"
    );
}

#[test]
fn one_handle_at_a_time_has_a_file() {
    let (dir, path) = in_scratch();
    let filter = open(&path, 1000, 3);
    filter.add(0, 1, 3).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for other in [&path, &dir.path().join("./seen.filter"), &link] {
        for reload in [true, false] {
            let list =
                [("capacity", int(1000)), ("count", int(3)), ("reload", Value::Bool(reload))];
            let error = failure(Filter::open(&bag(other, &list)), Status::Busy);
            assert!(
                error.message().contains("seen.filter") && error.message().contains("in use"),
                "{error}"
            );
        }
    }
    failure(filter.save_copy(&path), Status::Busy);
    assert!(filter.check(0, 1).unwrap());
    drop(filter);
    // A link is followed: its file is replaced, not the link.
    let list = [("capacity", int(1000)), ("count", int(3)), ("reload", Value::Bool(false))];
    let filter = Filter::open(&bag(&link, &list)).unwrap();
    assert!(!filter.check(0, 1).unwrap());
    filter.add(0, 1, 3).unwrap();
    drop(filter);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(open(&path, 1000, 3).check(0, 1).unwrap());
}

#[test]
fn other_parameters_are_refused_by_name_and_change_nothing() {
    let (_dir, path) = in_scratch();
    open(&path, 1000, 3).add(0, 1, 3).unwrap();
    let before = fs::read(&path).unwrap();
    for (list, words) in [
        (vec![("capacity", int(1001)), ("count", int(3))], "capacity 1000, not 1001"),
        (vec![("capacity", int(1000)), ("count", int(4))], "count 3, not 4"),
        (
            vec![("capacity", int(1000)), ("count", int(3)), ("fpr", float(0.002))],
            "fpr 0.001, not 0.002",
        ),
        (vec![], "capacity 1000, not 268435456, count 3, not 15"),
    ] {
        let error = failure(Filter::open(&bag(&path, &list)), Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
        assert!(error.message().contains(path.to_str().unwrap()), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(open(&path, 1000, 3).check(0, 1).unwrap());
}

#[test]
fn wrong_parameters_name_what_is_accepted() {
    let (dir, path) = in_scratch();
    for (list, words) in [
        (vec![("capacity", int(0))], "'capacity' is 0 (int); an int from 1 to 1099511627776"),
        (vec![("capacity", float(1e6))], "'capacity' is 1000000.0 (float)"),
        (vec![("count", int(0))], "'count' is 0 (int); an int from 1 to 15"),
        (vec![("count", int(16))], "'count' is 16"),
        (vec![("fpr", float(0.0))], "'fpr' is 0.0 (float); a number from 1e-6 to 0.5"),
        (vec![("fpr", int(1))], "'fpr' is 1 (int)"),
        (vec![("reload", int(1))], "'reload' is 1 (int); true or false"),
        (vec![("cpacity", int(1))], "no parameter 'cpacity'"),
    ] {
        let error = failure(Filter::open(&bag(&path, &list)), Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
    let error = failure(Filter::open(&params(&[])), Status::InvalidArgument);
    assert!(error.message().contains("needs the parameter 'path'"), "{error}");
    for value in [text(""), int(3)] {
        failure(Filter::open(&params(&[("path", value)])), Status::InvalidArgument);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "an error left something behind");
    failure(Filter::open(&bag(dir.path(), &[])), Status::InvalidArgument);
    failure(Filter::open(&bag(Path::new("/dev/null"), &[])), Status::InvalidArgument);
    failure(Filter::open(&bag(&dir.path().join("no/such/folder"), &[])), Status::Io);
    // More than any disk has is refused before it fills the disk.
    let error = failure(Filter::open(&bag(&path, &[("capacity", int(1 << 40))])), Status::Io);
    assert!(error.message().contains("room") || error.message().contains("large"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "an error left something behind");
    let filter = open(&path, 100, 1);
    failure(filter.add(65536, 0, 1), Status::InvalidArgument);
    failure(filter.check(65536, 0), Status::InvalidArgument);
    let error = failure(filter.check_batch(0, &[1, 2], &mut [0; 3]), Status::InvalidArgument);
    assert!(error.message().contains("admitted_len is 3 and keys_len is 2"), "{error}");
}

#[test]
fn a_damaged_file_is_refused_and_stays_as_it_is() {
    let (_dir, path) = in_scratch();
    let filter = open(&path, 3000, 5);
    filter.add_batch(0, &(0..1000).collect::<Vec<i64>>(), 5).unwrap();
    drop(filter);
    let whole = fs::read(&path).unwrap();
    let list = bag(&path, &[("capacity", int(3000)), ("count", int(5))]);
    let expected = [Status::Corruption, Status::InvalidArgument];
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let error = Filter::open(&list).expect_err(what);
        assert!(expected.contains(&error.status()), "{what}: {error}");
        assert!(error.message().contains(path.to_str().unwrap()), "{what}: {error}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what}: the file was changed");
        error
    };
    for at in 0..4096 {
        for flip in [1, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let error = refused(&bytes, &format!("byte {at}"));
            if at >= 8 {
                assert_eq!(error.status(), Status::Corruption, "byte {at}: {error}");
            }
        }
    }
    for len in (0..4200).chain([whole.len() - 128, whole.len() - 1]) {
        let error = refused(&whole[..len], &format!("{len} bytes"));
        assert_eq!(error.status(), Status::Corruption, "{len} bytes: {error}");
    }
    for more in [1, 128, 4096] {
        let mut bytes = whole.clone();
        bytes.resize(whole.len() + more, 0);
        refused(&bytes, "something was added");
    }
    let error = refused(&[b'x'; 10_000], "foreign");
    assert_eq!(error.status(), Status::InvalidArgument);
    assert!(error.message().contains("not a filter"), "{error}");
    // A later version is reported as such, whatever the file holds.
    let mut bytes = whole.clone();
    bytes[8] = 3;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..4096]);
    bytes[12..16].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = failure(Filter::open(&list), Status::NotSupported);
    assert!(error.message().contains("version 3"), "{error}");
    // The whole file opens.
    fs::write(&path, &whole).unwrap();
    assert!(Filter::open(&list).unwrap().check(0, 999).unwrap());
}

/// A tool copied the file without its zeros: the holes get room on disk before the file is used.
#[test]
fn a_sparse_copy_gets_its_room_back() {
    use std::os::unix::fs::MetadataExt;
    let (_dir, path) = in_scratch();
    let filter = open(&path, 1_000_000, 5);
    filter.add(0, 1, 5).unwrap();
    let copy = path.with_extension("copy");
    filter.save_copy(&copy).unwrap();
    drop(filter);
    let on_disk = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
    let len = fs::metadata(&copy).unwrap().len();
    assert_eq!(len, fs::metadata(&path).unwrap().len());
    assert!(on_disk(&path) >= len, "{} bytes on disk of {len}", on_disk(&path));
    assert!(on_disk(&copy) < len / 2, "the copy of an empty filter takes {} bytes", on_disk(&copy));
    let filter = open(&copy, 1_000_000, 5);
    assert!(filter.check(0, 1).unwrap() && !filter.check(0, 2).unwrap());
    assert!(on_disk(&copy) >= len);
}

#[test]
fn copies_hold_what_was_counted_and_bring_it_back() {
    let (dir, path) = in_scratch();
    let copy = dir.path().join("copy");
    let filter = open(&path, 50_000, 4);
    let keys: Vec<i64> = (0..20_000).collect();
    filter.add_batch(2, &keys, 3).unwrap();
    // Threads go on adding while the copy is made; it has each key with a count of 3 or more.
    std::thread::scope(|scope| {
        scope.spawn(|| (0..50).for_each(|_| filter.add_batch(9, &keys, 1).unwrap()));
        filter.save_copy(&copy).unwrap();
    });
    filter.add_batch(2, &keys, 1).unwrap();
    assert_eq!(check_all(&filter, 2, &keys), vec![1; keys.len()]);
    filter.restore_from(&copy).unwrap();
    let admitted =
        check_all(&filter, 2, &keys).into_iter().filter(|admitted| *admitted == 1).count();
    assert!(admitted < 200, "{admitted} keys were not set back");
    filter.add_batch(2, &keys, 1).unwrap();
    assert_eq!(check_all(&filter, 2, &keys), vec![1; keys.len()], "the copy had lost counts");
    // The restored file still belongs to this handle alone.
    let list = bag(&path, &[("capacity", int(50_000)), ("count", int(4))]);
    failure(Filter::open(&list), Status::Busy);
    drop(filter);
    let filter = Filter::open(&list).unwrap();
    assert_eq!(check_all(&filter, 2, &keys), vec![1; keys.len()]);
    // A copy that is damaged, missing or of another filter changes nothing.
    let mut bytes = fs::read(&copy).unwrap();
    fs::write(&copy, &bytes[..bytes.len() - 1]).unwrap();
    failure(filter.restore_from(&copy), Status::Corruption);
    bytes[100] = 1;
    fs::write(&copy, &bytes).unwrap();
    failure(filter.restore_from(&copy), Status::Corruption);
    failure(filter.restore_from(&dir.path().join("missing")), Status::Io);
    open(&dir.path().join("other"), 50_000, 5).save_copy(&copy).unwrap();
    let error = failure(filter.restore_from(&copy), Status::InvalidArgument);
    assert!(error.message().contains("count 5, not 4"), "{error}");
    assert_eq!(check_all(&filter, 2, &keys), vec![1; keys.len()]);
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["copy", "other", "seen.filter"], "something was left behind");
}

#[test]
fn what_a_killed_creation_left_is_used_by_the_next() {
    let (_dir, path) = in_scratch();
    let left = path.with_file_name("seen.filter.damo-new");
    fs::write(&left, vec![0xff; 1 << 20]).unwrap();
    let filter = open(&path, 100_000, 1);
    assert!((0..1000).all(|key| !filter.check(0, key).unwrap()));
    assert!(!left.exists());
}
