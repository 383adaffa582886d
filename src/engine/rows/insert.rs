//! Insert: rows with given weights, or with everything.

use super::change::Change;
use super::part::{Merge, SKIP};
use super::{OpenGroup, Origin};
use crate::cache::MAX_UPDATES;
use crate::engine::Engine;
use crate::engine::group::COUNT_FLOATS;
use crate::error::Result;
use crate::journal::CallKind;
use crate::memory::room_for;

fn count_floats(count: u64) -> [f32; COUNT_FLOATS] {
    [f32::from_bits(count as u32), f32::from_bits((count >> 32) as u32)]
}

fn count_of(floats: &[f32]) -> u64 {
    floats.iter().rev().fold(0, |count, float| count << 32 | u64::from(float.to_bits()))
}

impl OpenGroup {
    /// Stores `weights`, `dim` floats a key, as fresh rows: no gradients counted, and the state
    /// with which the optimizer goes on from these weights. Of a key given twice the last row
    /// counts.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Nothing has changed then.
    pub fn insert(&self, engine: &Engine, keys: &[i64], weights: &[f32]) -> Result<()> {
        self.insert_from(engine, keys, weights, Origin::Call)
    }

    pub(in crate::engine) fn insert_from(
        &self,
        engine: &Engine,
        keys: &[i64],
        weights: &[f32],
        source: Origin,
    ) -> Result<()> {
        self.replace(engine, keys, (weights, self.dim), CallKind::Insert, source, |row, weights| {
            let (row_weights, state) = row.split_at_mut(self.dim);
            row_weights.copy_from_slice(weights);
            self.optimizer.begin_at(weights, state);
            0
        })
    }

    /// Stores whole rows, `row_len` floats a key, with their update counts. Of a key given twice
    /// the last row counts.
    ///
    /// # Errors
    /// As [`OpenGroup::insert`].
    pub fn insert_records(
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

    /// Puts rows in the place of what the keys have; `write` fills one from its floats and returns
    /// its update count.
    fn replace(
        &self,
        engine: &Engine,
        keys: &[i64],
        (floats, width): (&[f32], usize),
        kind: CallKind,
        source: Origin,
        write: impl Fn(&mut [f32], &[f32]) -> u64 + Sync + Send,
    ) -> Result<()> {
        let mut parts = self.parts_of(engine, keys, floats, width, None, Merge::Last)?;
        let guard = self.group.begin_write()?;
        let change = Change { kind, source, rate: 0.0, step: self.group.step() };
        self.change(engine, &guard, &mut parts, change, |shard, part, stamp| {
            for (&place, given) in part.slots.iter().zip(part.floats.chunks_exact(width)) {
                if place == SKIP {
                    continue;
                }
                shard.before_change(place);
                let (slot, row) = shard.both_mut(place);
                slot.updates = write(row, given).min(MAX_UPDATES);
                slot.stamp(stamp.time, stamp.number);
                shard.set_absent(place, false);
                shard.mark_dirty(place);
            }
        })?;
        self.keep_buffers(parts);
        Ok(())
    }

    /// Floats a key in the journal's record of a call.
    pub(crate) fn floats_in_journal(&self, kind: CallKind) -> usize {
        match kind {
            CallKind::InsertRecords => self.row_len + COUNT_FLOATS,
            _ => self.dim,
        }
    }
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
