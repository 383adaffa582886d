//! Delete: removes rows.

use super::part::Merge;
use super::{KeyBatch, OpenGroup, Origin};
use crate::cache::{ABSENT, Place};
use crate::engine::Engine;
use crate::error::Result;
use crate::journal::CallKind;

impl OpenGroup {
    /// Deletes the rows of `keys`; a key without a row is not an error.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Nothing has changed.
    pub(crate) fn delete(&self, engine: &Engine, keys: &[i64]) -> Result<()> {
        self.delete_from(engine, keys, Origin::Call)
    }

    pub(in crate::engine) fn delete_from(
        &self,
        engine: &Engine,
        keys: &[i64],
        source: Origin,
    ) -> Result<()> {
        let batch = KeyBatch::without_padding(keys);
        let mut dedup = self.merged(engine, batch, (&[], self.dim), Merge::Keys)?;
        let how = (CallKind::Delete, source);
        self.change_beside(engine, &mut dedup.parts, how, |shard, part, steps, stamp, _| {
            let places = part.places[steps].iter();
            for &place in places.filter(|place| **place != Place::SKIP) {
                let mut row = shard.hold(place);
                // The mark of a deleted row is dirty until its tombstone is on disk.
                if !row.has(ABSENT) {
                    shard.before_change(&row);
                    row.stamp(stamp.time, stamp.seqno);
                    row.set_absent(true);
                    shard.mark_dirty(&mut row);
                }
            }
        })?;
        self.kept.keep(dedup, false);
        Ok(())
    }
}
