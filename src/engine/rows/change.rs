//! What every call that changes rows does: it finds its rows and pins them, appends itself to the
//! journal (write-ahead), and changes the rows. Nothing can fail after the journal.

use std::io::IoSlice;
use std::ops::Range;

use super::dedup::Dedup;
use super::guards::{Loaned, Pinned};
use super::load::Absent;
use super::part::{Merge, Part, WrongFloat};
use super::run::Run;
use super::sink::Sink;
use super::{KeyBatch, OpenGroup, Origin};
use crate::cache::{Place, Shard, hash};
use crate::engine::Engine;
use crate::engine::moment::Moment;
use crate::engine::pool::AtWork;
use crate::engine::rights::WriteGuard;
use crate::engine::turns::Turns;
use crate::error::Result;
use crate::journal::{CallKind, Head, Payload};
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

impl OpenGroup {
    /// Finds the distinct keys of a batch, and merges their floats: `width` floats a key.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for floats that are not gradients; `OUT_OF_MEMORY`.
    pub(super) fn merged(
        &self,
        engine: &Engine,
        batch: KeyBatch<'_>,
        floats: (&[f32], usize),
        merge: Merge,
    ) -> Result<Box<Dedup>> {
        Ok(self.try_merged(self.kept.take(batch), engine, batch, floats, merge)??)
    }

    /// As [`OpenGroup::merged`], in these buffers. Says what is wrong with the floats.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn try_merged(
        &self,
        mut dedup: Box<Dedup>,
        engine: &Engine,
        batch: KeyBatch<'_>,
        (floats, width): (&[f32], usize),
        merge: Merge,
    ) -> Result<std::result::Result<Box<Dedup>, WrongFloat>> {
        let _call = engine.pool.begin_work(batch.keys.len());
        self.begin_dedup(&mut dedup, engine, batch)?;
        dedup.each(&engine.pool, |part| {
            part.wrong = part.merge((floats, batch.occurrences), width, merge).err();
            Ok(())
        })?;
        let wrong = dedup.parts.iter_mut().filter_map(|part| part.wrong.take());
        Ok(wrong.min_by_key(WrongFloat::order).map_or(Ok(dedup), Err))
    }

    /// Makes the change. Calls `work` for the steps of every part, in any order and on any thread,
    /// with their shard locked and their rows resident.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. No row has changed.
    pub(super) fn change(
        &self,
        engine: &Engine,
        guard: &WriteGuard<'_>,
        parts: &mut [Part],
        change: Change,
        work: impl Fn(&mut Shard, &Part, Range<usize>, Stamp<'_>) + Sync + Send,
    ) -> Result<()> {
        let keys = parts.iter().map(|part| part.keys.len()).sum();
        let call = engine.pool.begin_work(keys);
        let pinned = Pinned::new(self, parts);
        self.prepare(engine, &call, pinned.parts, (keys, change.source))?;
        self.change_prepared(engine, guard, pinned, change, work)
    }

    /// As [`OpenGroup::change`], for rows that were found and pinned.
    pub(super) fn change_prepared(
        &self,
        engine: &Engine,
        guard: &WriteGuard<'_>,
        pinned: Pinned<'_>,
        change: Change,
        work: impl Fn(&mut Shard, &Part, Range<usize>, Stamp<'_>) + Sync + Send,
    ) -> Result<()> {
        let keys = pinned.parts.iter().map(|part| part.keys.len()).sum();
        engine.wait_for_journal()?;
        engine.wait_for_kept()?;
        // Held from the journal entry to the last row, so that the writer can wait for calls that
        // are in the journal.
        let stepping = engine.stepping.read();
        let stamp = self.append_entry(engine, pinned.parts, change)?;
        // The row changes, and is unpinned, in one visit of its shard.
        let parts = pinned.release();
        let done = engine.pool.each(keys, parts, |part| {
            self.work_on(part, None, |shard, steps| work(shard, part, steps, stamp));
            Ok(())
        });
        guard.set_step(change.step);
        drop(stepping);
        engine.rows_changed();
        done
    }

    /// Calls `work` for a part's steps, and unpins its rows: those of each shard when the call's
    /// turn there has come, if it has `turns`.
    pub(super) fn work_on(
        &self,
        part: &Part,
        turns: Option<&Turns<'_>>,
        work: impl Fn(&mut Shard, Range<usize>),
    ) {
        if part.is_of_few() {
            return self.work_on_few(part, turns, work);
        }
        let ahead = self.rows_ahead(part);
        for (number, run) in part.runs.iter().enumerate() {
            ahead.fetch(number);
            let of_shard = 1 << run.shard;
            turns.iter().for_each(|turns| turns.wait(of_shard));
            {
                let mut shard = self.cache.lock(run.shard);
                // Dropped before the lock: the group is poisoned before the writer can see a row
                // that is half changed.
                let _poison = self.group.rights.poison_on_panic();
                work(&mut shard, part.steps_of(run));
                let places = part.places[run.keys.clone()].iter();
                places.filter(|place| **place != Place::SKIP).for_each(|place| shard.unpin(*place));
            }
            turns.iter().for_each(|turns| turns.pass(of_shard));
        }
    }

    /// As [`OpenGroup::work_on`], for keys that are not sorted by shard.
    fn work_on_few(
        &self,
        part: &Part,
        turns: Option<&Turns<'_>>,
        work: impl Fn(&mut Shard, Range<usize>),
    ) {
        let shards = turns.map_or(0, |_| self.shards_of(part));
        turns.iter().for_each(|turns| turns.wait(shards));
        // All steps of a row with its shard locked once: the writer must not see it in between. It
        // would have the call's sequence number then, and a replay would leave it alone.
        let one_step_each = part.steps() == part.keys.len();
        let ahead = self.rows_ahead(part);
        for (index, (key, place)) in part.keys.iter().zip(&part.places).enumerate() {
            ahead.fetch_few(index);
            let mut shard = self.cache.lock_for(hash(*key));
            let _poison = self.group.rights.poison_on_panic();
            if one_step_each {
                work(&mut shard, index..index + 1);
            } else {
                let steps = part.indexes.iter().enumerate();
                let of_key = steps.filter(|(_, of)| **of as usize == index);
                of_key.for_each(|(step, _)| work(&mut shard, step..step + 1));
            }
            if *place != Place::SKIP {
                shard.unpin(*place);
            }
        }
        turns.iter().for_each(|turns| turns.pass(shards));
    }

    /// Finds and pins every row, loading what is not resident.
    pub(super) fn prepare(
        &self,
        engine: &Engine,
        call: &AtWork<'_>,
        parts: &mut [Part],
        (keys, source): (usize, Origin),
    ) -> Result<()> {
        if self.is_scattered(keys) {
            self.fetch_parts(parts, self.row_len);
        }
        engine.pool.each(keys, parts, |part| {
            if !part.keys.is_empty() {
                self.locate(part, source);
            }
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
        let wait = call.wait();
        self.load(&Loaned::new(engine), &missing_keys, Absent::Pin, Sink::Nobody)?;
        drop(wait);
        engine.pool.each(keys, parts, |part| {
            if part.places.contains(&Place::NOT_RESIDENT) {
                self.locate_loaded(part, source);
            }
            Ok(())
        })
    }

    /// Finds the rows that are resident, and pins those that have not seen the call. The batch's
    /// lookup may have found them already.
    fn locate(&self, part: &mut Part, source: Origin) {
        let is_of_few = part.is_of_few();
        let Part { runs, keys, places, .. } = part;
        if is_of_few {
            places.clear();
            places.extend(keys.iter().map(|key| {
                let mut shard = self.cache.lock_for(hash(*key));
                match shard.find(hash(*key), *key) {
                    None => Place::NOT_RESIDENT,
                    Some(place) => OpenGroup::pin(&mut shard, place, source),
                }
            }));
            return;
        }
        let are_known = places.len() == keys.len();
        places.resize(keys.len(), Place::NOT_RESIDENT);
        for Run { shard, keys: of_run, .. } in &*runs {
            let mut shard = self.cache.lock(*shard);
            let (keys, places) = (&keys[of_run.clone()], &mut places[of_run.clone()]);
            if !are_known {
                shard.begin_finding(keys, places, 0);
            }
            for index in 0..keys.len() {
                let found = match are_known {
                    true => shard.find_again(keys, places, index),
                    false => shard.find_next(keys, places, index, 0),
                };
                if let Some(place) = found {
                    places[index] = OpenGroup::pin(&mut shard, place, source);
                }
            }
        }
    }

    /// Pins a row, unless it has seen the call.
    #[inline(always)]
    fn pin(shard: &mut Shard, place: Place, source: Origin) -> Place {
        if OpenGroup::has_seen(source, shard.slot(place).seqno()) {
            return Place::SKIP;
        }
        shard.pin(place);
        place
    }

    /// Finds the rows that were loaded and pinned since [`OpenGroup::locate`]. Of the others, a
    /// pinned row is still in its place. A row that is to be left alone was not pinned and may have
    /// been evicted; nobody looks for it.
    fn locate_loaded(&self, part: &mut Part, source: Origin) {
        for (key, found) in part.keys.iter().zip(&mut part.places) {
            if *found != Place::NOT_RESIDENT {
                continue;
            }
            let mut shard = self.cache.lock_for(hash(*key));
            let Some(place) = shard.find(hash(*key), *key) else { continue };
            *found = place;
            if OpenGroup::has_seen(source, shard.slot(place).seqno()) {
                shard.unpin(place);
                *found = Place::SKIP;
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
        let pieces = self.pieces(parts)?;
        let payload = Payload::shared(&pieces, &engine.pool);
        Ok(Stamp { time, seqno: journal.append(&head, &payload)?, moment })
    }

    /// The keys and floats of a call, as pieces of its payload.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn pieces<'p>(&self, parts: &'p [Part]) -> Result<Vec<IoSlice<'p>>> {
        let mut pieces = room_for(2 * parts.len())?;
        pieces.extend(parts.iter().map(Part::keys_in_journal));
        pieces.extend(parts.iter().map(Part::floats_in_journal));
        // The journal would take an empty piece for the end of a short write.
        pieces.retain(|piece| !piece.is_empty());
        Ok(pieces)
    }
}
