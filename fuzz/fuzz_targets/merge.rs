//! Bytes as the rows of a table and the changes of an increment: the merged file is, byte for byte,
//! the table with the changes made, and every row in it is found.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use damo::table::{Options, Table, ValueType, Writer, merge};
use damo_fuzz::bytes::Bytes;
use damo_fuzz::scratch;

const TYPES: [ValueType; 3] = [ValueType::Float32, ValueType::Float16, ValueType::Int8];
const GROUPS: [(u16, usize); 3] = [(0, 1), (9, 5), (65535, 2)];

type Rows = BTreeMap<(u16, i64), Vec<f32>>;
type Keys = BTreeSet<(u16, i64)>;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes::new(bytes);
    let value_type = TYPES[bytes.below(3)];
    let is_wide = bytes.below(2) == 1;
    let (mut base, mut changed, mut removed) = (Rows::new(), Rows::new(), Keys::new());
    while !bytes.is_empty() {
        let (what, (group, dim)) = (bytes.below(4), GROUPS[bytes.below(3)]);
        for key in bytes.keys() {
            let place =
                (group, if is_wide { key.wrapping_mul(0x0123_4567_89ab_cdef) } else { key });
            match what {
                0 | 1 => drop(base.insert(place, weights(&mut bytes, dim))),
                2 if !removed.contains(&place) => {
                    drop(changed.insert(place, weights(&mut bytes, dim)))
                }
                3 if !changed.contains_key(&place) => drop(removed.insert(place)),
                _ => {}
            }
        }
    }
    let mut after = base.clone();
    after.extend(changed.clone());
    after.retain(|place, _| !removed.contains(place));
    let path = |name: &str| scratch().join(name);
    write(&path("base"), value_type, (1, None), &base, &Keys::new());
    write(&path("increment"), value_type, (2, Some(1)), &changed, &removed);
    write(&path("expected"), value_type, (2, None), &after, &Keys::new());
    merge(&path("base"), &path("increment"), &path("merged")).unwrap();
    assert!(read(&path("merged")) == read(&path("expected")), "merged, it is another table");
    look_up(&Table::open(&path("merged")).unwrap(), value_type, &after, &removed);
});

fn weights(bytes: &mut Bytes, dim: usize) -> Vec<f32> {
    (0..dim).map(|_| bytes.float() * if bytes.byte() == 255 { f32::MAX } else { 1.0 }).collect()
}

fn write(
    path: &Path,
    value_type: ValueType,
    (number, since): (u64, Option<u64>),
    rows: &Rows,
    removed: &Keys,
) {
    let options = Options { value_type, number, since, groups: &GROUPS };
    let mut writer = Writer::create(path, &options).unwrap();
    let places: Keys = rows.keys().chain(removed).copied().collect();
    for (group, key) in places {
        match rows.get(&(group, key)) {
            Some(weights) => writer.add_rows(group, &[key], weights).unwrap(),
            None => writer.remove_keys(group, &[key]).unwrap(),
        }
    }
    let summary = writer.finish().unwrap();
    assert_eq!((summary.rows, summary.removed), (rows.len() as u64, removed.len() as u64));
}

fn look_up(table: &Table, value_type: ValueType, rows: &Rows, removed: &Keys) {
    for ((group, key), weights) in rows {
        let (mut read, mut found) = (vec![0.0; weights.len()], [0]);
        table.lookup((*group).into(), &[*key], &mut read, Some(&mut found)).unwrap();
        assert_eq!(found, [1], "group {group} key {key}");
        let is_same =
            read.iter().zip(weights).all(|(read, weight)| read.to_bits() == weight.to_bits());
        assert!(value_type != ValueType::Float32 || is_same, "group {group} key {key}");
    }
    for (group, key) in removed {
        let dim = GROUPS.iter().find(|(known, _)| known == group).map_or(0, |(_, dim)| *dim);
        let mut found = [1];
        table.lookup((*group).into(), &[*key], &mut vec![0.0; dim], Some(&mut found)).unwrap();
        assert_eq!(found, [0], "group {group} key {key} was removed");
    }
}

fn read(path: &PathBuf) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
