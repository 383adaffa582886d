//! Insert: rows with given weights.

use super::change::Change;
use super::part::{Merge, SKIP};
use super::{Source, Table};
use crate::error::Result;
use crate::journal::Kind;
use crate::storage::Core;

impl Table {
    /// Stores `weights`, `dim` floats a key, as fresh rows: no gradients counted, the optimizer's state zero. Of a
    /// key given twice the last row counts.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Nothing has changed then.
    pub fn insert(&self, core: &Core, keys: &[i64], weights: &[f32]) -> Result<()> {
        self.insert_from(core, keys, weights, Source::Call)
    }

    pub(in crate::storage) fn insert_from(
        &self,
        core: &Core,
        keys: &[i64],
        weights: &[f32],
        source: Source,
    ) -> Result<()> {
        let mut parts = self.parts(core, keys, weights, None, Merge::Last)?;
        let guard = self.group.begin_write()?;
        let change = Change { kind: Kind::Insert, source, rate: 0.0, step: self.group.step() };
        self.change(core, &guard, &mut parts, change, |shard, part, stamp| {
            for (&place, weights) in part.slots.iter().zip(part.floats.chunks_exact(self.dim)) {
                if place == SKIP {
                    continue;
                }
                shard.before_change(place);
                let (slot, row) = shard.both_mut(place);
                slot.updates = 0;
                slot.stamp(stamp.time, stamp.number);
                let (row_weights, state) = row.split_at_mut(self.dim);
                row_weights.copy_from_slice(weights);
                state.fill(0.0);
                shard.set_absent(place, false);
                shard.mark_dirty(place);
            }
        })?;
        self.keep_buffers(parts);
        Ok(())
    }
}
