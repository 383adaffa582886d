//! A table merged with its increments is byte for byte the table that would have been dumped.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use damo::error::Status;
use damo::table::{Table, ValueType, Writer, merge};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::failure;
use crate::content::{BIG, Content, TYPES, look, options, weight, write};

/// The changed keys of each group, with their rows, or None for a removed one.
type Changes = BTreeMap<u16, BTreeMap<i64, Option<Vec<f32>>>>;

fn write_increment(
    path: &Path,
    content: &Content,
    changes: &Changes,
    value_type: ValueType,
    number: u64,
    since: u64,
) {
    let dims = content.dims();
    let mut writer =
        Writer::create(path, &options(value_type, number, Some(since), &dims)).unwrap();
    for (group, changes) in changes {
        for (key, row) in changes {
            match row {
                Some(weights) => writer.add_rows(*group, &[*key], weights).unwrap(),
                None => writer.remove_keys(*group, &[*key]).unwrap(),
            }
        }
    }
    writer.finish().unwrap();
}

/// Changes, removes and adds some rows, and now and then adds a group.
fn change(content: &mut Content, random: &mut ChaCha8Rng) -> Changes {
    if random.random_bool(0.5) {
        content.declare(random.random_range(0..12), random.random_range(1..9));
    }
    let mut changes = Changes::new();
    for (group, dim) in content.dims() {
        let changed = changes.entry(group).or_default();
        for _ in 0..random.random_range(0..60) {
            let key = random.random_range(-200..200) * (i64::MAX / 300);
            if random.random_bool(0.3) {
                content.groups.get_mut(&group).unwrap().1.remove(&key);
                // Removes absent keys, too: rows may come and go between two dumps.
                changed.insert(key, None);
            } else {
                let row: Vec<f32> =
                    (0..dim).map(|column| weight(random.random_range(0..9999), column)).collect();
                content.set(group, key, row.clone());
                changed.insert(key, Some(row));
            }
        }
    }
    changes
}

#[test]
fn merged_increments_equal_a_dump_of_everything_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (base, increment) = (dir.path().join("base"), dir.path().join("increment"));
    let (merged, full) = (dir.path().join("merged"), dir.path().join("full"));
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for round in 0..60 {
        let value_type = TYPES[round % 3];
        let mut content = Content::default();
        change(&mut content, &mut random);
        write(&base, &content, value_type, 10, None);
        let mut number = 10;
        for _ in 0..4 {
            let since = number;
            number += random.random_range(0..5);
            let changes = change(&mut content, &mut random);
            write_increment(&increment, &content, &changes, value_type, number, since);
            write(&full, &content, value_type, number, None);
            let summary = merge(&base, &increment, &merged).unwrap();
            assert!(fs::read(&merged).unwrap() == fs::read(&full).unwrap(), "round {round}");
            assert_eq!(summary.bytes, fs::metadata(&full).unwrap().len());
            // Merges onto the base itself, while somebody reads it.
            let before = Table::open(&base).unwrap();
            merge(&base, &increment, &base).unwrap();
            assert!(fs::read(&base).unwrap() == fs::read(&full).unwrap());
            assert_eq!(before.number(), since);
        }
    }
}

#[test]
fn a_large_table_is_merged_through_a_scratch_file() {
    let dir = tempfile::tempdir().unwrap();
    let [base, increment, merged, full] = ["b", "i", "m", "f"].map(|name| dir.path().join(name));
    let write_rows = |path: &Path, number, since, keys: &[i64], gone: &[i64], value: f32| {
        let groups = [(0, 1)];
        let mut writer =
            Writer::create(path, &options(ValueType::Int8, number, since, &groups)).unwrap();
        let weights: Vec<f32> =
            keys.iter().map(|key| if key % 10 == 1 { value } else { 1.0 }).collect();
        writer.add_rows(0, keys, &weights).unwrap();
        writer
            .remove_keys(0, gone)
            .or_else(|error| if gone.is_empty() { Ok(()) } else { Err(error) })
            .unwrap();
        writer.finish().unwrap();
    };
    let keys: Vec<i64> = (0..BIG).collect();
    write_rows(&base, 1, None, &keys, &[], 2.0);
    // A tenth of the rows change, and a million at the end are removed: more than the writer holds.
    let stays = BIG - (1 << 20) - 10;
    let changed: Vec<i64> = (0..stays).filter(|key| key % 10 == 1).collect();
    let gone: Vec<i64> = (stays..BIG).collect();
    write_rows(&increment, 2, Some(1), &changed, &gone, 3.0);
    merge(&base, &increment, &merged).unwrap();
    let keys: Vec<i64> = (0..stays).collect();
    write_rows(&full, 2, None, &keys, &[], 3.0);
    assert!(fs::read(&merged).unwrap() == fs::read(&full).unwrap());
    let table = Table::open(&merged).unwrap();
    assert_eq!(
        look(&table, 0, &[0, 11, stays, BIG - 1]),
        (vec![1.0, 3.0, 0.0, 0.0], vec![1, 1, 0, 0])
    );
}

#[test]
fn what_does_not_belong_together_is_not_merged() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut content = Content::default();
    content.set(4, 1, vec![1.0, 2.0]);
    let mut wider = Content::default();
    wider.set(4, 1, vec![1.0, 2.0, 3.0]);
    write(&path("table"), &content, ValueType::Float32, 10, None);
    write(&path("later"), &content, ValueType::Float32, 20, Some(15));
    write(&path("fits"), &content, ValueType::Float32, 20, Some(10));
    write(&path("half"), &content, ValueType::Float16, 20, Some(10));
    write(&path("wider"), &wider, ValueType::Float32, 20, Some(10));
    fs::write(path("out"), "as it was").unwrap();
    for (base, increment, status, words) in [
        ("table", "later", Status::InvalidArgument, vec!["has number 10", "since number 15"]),
        ("table", "table", Status::InvalidArgument, vec!["increment '", "is a whole table"]),
        ("fits", "later", Status::InvalidArgument, vec!["base '", "is an increment since 10"]),
        ("table", "half", Status::InvalidArgument, vec!["holds float32", "holds float16"]),
        ("table", "wider", Status::InvalidArgument, vec!["group 4 has dim 2", "dim 3"]),
        ("nothing", "fits", Status::NotFound, vec!["nothing' cannot be read"]),
        ("table", "out", Status::InvalidArgument, vec!["out'", "does not begin as a table does"]),
    ] {
        let error = failure(merge(&path(base), &path(increment), &path("out")), status);
        assert!(words.iter().all(|words| error.message().contains(words)), "{error}");
        assert_eq!(fs::read(path("out")).unwrap(), b"as it was");
    }
    merge(&path("table"), &path("fits"), &path("out")).unwrap();
    assert_eq!(Table::open(&path("out")).unwrap().number(), 20);
    let names = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 6, "nothing temporary is left");
}
