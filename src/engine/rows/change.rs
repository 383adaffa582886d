//! What every call that changes rows does: it finds its rows and pins them, appends itself to the
//! journal (write-ahead), and changes the rows. Nothing can fail after the journal.

use std::io::IoSlice;

use super::guards::{Loaned, Pinned};
use super::load::Absent;
use super::part::{Merge, Part, WrongFloat};
use super::{KeyBatch, OpenGroup, Origin};
use crate::cache::{Partition, Place, Shard, hash};
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

/// How many keys ahead of its use a row is prefetched.
const AHEAD: usize = 16;

/// How many finished calls keep their buffers, and how large those of one call may be.
const SPARE_CALLS: usize = 4;
const SPARE_BYTES: usize = 64 << 20;

impl OpenGroup {
    /// Sorts a batch, with `width` floats a key, into parts: one for each shard that has keys of
    /// it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for floats that are not gradients; `OUT_OF_MEMORY`.
    pub(super) fn parts(
        &self,
        engine: &Engine,
        batch: KeyBatch<'_>,
        (floats, width): (&[f32], usize),
        merge: Merge,
    ) -> Result<Vec<Part>> {
        let shards = self.cache.shard_count();
        let partition = Partition::new(batch.keys, batch.padding, shards)?;
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
        engine.pool.each(batch.keys.len(), &mut parts, |part| {
            part.wrong = part.fill(partition.shard(part.shard), floats, width, merge).err();
            Ok(())
        })?;
        let wrong = parts.iter_mut().filter_map(|part| part.wrong.take());
        match wrong.min_by_key(WrongFloat::order) {
            None => Ok(parts),
            Some(wrong) => Err(wrong.into()),
        }
    }

    /// Keeps a call's buffers for the next call.
    pub(super) fn keep_buffers(&self, parts: Vec<Part>) {
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_CALLS
            && parts.iter().map(Part::capacity).sum::<usize>() <= SPARE_BYTES
        {
            spare.push(parts);
        }
    }

    /// Makes the change. Calls `work` for every part, in any order and on any thread, with the
    /// part's shard locked and its rows resident.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. No row has changed.
    pub(super) fn change(
        &self,
        engine: &Engine,
        guard: &WriteGuard<'_>,
        parts: &mut [Part],
        change: Change,
        work: impl Fn(&mut Shard, &Part, Stamp<'_>) + Sync + Send,
    ) -> Result<()> {
        let keys = parts.iter().map(|part| part.keys.len()).sum();
        let pinned = Pinned::new(self, parts);
        self.prepare(engine, pinned.parts, keys, change.source)?;
        engine.wait_for_journal()?;
        engine.wait_for_kept()?;
        // Held from the journal entry to the last row, so that the writer can wait for calls that
        // are in the journal.
        let stepping = engine.stepping.read();
        let stamp = self.append_entry(engine, pinned.parts, change)?;
        // The row changes, and is unpinned, in one visit of its shard.
        let parts = pinned.release();
        let done = engine.pool.each(keys, parts, |part| {
            let mut shard = self.cache.lock(part.shard);
            work(&mut shard, part, stamp);
            let places = part.places.iter().filter(|place| **place != Place::SKIP);
            places.for_each(|place| shard.unpin(*place));
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
        let missing = |part: &&Part| part.places.contains(&Place::NOT_RESIDENT);
        let count = parts.iter().filter(missing).map(|part| part.keys.len()).sum();
        if count == 0 {
            return Ok(());
        }
        let mut missing_keys: Vec<i64> = room_for(count)?;
        for part in parts.iter().filter(missing) {
            let placed = part.keys.iter().zip(&part.places);
            let missing = placed.filter(|(_, place)| **place == Place::NOT_RESIDENT);
            missing_keys.extend(missing.map(|(key, _)| *key));
        }
        missing_keys.sort_unstable();
        self.load(&Loaned::new(engine), &missing_keys, Absent::Pin, None)?;
        engine.pool.each(keys, parts, |part| {
            if part.places.contains(&Place::NOT_RESIDENT) {
                self.locate_loaded(part, source);
            }
            Ok(())
        })
    }

    /// Finds the rows that are resident, and pins those that have not seen the call.
    fn locate(&self, part: &mut Part, source: Origin) {
        let mut shard = self.cache.lock(part.shard);
        part.keys.iter().take(AHEAD).for_each(|key| shard.prefetch(hash(*key), 0));
        for (index, &key) in part.keys.iter().enumerate() {
            if let Some(later) = part.keys.get(index + AHEAD) {
                shard.prefetch(hash(*later), 0);
            }
            part.places.push(match shard.find(hash(key), key) {
                None => Place::NOT_RESIDENT,
                Some(place) if OpenGroup::has_seen(source, shard.slot(place).seqno()) => {
                    Place::SKIP
                }
                Some(place) => {
                    shard.pin(place);
                    place
                }
            });
        }
    }

    /// Finds the rows that were loaded and pinned since [`OpenGroup::locate`]. Of the others, a
    /// pinned row is still in its place. A row that is to be left alone was not pinned and may have
    /// been evicted; nobody looks for it.
    fn locate_loaded(&self, part: &mut Part, source: Origin) {
        let mut shard = self.cache.lock(part.shard);
        for index in 0..part.keys.len() {
            if part.places.get(index + AHEAD) == Some(&Place::NOT_RESIDENT) {
                shard.prefetch(hash(part.keys[index + AHEAD]), 0);
            }
            if part.places[index] != Place::NOT_RESIDENT {
                continue;
            }
            let key = part.keys[index];
            let Some(place) = shard.find(hash(key), key) else { continue };
            part.places[index] = place;
            if OpenGroup::has_seen(source, shard.slot(place).seqno()) {
                shard.unpin(place);
                part.places[index] = Place::SKIP;
            }
        }
    }

    /// Appends the call's entry to the journal, if there is one.
    fn append_entry<'a>(
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
        // The journal would take an empty piece for the end of a short write.
        payload.retain(|piece| !piece.is_empty());
        Ok(Stamp { time, seqno: journal.append(&head, &payload)?, moment })
    }

    /// Makes the row of a key that has none, during a change. True if it did.
    pub(super) fn ensure_row(&self, shard: &mut Shard, place: Place, stamp: Stamp<'_>) -> bool {
        let is_row = shard.slot(place).is_row(stamp.moment.cutoff);
        if !is_row {
            self.make_row(shard, place, stamp.moment);
        }
        !is_row
    }
}
