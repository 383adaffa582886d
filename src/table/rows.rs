//! The rows of a group as they lie in a file, in key order.

use super::format::key_of;
use super::values::{Float16, Float32, Int8, ValueType, Values};

/// Iterates over rows; the rest of them can be searched.
#[derive(Clone)]
pub struct TableRows<'a> {
    bytes: &'a [u8],
    value_type: ValueType,
    dim: usize,
}

impl<'a> TableRows<'a> {
    pub(super) fn new(bytes: &'a [u8], value_type: ValueType, dim: usize) -> TableRows<'a> {
        TableRows { bytes, value_type, dim }
    }

    /// The number of rows that are left.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.stride()
    }

    /// Whether no rows are left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the next row: returns its key and decodes its weights into `weights`, dim floats.
    pub fn next_into(&mut self, weights: &mut [f32]) -> Option<i64> {
        let row = self.take_bytes(1);
        let values = row.get(8..)?;
        match self.value_type {
            ValueType::Float32 => Float32::decode(values, weights),
            ValueType::Float16 => Float16::decode(values, weights),
            ValueType::Int8 => Int8::decode(values, weights),
        }
        Some(key_of(row))
    }

    /// Takes the rows with keys below `key`, as bytes.
    pub(super) fn take_below(&mut self, key: i64) -> &'a [u8] {
        // A galloping search: the next changed key is often near.
        let mut reach = 1;
        while reach < self.len() && self.key_at(reach - 1).is_some_and(|found| found < key) {
            reach = reach.saturating_mul(2);
        }
        let (mut low, mut high) = (reach / 2, reach.min(self.len()));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.key_at(middle).is_some_and(|found| found < key) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.take_bytes(low)
    }

    /// Takes the next row if it has this key.
    pub(super) fn take_key(&mut self, key: i64) -> &'a [u8] {
        let rows = usize::from(self.next_key() == Some(key));
        self.take_bytes(rows)
    }

    /// Takes all rows that are left.
    pub(super) fn take_all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn next_key(&self) -> Option<i64> {
        self.key_at(0)
    }

    fn take_bytes(&mut self, rows: usize) -> &'a [u8] {
        let (taken, rest) =
            self.bytes.split_at_checked(rows * self.stride()).unwrap_or((&[], self.bytes));
        self.bytes = rest;
        taken
    }

    fn key_at(&self, row: usize) -> Option<i64> {
        self.bytes.get(row * self.stride()..).filter(|rest| !rest.is_empty()).map(key_of)
    }

    fn stride(&self) -> usize {
        8 + self.value_type.bytes(self.dim)
    }
}
