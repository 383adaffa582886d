//! Replaces rows by others, as insert and insert_records do.

use super::part::Merge;
use super::{KeyBatch, OpenGroup, Origin};
use crate::cache::{MAX_UPDATES, Place};
use crate::engine::Engine;
use crate::error::Result;
use crate::journal::CallKind;

impl OpenGroup {
    /// Replaces what the keys have by rows of `width` floats. `write` fills a row from its floats
    /// and returns its update count.
    pub(super) fn replace(
        &self,
        engine: &Engine,
        keys: &[i64],
        floats: (&[f32], usize),
        kind: CallKind,
        source: Origin,
        write: impl Fn(&mut [f32], &[f32]) -> u64 + Sync + Send,
    ) -> Result<()> {
        let width = floats.1;
        let batch = KeyBatch::without_padding(keys);
        let mut dedup = self.merged(engine, batch, floats, Merge::Last)?;
        let how = (kind, source);
        self.change_beside(engine, &mut dedup.parts, how, |shard, part, steps, stamp, _| {
            for step in steps {
                let place = part.places[step];
                let given = &part.floats[step * width..(step + 1) * width];
                if place == Place::SKIP {
                    continue;
                }
                let mut row = shard.hold(place);
                shard.before_change(&row);
                let updates = write(row.floats_mut(), given);
                row.set_updates(updates.min(MAX_UPDATES));
                row.stamp(stamp.time, stamp.seqno);
                row.set_absent(false);
                shard.mark_dirty(&mut row);
            }
        })?;
        self.kept.keep(dedup, false);
        Ok(())
    }
}
