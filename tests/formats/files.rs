//! Fixtures that are not storages: tables of each value type, an increment, classic dumps, a
//! filter, and files to import.

use std::fs;
use std::path::{Path, PathBuf};

use damo::embedding::Embedding;
use damo::filter::Filter;
use damo::storage::{FieldOrder, Record};
use damo::table::{ClassicWriter, Options, Table, ValueType, Writer};

use crate::common::{initializer, int, open, optimizer, params, text};
use crate::fixtures;

const TYPES: [ValueType; 3] = [ValueType::Float32, ValueType::Float16, ValueType::Int8];
const GROUPS: [(u16, usize); 3] = [(0, 2), (7, 3), (65535, 1)];
/// Each value type holds these exactly: int8 because the scale is 1 in the first two rows, and 0 in
/// the others.
const ROWS: [(u16, i64, &[f32]); 5] = [
    (0, i64::MIN, &[0.0, 255.0]),
    (0, -3, &[-127.0, 128.0]),
    (0, 5, &[0.5, 0.5]),
    (7, i64::MAX, &[-2.0, -2.0, -2.0]),
    (65535, 0, &[65504.0]),
];
const REMOVED: (u16, [i64; 2]) = (7, [-9, 9]);
const NUMBER: u64 = 12;
const SINCE: u64 = 10;

const CAPACITY: i64 = 100;
const COUNT: i64 = 3;
const FILTER_KEYS: std::ops::Range<i64> = -20..20;

/// A day in 2024.
const TIME: i64 = 1_720_000_000_000;
const IMPORTED: [(i32, i64, i64, &[f32]); 3] = [
    // Two weights, and adam's state.
    (4, i64::MIN, 1, &[0.5, -0.5, 0.25, 0.125, 2.0, 4.0]),
    (4, -1, 2, &[1.5, 2.5, 0.0, -0.0, 1.0, 3.0]),
    // Weights alone.
    (4, 77, 300, &[7.0, 8.0]),
];

fn path(name: &str) -> PathBuf {
    fixtures().join("files").join(name)
}

fn table(folder: &Path, name: &str, value_type: ValueType, since: Option<u64>) {
    let options = Options { value_type, number: NUMBER, since, groups: &GROUPS };
    let mut writer = Writer::create(&folder.join(name), &options).unwrap();
    for (group, _) in GROUPS {
        if since.is_some() && group == REMOVED.0 {
            writer.remove_keys(group, &REMOVED.1).unwrap();
        }
        for (_, key, weights) in ROWS.iter().filter(|row| row.0 == group) {
            writer.add_rows(group, &[*key], weights).unwrap();
        }
    }
    writer.finish().unwrap();
}

fn classic(folder: &Path, name: &str, header_groups: usize, groups: &[(u16, usize)]) {
    let mut writer = ClassicWriter::create(&folder.join(name), header_groups, groups).unwrap();
    for (group, key, weights) in
        ROWS.iter().filter(|row| groups.iter().any(|group| group.0 == row.0))
    {
        writer.add_rows(*group, &[*key], weights).unwrap();
    }
    writer.finish().unwrap();
}

fn filter(path: &Path) -> Filter {
    let path = ("path", text(path.to_str().unwrap()));
    Filter::open(&params(&[path, ("capacity", int(CAPACITY)), ("count", int(COUNT))])).unwrap()
}

/// A file of the earlier implementation: the time comes first in older releases, the count in later
/// ones.
fn import_file(time_first: bool) -> Vec<u8> {
    let mut file = (IMPORTED.len() as i64).to_le_bytes().to_vec();
    for (group, key, num, data) in IMPORTED {
        let key = [group.to_le_bytes().as_slice(), &key.to_le_bytes()].concat();
        let pair = if time_first { [TIME, num] } else { [num, TIME] };
        file.extend(12_u64.to_le_bytes());
        file.extend(&key);
        file.extend((32 + 4 * data.len() as u64).to_le_bytes());
        file.extend(&key);
        pair.iter().for_each(|number| file.extend(number.to_le_bytes()));
        file.extend(2_i32.to_le_bytes());
        data.iter().for_each(|float| file.extend(float.to_le_bytes()));
    }
    file
}

/// Writes all of them into an empty folder.
fn write(folder: &Path) {
    for value_type in TYPES {
        table(folder, &format!("{}.table", value_type.name()), value_type, None);
    }
    table(folder, "increment.table", ValueType::Float32, Some(SINCE));
    classic(folder, "classic-256.dump", 256, &GROUPS[..2]);
    classic(folder, "classic-8.dump", 8, &GROUPS[..2]);
    let seen = filter(&folder.join("new.filter"));
    FILTER_KEYS.for_each(|key| (0..key.rem_euclid(5)).for_each(|_| seen.add(2, key, 1).unwrap()));
    seen.sync().unwrap();
    drop(seen);
    let bytes = fs::read(folder.join("new.filter")).unwrap();
    let version = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
    fs::rename(folder.join("new.filter"), folder.join(format!("seen-{version}.filter"))).unwrap();
    fs::write(folder.join("older.ckpt"), import_file(true)).unwrap();
    fs::write(folder.join("later.ckpt"), import_file(false)).unwrap();
}

/// Writes the fixtures of each format, or version of one, that has none.
pub fn add_missing(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    write(scratch.path());
    for entry in fs::read_dir(scratch.path()).unwrap() {
        let entry = entry.unwrap();
        let fixture = folder.join(entry.file_name());
        if !fixture.exists() {
            fs::copy(entry.path(), fixture).unwrap();
        }
    }
}

#[test]
fn what_is_written_now_is_what_was_written() {
    let scratch = tempfile::tempdir().unwrap();
    write(scratch.path());
    for entry in fs::read_dir(scratch.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let now = fs::read(scratch.path().join(&name)).unwrap();
        let then = fs::read(path(&name))
            .unwrap_or_else(|_| panic!("{name} has no fixture: {}", crate::WRITE));
        // A filter may say when it was closed.
        assert!(
            now == then || name.ends_with(".filter"),
            "{name} is written otherwise than before: a change of format needs a new version"
        );
    }
}

#[test]
fn tables_of_each_value_type_are_read() {
    for value_type in TYPES {
        let name = format!("{}.table", value_type.name());
        let table = Table::open(&path(&name)).unwrap();
        assert_eq!((table.number(), table.contents().value_type()), (NUMBER, value_type));
        for (group, dim) in GROUPS {
            let rows: Vec<_> = ROWS.iter().filter(|row| row.0 == group).collect();
            assert_eq!(
                (table.dim(group.into()), table.rows(group.into())),
                (Ok(dim), Ok(rows.len() as u64))
            );
            for (_, key, expected) in rows {
                let (mut weights, mut found) = (vec![f32::NAN; 2 * dim], [9; 2]);
                table.lookup(group.into(), &[*key, 6], &mut weights, Some(&mut found)).unwrap();
                assert_eq!(
                    (&weights[..dim], found),
                    (*expected, [1, 0]),
                    "{name} group {group} key {key}"
                );
                assert!(weights[dim..].iter().all(|weight| *weight == 0.0));
            }
        }
    }
}

#[test]
fn increments_are_read() {
    let increment = damo::table::Contents::open(&path("increment.table")).unwrap();
    assert_eq!((increment.number(), increment.since()), (NUMBER, Some(SINCE)));
    for (group, dim) in GROUPS {
        let mut rows = increment.rows(group);
        for (_, key, expected) in ROWS.iter().filter(|row| row.0 == group) {
            let mut weights = vec![f32::NAN; dim];
            assert_eq!(rows.next_into(&mut weights), Some(*key));
            assert_eq!(weights, *expected);
        }
        let removed: Vec<i64> = increment.removed(group).collect();
        assert_eq!(removed, if group == REMOVED.0 { REMOVED.1.to_vec() } else { vec![] });
    }
}

/// By the table in docs/formats.md.
#[test]
fn classic_dumps_are_read() {
    for (name, width) in [("classic-256.dump", 256), ("classic-8.dump", 8)] {
        let bytes = fs::read(path(name)).unwrap();
        let (mut dims, mut counts) = (vec![0_i32; width], vec![0_u64; width]);
        let mut expected = Vec::new();
        for (group, key, weights) in ROWS.iter().filter(|row| row.0 < 256) {
            dims[usize::from(*group)] = weights.len() as i32;
            counts[usize::from(*group)] += 1;
            expected.extend(key.to_le_bytes());
            expected.extend(i32::from(*group).to_le_bytes());
            weights.iter().for_each(|weight| expected.extend(weight.to_le_bytes()));
        }
        let mut header: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        header.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        assert!(bytes == [header, expected].concat(), "{name}");
    }
}

#[test]
fn filters_of_every_version_are_read() {
    let fixtures = fs::read_dir(path("")).unwrap().map(|entry| entry.unwrap().path());
    let filters: Vec<_> =
        fixtures.filter(|path| path.extension().is_some_and(|end| end == "filter")).collect();
    assert!(!filters.is_empty());
    for fixture in filters {
        let (named, scratch) = (fixture.display(), tempfile::tempdir().unwrap());
        let copy = scratch.path().join("seen.filter");
        fs::copy(&fixture, &copy).unwrap();
        let seen = filter(&copy);
        for key in FILTER_KEYS {
            let admitted = key.rem_euclid(5) >= COUNT;
            assert_eq!(seen.check(2, key), Ok(admitted), "{named} key {key}");
            assert_eq!(seen.check(3, key), Ok(false), "{named} of another group");
            // Keys with a count of two lack one addition, so the stored counts are those that were
            // written.
            seen.add(2, key, 1).unwrap();
            assert_eq!(
                seen.check(2, key),
                Ok(key.rem_euclid(5) >= COUNT - 1),
                "{named} key {key} once more"
            );
        }
    }
}

#[test]
fn checkpoint_files_of_the_earlier_implementation_are_read() {
    for (name, order) in
        [("older.ckpt", FieldOrder::TimeFirst), ("later.ckpt", FieldOrder::NumFirst)]
    {
        let scratch = tempfile::tempdir().unwrap();
        let storage = open(scratch.path());
        let (adam, ones) = (optimizer("adam", &[]), initializer("ones", &[]));
        let _group = Embedding::new(storage.clone(), adam, ones, 2, 4, &params(&[])).unwrap();
        let report = storage.import(path(name), |_, _| true).unwrap();
        assert_eq!(
            (report.imported, report.refused_records(), report.order),
            (3, 0, order),
            "{name}"
        );
        let mut rows = storage.rows(None).unwrap();
        for (group, key, num, data) in IMPORTED {
            let mut data = data.to_vec();
            data.resize(6, 0.0);
            let (update_time, update_num) = (TIME as u64, num as u64);
            let expected =
                Record { group: group as u16, key, update_time, update_num, dim: 2, data };
            assert_eq!(rows.next_row(), Ok(Some(expected)), "{name}");
        }
        assert_eq!(rows.next_row(), Ok(None));
    }
}
