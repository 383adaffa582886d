//! A table's content, written into a file, and other helpers of the tests of serving tables.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::Path;

use damo::table::{Options, Summary, Table, ValueType, Writer};

pub const TYPES: [ValueType; 3] = [ValueType::Float32, ValueType::Float16, ValueType::Int8];
/// More rows of a group than the writer holds in memory.
pub const BIG: i64 = (1 << 21) + 1000;

/// Groups, their dims, and rows by key.
#[derive(Clone, Default)]
pub struct Content {
    pub groups: BTreeMap<u16, (usize, BTreeMap<i64, Vec<f32>>)>,
}

impl Content {
    pub fn declare(&mut self, group: u16, dim: usize) {
        self.groups.entry(group).or_insert((dim, BTreeMap::new()));
    }

    pub fn set(&mut self, group: u16, key: i64, weights: Vec<f32>) {
        self.groups.entry(group).or_insert((weights.len(), BTreeMap::new())).1.insert(key, weights);
    }

    pub fn get(&self, group: u16, key: i64) -> Option<&Vec<f32>> {
        self.groups.get(&group)?.1.get(&key)
    }

    pub fn dims(&self) -> Vec<(u16, usize)> {
        self.groups.iter().map(|(group, (dim, _))| (*group, *dim)).collect()
    }
}

pub fn options(
    value_type: ValueType,
    number: u64,
    since: Option<u64>,
    groups: &[(u16, usize)],
) -> Options<'_> {
    Options { value_type, number, since, groups }
}

/// Writes all rows, with `since` as an increment that removes nothing.
pub fn write(
    path: &Path,
    content: &Content,
    value_type: ValueType,
    number: u64,
    since: Option<u64>,
) -> Summary {
    let dims = content.dims();
    let mut writer = Writer::create(path, &options(value_type, number, since, &dims)).unwrap();
    for (group, (_, rows)) in &content.groups {
        let keys: Vec<i64> = rows.keys().copied().collect();
        let weights: Vec<f32> = rows.values().flatten().copied().collect();
        writer.add_rows(*group, &keys, &weights).unwrap();
    }
    writer.finish().unwrap()
}

/// The weights of keys, and whether each was found.
pub fn look(table: &Table, group: u32, keys: &[i64]) -> (Vec<f32>, Vec<u8>) {
    let mut weights = vec![f32::NAN; keys.len() * table.dim(group).unwrap()];
    let mut found = vec![9; keys.len()];
    table.lookup(group, keys, &mut weights, Some(&mut found)).unwrap();
    (weights, found)
}

/// Weights that look trained: both signs, some small, some large.
pub fn weight(row: usize, column: usize) -> f32 {
    let mixed = (row as u64 * 1_000_003 + column as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (mixed as f32 / 8_388_608.0 - 1.0) * if mixed.is_multiple_of(13) { 100.0 } else { 0.1 }
}
