//! Serving tables return what was written, as precisely as their type allows, and nothing else.

use std::fs;
use std::path::Path;
use std::thread;

use damo::error::Status;
use damo::table::{Contents, Options, Table, ValueType, Writer};

use crate::common::failure;
use crate::content::{BIG, Content, TYPES, look, options, weight, write};

#[test]
fn every_type_gives_back_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    for value_type in TYPES {
        for dim in (1..=40).chain([63, 64, 65, 100, 127, 128, 200, 255, 256, 300]) {
            let path = dir.path().join("t");
            let mut content = Content::default();
            let keys =
                [i64::MIN, i64::MIN + 1, -70_000, -1, 0, 1, 2, 1 << 40, i64::MAX - 1, i64::MAX];
            for (number, key) in keys.iter().enumerate() {
                content.set(3, *key, (0..dim).map(|column| weight(number, column)).collect());
                content.set(65_535, *key, vec![number as f32; 2]);
            }
            content.set(4, 5, vec![1.0]);
            content.declare(0, dim);
            content.declare(9, 7);
            write(&path, &content, value_type, 12, None);

            let table = Table::open(&path).unwrap();
            assert_eq!(
                (table.number(), table.rows(3).unwrap(), table.dim(3).unwrap()),
                (12, 10, dim)
            );
            assert_eq!(
                (table.rows(0).unwrap(), table.dim(0).unwrap(), table.rows(9).unwrap()),
                (0, dim, 0)
            );
            // In any order, repeated, with unknown keys among them.
            let asked =
                [i64::MAX, 7, 0, i64::MIN, i64::MIN, -2, 1 << 40, i64::MAX - 1, 3, -70_000, 1];
            let (weights, found) = look(&table, 3, &asked);
            for (index, key) in asked.iter().enumerate() {
                let row = &weights[index * dim..][..dim];
                match content.get(3, *key) {
                    Some(expected) => assert_close(value_type, expected, row),
                    None => assert!(row.iter().all(|weight| weight.to_bits() == 0)),
                }
                assert_eq!(found[index], u8::from(content.get(3, *key).is_some()), "key {key}");
            }
            assert_eq!(look(&table, 4, &[5, 6]), (vec![1.0, 0.0], vec![1, 0]));
            assert_eq!(look(&table, 0, &[1, 2]), (vec![0.0; 2 * dim], vec![0, 0]));
            assert_eq!(look(&table, 65_535, &[-1]), (vec![3.0, 3.0], vec![1]));
            // And in key order.
            let mut rows = table.contents().rows(3);
            for key in keys {
                let mut weights = vec![f32::NAN; dim];
                assert_eq!(rows.next_into(&mut weights), Some(key));
                assert_close(value_type, content.get(3, key).unwrap(), &weights);
            }
            assert_eq!(rows.next_into(&mut vec![0.0; dim]), None);
        }
    }
}

/// docs/formats.md states the precision of stored weights.
fn assert_close(value_type: ValueType, given: &[f32], stored: &[f32]) {
    let low = given.iter().copied().fold(f32::INFINITY, f32::min);
    let high = given.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for (given, stored) in given.iter().zip(stored) {
        let bound = match value_type {
            ValueType::Float32 => 0.0,
            ValueType::Float16 => (f64::from(given.abs()) * 2f64.powi(-11)).max(2f64.powi(-25)),
            ValueType::Int8 => {
                let size = f64::from(low.abs().max(high.abs()));
                (f64::from(high) - f64::from(low)) / 510.0 + size * 2f64.powi(-22)
            }
        };
        let difference = (f64::from(*given) - f64::from(*stored)).abs();
        assert!(
            difference <= bound,
            "{value_type:?}: {given:e} became {stored:e}, bound {bound:e}"
        );
    }
}

#[test]
fn weights_of_any_size_are_stored_as_the_manual_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let rows: [[f32; 4]; 8] = [
        [1e-40, -1e-40, 0.0, 3e-45],
        [3.4e38, -3.4e38, 1.0, 0.0],
        [-0.0, 0.0, 0.0, -0.0],
        [7.25; 4],
        [1e-38, 2e-38, 3e-38, 1.5e-38],
        [65_504.0, 65_519.0, -65_520.0, 1e9],
        [f32::NAN, 1.0, 2.0, 3.0],
        [f32::INFINITY, 1.0, f32::NEG_INFINITY, 3.0],
    ];
    for value_type in TYPES {
        let mut writer = Writer::create(&path, &options(value_type, 0, None, &[(0, 4)])).unwrap();
        let keys: Vec<i64> = (0..rows.len() as i64).collect();
        writer.add_rows(0, &keys, rows.as_flattened()).unwrap();
        let summary = writer.finish().unwrap();
        // 3.4e38 twice; of float16 also -65520 and 1e9.
        let saturated = match value_type {
            ValueType::Float32 => 0,
            ValueType::Float16 => 4,
            ValueType::Int8 => 2,
        };
        assert_eq!(summary.saturated, saturated);
        let (weights, _) = look(&Table::open(&path).unwrap(), 0, &keys);
        let stored = weights.as_chunks::<4>().0;
        match value_type {
            ValueType::Float32 => {
                let bits = |rows: &[[f32; 4]]| -> Vec<u32> {
                    rows.as_flattened().iter().map(|weight| weight.to_bits()).collect()
                };
                assert_eq!(bits(stored), bits(&rows));
            }
            ValueType::Float16 => {
                assert_eq!(stored[1], [65_504.0, -65_504.0, 1.0, 0.0]);
                assert_eq!(stored[5], [65_504.0, 65_504.0, -65_504.0, 65_504.0]);
                assert!(stored[6][0].is_nan());
                assert_eq!(stored[6][1..], [1.0, 2.0, 3.0]);
                assert_eq!(stored[7], rows[7]);
                (2..5).for_each(|row| assert_close(value_type, &rows[row], &stored[row]));
            }
            ValueType::Int8 => {
                for row in [0, 2, 3, 4, 5] {
                    assert_close(value_type, &rows[row], &stored[row]);
                }
                assert_close(value_type, &[1.7e38, -1.7e38, 1.0, 0.0], &stored[1]);
                assert_eq!(stored[3], [7.25; 4]);
                assert!(stored[6].iter().chain(&stored[7]).all(|weight| weight.is_nan()));
            }
        }
    }
}

#[test]
fn large_groups_are_found_key_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    // Rows that are sorted at once, in parts, and in a scratch file.
    for rows in [65_535, 65_536, 400_000, BIG] {
        let keys: Vec<i64> = (0..rows).map(|row| (row - rows / 2) * 3).collect();
        let mut writer =
            Writer::create(&path, &options(ValueType::Int8, 1, None, &[(1, 1), (2, 1)])).unwrap();
        for keys in keys.chunks(100_000) {
            let weights: Vec<f32> = keys.iter().map(|key| (key % 1_000_003) as f32).collect();
            writer.add_rows(1, keys, &weights).unwrap();
        }
        writer.add_rows(2, &[8], &[8.0]).unwrap();
        let summary = writer.finish().unwrap();
        assert_eq!(summary.rows, rows as u64 + 1);
        assert_eq!(summary.bytes, fs::metadata(&path).unwrap().len());
        let table = Table::open(&path).unwrap();
        for keys in keys.chunks(50_000) {
            let (weights, found) = look(&table, 1, keys);
            assert!(found.iter().all(|found| *found == 1));
            for (key, weight) in keys.iter().zip(weights) {
                assert_eq!(weight, (key % 1_000_003) as f32, "key {key}");
            }
            let others: Vec<i64> = keys.iter().map(|key| key + 1).collect();
            assert_eq!(look(&table, 1, &others), (vec![0.0; others.len()], vec![0; others.len()]));
        }
        assert_eq!(look(&table, 2, &[8]), (vec![8.0], vec![1]));
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["t"], "nothing else is left");
    }
}

#[test]
fn the_bytes_do_not_depend_on_how_rows_come() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<i64> = (0..70_001).map(|row| row * row - 5).collect();
    let weights: Vec<f32> = (0..keys.len() * 3).map(|at| weight(at, 1)).collect();
    let files = [1, 7, 4096, 70_001].map(|call| {
        let path = dir.path().join("t");
        let groups = [(9, 1), (0, 3), (5, 2)];
        let mut writer =
            Writer::create(&path, &options(ValueType::Float16, 3, None, &groups)).unwrap();
        for (keys, weights) in keys.chunks(call).zip(weights.chunks(3 * call)) {
            writer.add_rows(0, keys, weights).unwrap();
            writer.add_rows(0, &[], &[]).unwrap();
        }
        writer.add_rows(9, &[4], &[4.0]).unwrap();
        writer.finish().unwrap();
        fs::read(&path).unwrap()
    });
    assert!(files.iter().all(|file| *file == files[0]));
}

#[test]
fn rows_that_do_not_fit_are_refused_and_leave_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut writer =
        Writer::create(&path, &options(ValueType::Float32, 3, None, &[(2, 2), (5, 1)])).unwrap();
    writer.add_rows(2, &[-4, 7], &[1.0, 2.0, 3.0, 4.0]).unwrap();
    for (group, keys, weights, words) in [
        (2, vec![7], vec![0.0; 2], "key 7 of group 2 comes after key 7"),
        (2, vec![9, 8], vec![0.0; 4], "key 8 of group 2 comes after key 9"),
        (2, vec![9, 9], vec![0.0; 4], "none is given twice"),
        (2, vec![-5], vec![0.0; 2], "key -5 of group 2 comes after key 7"),
        (2, vec![9], vec![0.0; 1], "there are 1 weights and 1 keys of group 2; dim 2"),
        (3, vec![9], vec![0.0; 1], "group is 3; this file was begun with groups 2, 5"),
    ] {
        let error = failure(writer.add_rows(group, &keys, &weights), Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
    let error = failure(writer.remove_keys(2, &[9]), Status::InvalidArgument);
    assert!(error.message().contains("only an increment"), "{error}");
    writer.add_rows(5, &[-9], &[9.0]).unwrap();
    let error = failure(writer.add_rows(2, &[10], &[0.0; 2]), Status::InvalidArgument);
    assert!(error.message().contains("group 2 comes after a later one"), "{error}");
    assert_eq!(writer.finish().unwrap().rows, 3);
    let table = Table::open(&path).unwrap();
    assert_eq!(look(&table, 2, &[7, 9, -4]), (vec![3.0, 4.0, 0.0, 0.0, 1.0, 2.0], vec![1, 0, 1]));
    assert_eq!(look(&table, 5, &[-9]), (vec![9.0], vec![1]));
}

#[test]
fn lookups_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut content = Content::default();
    (0..30).for_each(|group| content.declare(group, 3));
    content.set(3, 1, vec![1.0; 3]);
    write(&path, &content, ValueType::Float32, 0, None);
    let table = Table::open(&path).unwrap();
    let mut weights = vec![7.0; 5];
    let error = failure(table.lookup(3, &[1, 2], &mut weights, None), Status::InvalidArgument);
    assert!(
        error
            .message()
            .contains("weights_len is 5 and keys_len is 2; 2 keys x dim 3 of group 3 = 6 floats")
    );
    let error = failure(
        table.lookup(3, &[1], &mut weights[..3], Some(&mut [0; 2])),
        Status::InvalidArgument,
    );
    assert!(error.message().contains("found has 2 bytes and keys_len is 1"), "{error}");
    for group in [30, 65_536 + 3, u32::MAX] {
        let error = failure(table.lookup(group, &[1], &mut weights[..3], None), Status::NotFound);
        assert!(error.message().contains(&format!("group is {group};")), "{error}");
        assert!(
            error.message().contains("groups 0, 1, 2, 3,")
                && error.message().contains("and 10 more")
        );
        failure(table.dim(group), Status::NotFound);
        failure(table.rows(group), Status::NotFound);
    }
    assert_eq!(weights, [7.0; 5], "nothing was written");
    table.lookup(3, &[], &mut [], None).unwrap();

    write(&path, &Content::default(), ValueType::Int8, 5, None);
    let table = Table::open(&path).unwrap();
    let error = failure(table.lookup(0, &[], &mut [], None), Status::NotFound);
    assert!(error.message().contains("has no groups"), "{error}");
}

#[test]
fn options_that_make_no_sense_are_refused_and_nothing_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let create = |name: &str, since, groups: &[(u16, usize)]| {
        let options = Options { value_type: ValueType::Int8, number: 4, since, groups };
        Writer::create(&dir.path().join(name), &options).map(drop)
    };
    fs::create_dir(dir.path().join("folder")).unwrap();
    for (result, words) in [
        (create("t", None, &[(1, 1), (2, 1), (1, 1)]), "group 1 is given twice"),
        (create("t", None, &[(1, 0)]), "dim is 0 for group 1; 1 to 262144"),
        (create("t", None, &[(1, 262_145)]), "dim is 262145 for group 1"),
        (create("t", Some(5), &[]), "since is 5 and number is 4"),
        (create("folder", None, &[]), "is a directory"),
        (create("folder/", None, &[]), "no file name"),
        (create("folder/..", None, &[]), "no file name"),
    ] {
        let error = failure(result, Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
    let error = failure(create("missing/t", None, &[]), Status::Io);
    assert!(error.message().contains("missing/t' cannot be created: No such file"), "{error}");
    let error = failure(
        Writer::create(Path::new(""), &options(ValueType::Int8, 0, None, &[])).map(drop),
        Status::InvalidArgument,
    );
    assert!(error.message().contains("path is empty"), "{error}");
    failure(
        Writer::create(Path::new("/dev/null"), &options(ValueType::Int8, 0, None, &[])).map(drop),
        Status::InvalidArgument,
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    failure(ValueType::from_name("float64"), Status::InvalidArgument);
    assert!(TYPES.iter().all(|known| ValueType::from_name(known.name()) == Ok(*known)));
}

#[test]
fn a_file_has_its_name_only_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let names = || {
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let begin = || {
        let mut writer =
            Writer::create(&path, &options(ValueType::Float32, 1, None, &[(0, 512)])).unwrap();
        let keys: Vec<i64> = (0..4000).collect();
        writer.add_rows(0, &keys, &vec![1.5; 4000 * 512]).unwrap();
        writer
    };
    // A file that a killed process left is reused.
    fs::write(dir.path().join(".t.partial"), vec![1; 100 << 10]).unwrap();
    let writer = begin();
    assert_eq!(names(), [".t.partial"]);
    let error = failure(
        Writer::create(&path, &options(ValueType::Float32, 1, None, &[])).map(drop),
        Status::Busy,
    );
    assert!(error.message().contains("/t' is being written"), "{error}");
    drop(writer);
    assert!(names().is_empty(), "given up without a trace");

    fs::write(&path, "what was there").unwrap();
    let writer = begin();
    assert!(writer.bytes_written() > 8_000_000);
    assert_eq!(fs::read(&path).unwrap(), b"what was there");
    let summary = writer.finish().unwrap();
    assert_eq!(names(), ["t"]);
    assert_eq!(fs::metadata(&path).unwrap().len(), summary.bytes);

    // The open table is replaced, and goes on answering.
    let table = Table::open(&path).unwrap();
    let mut content = Content::default();
    content.set(0, 1, vec![9.0]);
    write(&path, &content, ValueType::Float32, 2, None);
    assert_eq!(look(&table, 0, &[3999]), (vec![1.5; 512], vec![1]));
    assert_eq!(look(&Table::open(&path).unwrap(), 0, &[1]), (vec![9.0], vec![1]));
    fs::remove_file(&path).unwrap();
    assert_eq!(look(&table, 0, &[4000]).1, [0]);
}

#[test]
fn an_increment_is_no_table_but_can_be_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut writer =
        Writer::create(&path, &options(ValueType::Float32, 9, Some(7), &[(1, 1), (2, 1)])).unwrap();
    writer.add_rows(1, &[-3], &[0.5]).unwrap();
    writer.remove_keys(1, &[-2, 4]).unwrap();
    failure(writer.add_rows(1, &[3], &[0.0]), Status::InvalidArgument);
    writer.add_rows(1, &[5], &[1.5]).unwrap();
    failure(writer.remove_keys(1, &[5]), Status::InvalidArgument);
    writer.remove_keys(2, &[i64::MIN, i64::MAX]).unwrap();
    let summary = writer.finish().unwrap();
    assert_eq!((summary.rows, summary.removed), (2, 4));
    let error = failure(Table::open(&path).map(drop), Status::InvalidArgument);
    assert!(
        error.message().contains("is an increment")
            && error.message().contains("since number 7; merge it")
    );
    let contents = Contents::open(&path).unwrap();
    assert_eq!((contents.number(), contents.since()), (9, Some(7)));
    assert_eq!(contents.removed(1).collect::<Vec<_>>(), [-2, 4]);
    assert_eq!(contents.removed(2).collect::<Vec<_>>(), [i64::MIN, i64::MAX]);
    let (mut rows, mut weights) = (contents.rows(1), [0.0]);
    assert_eq!((rows.next_into(&mut weights), weights), (Some(-3), [0.5]));
    assert_eq!((rows.next_into(&mut weights), weights), (Some(5), [1.5]));
    let removed: Vec<u64> = contents.groups().map(|info| info.removed).collect();
    assert_eq!(removed, [2, 2]);
}

#[test]
fn many_threads_look_up_in_one_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut content = Content::default();
    for key in 0..20_000 {
        content.set(0, key * 7, vec![key as f32; 5]);
    }
    write(&path, &content, ValueType::Float32, 1, None);
    let table = Table::open(&path).unwrap();
    thread::scope(|scope| {
        for number in 0..8 {
            let table = &table;
            scope.spawn(move || {
                for round in 0..50 {
                    let keys: Vec<i64> =
                        (0..999).map(|at| (at * 131 + number * 17 + round) % 140_000).collect();
                    let (weights, found) = look(table, 0, &keys);
                    for (index, key) in keys.iter().enumerate() {
                        let expected = if key % 7 == 0 { (key / 7) as f32 } else { 0.0 };
                        assert_eq!(weights[index * 5..][..5], [expected; 5]);
                        assert_eq!(found[index], u8::from(key % 7 == 0));
                    }
                }
            });
        }
    });
}
