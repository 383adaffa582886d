//! What every call that changes rows does: its rows are found and kept in memory, the call is put into the journal,
//! and then, when nothing can fail any more, the rows change.

use std::io::IoSlice;

use super::load::Absent;
use super::part::{Merge, NOT_RESIDENT, Part, SKIP};
use super::{OpenGroup, Origin};
use crate::cache::{Partition, Shard, hash};
use crate::engine::Engine;
use crate::engine::group::WriteGuard;
use crate::engine::moment::Moment;
use crate::error::Result;
use crate::journal::{CallKind, Head};
use crate::memory::room_for;
use crate::seqno::Seqno;

/// A call that changes rows.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) kind: CallKind,
    pub(super) source: Origin,
    pub(super) rate: f64,
    /// The group's global step after the call.
    pub(super) step: i64,
}

/// What a changed row is stamped with.
#[derive(Clone, Copy)]
pub(super) struct Stamp<'a> {
    pub(super) time: u64,
    pub(super) seqno: Seqno,
    pub(super) moment: Moment<'a>,
}

/// Keys whose rows are asked for ahead of their use.
const AHEAD: usize = 16;

/// Buffers of finished calls that are kept: of so many calls, and of no call that was larger.
const SPARE_CALLS: usize = 4;
const SPARE_BYTES: usize = 64 << 20;

impl OpenGroup {
    /// Sorts a batch into parts, one a shard that has keys.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for floats that are not gradients; `OUT_OF_MEMORY`.
    pub(super) fn parts(
        &self,
        engine: &Engine,
        keys: &[i64],
        floats: &[f32],
        padding: Option<i64>,
        merge: Merge,
    ) -> Result<Vec<Part>> {
        self.parts_of(engine, keys, floats, self.dim, padding, merge)
    }

    /// As [`OpenGroup::parts`], with so many floats a key.
    pub(super) fn parts_of(
        &self,
        engine: &Engine,
        keys: &[i64],
        floats: &[f32],
        width: usize,
        padding: Option<i64>,
        merge: Merge,
    ) -> Result<Vec<Part>> {
        let shards = self.cache.shard_count();
        let partition = Partition::new(keys, padding, shards)?;
        let mut parts = self.spare.lock().pop().unwrap_or_default();
        let wanted = (0..shards).filter(|&shard| !partition.shard(shard).0.is_empty());
        let mut count = 0;
        for shard in wanted {
            if count == parts.len() {
                parts.push(Part::default());
            }
            parts[count].clear();
            parts[count].shard = shard;
            count += 1;
        }
        parts.truncate(count);
        engine.pool.each(keys.len(), &mut parts, |part| {
            Ok(part.fill(partition.shard(part.shard), floats, width, merge)?)
        })?;
        Ok(parts)
    }

    /// Keeps the buffers for the next call.
    pub(super) fn keep_buffers(&self, parts: Vec<Part>) {
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_CALLS
            && parts.iter().map(Part::capacity).sum::<usize>() <= SPARE_BYTES
        {
            spare.push(parts);
        }
    }

    /// Makes the change: `work` is done on every part, in any order and on any thread, with its shard locked and its
    /// rows resident.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. No row has changed then.
    pub(super) fn change(
        &self,
        engine: &Engine,
        guard: &WriteGuard<'_>,
        parts: &mut [Part],
        change: Change,
        work: impl Fn(&mut Shard, &Part, Stamp<'_>) + Sync + Send,
    ) -> Result<()> {
        let keys = parts.iter().map(|part| part.keys.len()).sum();
        let prepared = self
            .prepare(engine, parts, keys, change.source)
            .and_then(|()| engine.wait_for_journal());
        let prepared = prepared.and_then(|()| engine.wait_for_kept());
        // From the journal to the last row, so that the writer can wait for calls that are in the journal.
        let stepping = engine.stepping.read();
        let stamp = prepared.and_then(|()| self.put_on_record(engine, parts, change));
        let stamp = match stamp {
            Ok(stamp) => stamp,
            Err(error) => {
                self.unpin(parts.iter().flat_map(|part| &part.keys));
                return Err(error);
            }
        };
        let done = engine.pool.each(keys, parts, |part| {
            let mut shard = self.cache.lock(part.shard);
            work(&mut shard, part, stamp);
            part.slots.iter().filter(|slot| **slot != SKIP).for_each(|slot| shard.unpin(*slot));
            Ok(())
        });
        guard.set_step(change.step);
        drop(stepping);
        engine.writer.rows_changed();
        done
    }

    /// Finds and pins every row, loading what is not resident.
    fn prepare(
        &self,
        engine: &Engine,
        parts: &mut [Part],
        keys: usize,
        source: Origin,
    ) -> Result<()> {
        engine.pool.each(keys, parts, |part| {
            self.locate(part, source);
            Ok(())
        })?;
        let missing = |part: &&Part| part.slots.contains(&NOT_RESIDENT);
        let count = parts.iter().filter(missing).map(|part| part.keys.len()).sum();
        if count == 0 {
            return Ok(());
        }
        let mut missing_keys: Vec<i64> = room_for(count)?;
        for part in parts.iter().filter(missing) {
            let missing =
                part.keys.iter().zip(&part.slots).filter(|(_, slot)| **slot == NOT_RESIDENT);
            missing_keys.extend(missing.map(|(key, _)| *key));
        }
        missing_keys.sort_unstable();
        let loaded = self.load(engine, &missing_keys, Absent::Pin, false);
        engine.give_back_excess();
        loaded?;
        engine.pool.each(keys, parts, |part| {
            if part.slots.contains(&NOT_RESIDENT) {
                self.locate_loaded(part, source);
            }
            Ok(())
        })
    }

    /// Finds and pins the rows that are resident; those that have seen the call need not stay.
    fn locate(&self, part: &mut Part, source: Origin) {
        let mut shard = self.cache.lock(part.shard);
        part.keys.iter().take(AHEAD).for_each(|key| shard.prefetch(hash(*key), 0));
        for (index, &key) in part.keys.iter().enumerate() {
            if let Some(later) = part.keys.get(index + AHEAD) {
                shard.prefetch(hash(*later), 0);
            }
            part.slots.push(match shard.find(hash(key), key) {
                None => NOT_RESIDENT,
                Some(place) if OpenGroup::has_seen(source, shard.slot(place).seqno()) => SKIP,
                Some(place) => {
                    shard.pin(place);
                    place
                }
            });
        }
    }

    /// Finds the rows that have been loaded, and pinned, since [`OpenGroup::locate`]. The others are where they were, or
    /// are to be left alone, and these may have been evicted meanwhile.
    fn locate_loaded(&self, part: &mut Part, source: Origin) {
        let mut shard = self.cache.lock(part.shard);
        for index in 0..part.keys.len() {
            if part.slots.get(index + AHEAD) == Some(&NOT_RESIDENT) {
                shard.prefetch(hash(part.keys[index + AHEAD]), 0);
            }
            if part.slots[index] != NOT_RESIDENT {
                continue;
            }
            let key = part.keys[index];
            let Some(place) = shard.find(hash(key), key) else { continue };
            part.slots[index] = place;
            if OpenGroup::has_seen(source, shard.slot(place).seqno()) {
                shard.unpin(place);
                part.slots[index] = SKIP;
            }
        }
    }

    /// Appends the call to the journal, if there is one.
    fn put_on_record<'a>(
        &self,
        engine: &'a Engine,
        parts: &[Part],
        change: Change,
    ) -> Result<Stamp<'a>> {
        let moment = engine.moment();
        let time = moment.now;
        let journal = match (change.source, engine.journal()) {
            (Origin::Replay { seqno, time, .. }, _) => {
                return Ok(Stamp { time, seqno, moment: engine.moment_at(time) });
            }
            (Origin::Call, None) => {
                return Ok(Stamp { time, seqno: engine.next_seqno()?, moment });
            }
            (Origin::Call, Some(journal)) => journal,
        };
        let Change { kind, rate, step, .. } = change;
        let head = Head { kind, group: self.group.id(), config: self.config, step, time, rate };
        let mut payload = room_for(2 * parts.len())?;
        payload.extend(
            parts.iter().map(|part| IoSlice::new(bytemuck::cast_slice(part.keys_of_steps()))),
        );
        payload.extend(parts.iter().map(|part| IoSlice::new(bytemuck::cast_slice(&part.floats))));
        // An empty piece would look like the end of a short write.
        payload.retain(|piece| !piece.is_empty());
        Ok(Stamp { time, seqno: journal.append(&head, &payload)?, moment })
    }

    /// Makes the row of a key that had none, in the midst of a change.
    pub(super) fn ensure_row(&self, shard: &mut Shard, place: u32, stamp: Stamp<'_>) -> bool {
        let is_row = shard.slot(place).is_row(stamp.moment.cutoff);
        if !is_row {
            self.make_row(shard, place, stamp.moment);
        }
        !is_row
    }
}
