//! Insert records: whole rows, with the optimizer's state and the update counts.

use super::{OpenGroup, Origin};
use crate::engine::Engine;
use crate::engine::group::COUNT_FLOATS;
use crate::error::Result;
use crate::journal::CallKind;
use crate::memory::room_for;

impl OpenGroup {
    /// Stores whole rows, `row_len` floats a key, with their update counts. Of a key given twice
    /// the last row counts.
    ///
    /// # Errors
    /// As [`OpenGroup::insert`].
    pub(crate) fn insert_records(
        &self,
        engine: &Engine,
        keys: &[i64],
        rows: &[f32],
        counts: &[u64],
    ) -> Result<()> {
        let mut floats = room_for(keys.len() * (self.row_len + COUNT_FLOATS))?;
        for (index, row) in rows.chunks_exact(self.row_len).enumerate() {
            floats.extend_from_slice(row);
            floats.extend_from_slice(&count_floats(counts.get(index).copied().unwrap_or(0)));
        }
        self.insert_records_from(engine, keys, &floats, Origin::Call)
    }

    pub(in crate::engine) fn insert_records_from(
        &self,
        engine: &Engine,
        keys: &[i64],
        floats: &[f32],
        source: Origin,
    ) -> Result<()> {
        let width = self.row_len + COUNT_FLOATS;
        self.replace(
            engine,
            keys,
            (floats, width),
            CallKind::InsertRecords,
            source,
            |row, given| {
                let (given, count) = given.split_at(self.row_len);
                row.copy_from_slice(given);
                count_of(count)
            },
        )
    }

    /// The floats a key of a call's entry in the journal.
    pub(crate) fn floats_in_journal(&self, kind: CallKind) -> usize {
        match kind {
            CallKind::InsertRecords => self.row_len + COUNT_FLOATS,
            _ => self.dim,
        }
    }
}

/// An update count among floats: the bits of its two halves.
pub(super) fn count_floats(count: u64) -> [f32; COUNT_FLOATS] {
    [f32::from_bits(count as u32), f32::from_bits((count >> 32) as u32)]
}

/// The count of such floats.
pub(super) fn count_of(floats: &[f32]) -> u64 {
    floats.iter().rev().fold(0, |count, float| count << 32 | u64::from(float.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_their_bits() {
        for count in [0, 1, 7, u64::from(u32::MAX), 1 << 32, 0x7f80_0001_7fc0_0001, i64::MAX as u64]
        {
            assert_eq!(count_of(&count_floats(count)), count);
        }
    }
}
