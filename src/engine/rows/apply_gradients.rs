//! Apply gradients: one optimizer step for each gradient, or for each key's sum or mean of them.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::change::{Change, Stamp};
use super::dedup::Dedup;
use super::guards::Loaned;
use super::load::Absent;
use super::norm::limit_norm;
use super::outcome::{Applied, OrStop, Stop, applied};
use super::part::{Merge, Part, WrongFloat};
use super::sink::Sink;
use super::{Gradients, KeyBatch, OpenGroup, Origin, lines};
use crate::cache::{Place, Resident, Row, Shard};
use crate::engine::Engine;
use crate::engine::rights::WriteGuard;
use crate::error::{Error, Result};
use crate::journal::CallKind;
use crate::memory::room_for;
use crate::optimizer::are_gradients;

/// How many steps ahead of its use a row is prefetched.
const AHEAD: usize = 8;

/// How many rows a call has made, and how many steps it has taken.
#[derive(Default)]
pub(super) struct Done {
    created: AtomicU64,
    updated: AtomicU64,
}

impl Done {
    pub(super) fn add(&self, (created, updated): (u64, u64)) {
        self.created.fetch_add(created, Ordering::Relaxed);
        self.updated.fetch_add(updated, Ordering::Relaxed);
    }

    pub(super) fn count(self, engine: &Engine) {
        let counters = engine.counters.own();
        counters.rows_created.fetch_add(self.created.into_inner(), Ordering::Relaxed);
        counters.rows_updated.fetch_add(self.updated.into_inner(), Ordering::Relaxed);
    }
}

/// The keys of a batch that are not admitted, ascending and distinct, without the padding key.
///
/// # Errors
/// `OUT_OF_MEMORY`.
pub(super) fn held_back(batch: KeyBatch<'_>, admitted: &[u8]) -> Result<Vec<i64>> {
    let KeyBatch { keys, padding, .. } = batch;
    let mut held_back = room_for(keys.len())?;
    let unadmitted = keys.iter().zip(admitted).filter(|(_, admitted)| **admitted == 0);
    held_back.extend(unadmitted.map(|(key, _)| *key).filter(|key| Some(*key) != padding));
    held_back.sort_unstable();
    held_back.dedup();
    Ok(held_back)
}

impl OpenGroup {
    /// Steps rows with their gradients. A key without a row gets one first, and the padding key is
    /// left out. The group's global step rises by one. All rows and the step change together or not
    /// at all.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for floats that are not gradients, unless such a call is skipped;
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Nothing has changed.
    pub(crate) fn apply_gradients(
        &self,
        engine: &Engine,
        gradients: Gradients<'_>,
    ) -> Result<Applied> {
        self.apply(engine, gradients, Origin::Call)
    }

    pub(crate) fn apply(
        &self,
        engine: &Engine,
        gradients: Gradients<'_>,
        source: Origin,
    ) -> Result<Applied> {
        applied(engine, self.try_apply(engine, gradients, source).map(|()| None))
    }

    fn try_apply(&self, engine: &Engine, gradients: Gradients<'_>, source: Origin) -> OrStop<()> {
        // Looked at here, too: a call may be skipped for its gradients.
        self.group.check_not_poisoned()?;
        let mut dedup = self.merged_gradients(engine, gradients)?;
        let may_be_beside = matches!(source, Origin::Call) && dedup.is_of_few();
        if may_be_beside && self.apply_few(engine, &dedup.parts)? {
            self.kept.keep(dedup, false);
            return Ok(());
        }
        let done = Done::default();
        let how = (CallKind::Gradients, source);
        self.change_beside(engine, &mut dedup.parts, how, |shard, part, steps, stamp, change| {
            done.add(self.step_part(shard, part, steps, stamp, change.rate));
        })?;
        self.kept.keep(dedup, false);
        done.count(engine);
        Ok(())
    }

    /// As [`OpenGroup::apply_gradients`], but drops the gradients of keys that are not admitted and
    /// have no row. `admitted` has one byte a key, 0 for a key that is not admitted.
    ///
    /// # Errors
    /// As [`OpenGroup::apply_gradients`].
    pub(crate) fn apply_admitted_gradients(
        &self,
        engine: &Engine,
        gradients: Gradients<'_>,
        admitted: &[u8],
    ) -> Result<Applied> {
        let held_back = held_back(gradients.batch, admitted)?;
        applied(engine, self.apply_without(engine, gradients, held_back).map(|()| None))
    }

    /// Steps the rows, without those keys of `held_back` that have no row.
    fn apply_without(
        &self,
        engine: &Engine,
        gradients: Gradients<'_>,
        held_back: Vec<i64>,
    ) -> OrStop<()> {
        if self.apply_admitted_in_turns(engine, gradients, &held_back)? {
            return Ok(());
        }
        let guard = self.group.begin_write()?;
        let dedup = self.admitted_gradients(engine, gradients, &held_back)?;
        Ok(self.apply_merged(engine, guard, dedup, Origin::Call)?)
    }

    /// Steps the rows in turns with other calls. False if that cannot be done: nothing has changed
    /// then.
    fn apply_admitted_in_turns(
        &self,
        engine: &Engine,
        gradients: Gradients<'_>,
        held_back: &[i64],
    ) -> OrStop<bool> {
        let Some(beside) = self.group.rights.begin_in_turns()? else { return Ok(false) };
        // No insert or delete may come between the look for rows and the step.
        let membership = if held_back.is_empty() { None } else { beside.membership() };
        if membership.is_none() && !held_back.is_empty() {
            return Ok(false);
        }
        let mut dedup = self.admitted_gradients(engine, gradients, held_back)?;
        if membership.is_some_and(|membership| !membership.is_unchanged()) {
            return Ok(false);
        }
        let (done, parts) = (Done::default(), &mut dedup.parts);
        let kind = (CallKind::Gradients, membership);
        let work = |shard: &mut Shard, part: &Part, steps, stamp: Stamp<'_>, change: Change| {
            done.add(self.step_part(shard, part, steps, stamp, change.rate));
        };
        if !self.change_in_turns(engine, &beside, parts, kind, work)? {
            return Ok(false);
        }
        drop(beside);
        self.kept.keep(dedup, false);
        done.count(engine);
        Ok(true)
    }

    /// The distinct keys with their merged gradients, without keys of `held_back` that have no row.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for floats that are not gradients, also those of keys that are left out,
    /// but not the padding key's; those of loading.
    pub(super) fn admitted_gradients(
        &self,
        engine: &Engine,
        gradients: Gradients<'_>,
        held_back: &[i64],
    ) -> OrStop<Box<Dedup>> {
        let Gradients { batch, floats, non_finite, .. } = gradients;
        let KeyBatch { keys, occurrences, .. } = batch;
        let mut without_row = room_for(held_back.len())?;
        let found = self.load(&Loaned::new(engine), held_back, Absent::Skip, Sink::Nobody)?;
        let with_found = held_back.iter().zip(found);
        without_row.extend(with_found.filter(|(_, found)| !found).map(|(key, _)| *key));
        let (mut kept_keys, mut kept) = (room_for(keys.len())?, room_for(floats.len())?);
        let mut kept_numbers = room_for(occurrences.map_or(0, <[u32]>::len))?;
        for (at, (key, gradient)) in keys.iter().zip(floats.chunks_exact(self.dim)).enumerate() {
            if without_row.binary_search(key).is_err() {
                kept_keys.push(*key);
                kept.extend_from_slice(gradient);
                kept_numbers.extend(occurrences.map(|numbers| numbers[at]));
            } else if !are_gradients(gradient) {
                // Dropping it would hide what is wrong with the model.
                return Err(Stop::of(self.first_wrong(gradients), non_finite));
            }
        }
        let occurrences = occurrences.map(|_| &*kept_numbers);
        let batch = KeyBatch { keys: &kept_keys, occurrences, ..batch };
        let kept = Gradients { batch, floats: &kept, ..gradients };
        self.merged_gradients(engine, kept).map_err(|stop| {
            // The position is that in the whole batch.
            match self.first_wrong(gradients) {
                WrongFloat::Nothing => stop,
                wrong => Stop::of(wrong, non_finite),
            }
        })
    }

    /// The first wrong float, of keys that are not the padding key.
    fn first_wrong(&self, Gradients { batch, floats, .. }: Gradients<'_>) -> WrongFloat {
        let keys = batch.keys.iter().copied().zip(0..);
        let rows = keys.filter(|(key, _)| Some(*key) != batch.padding);
        WrongFloat::first(rows, floats, self.dim)
    }

    /// Finds the distinct keys, merges the gradients of each, and clips what they become.
    pub(super) fn merged_gradients(
        &self,
        engine: &Engine,
        gradients: Gradients<'_>,
    ) -> OrStop<Box<Dedup>> {
        self.merge_into(self.kept.take(gradients.batch), engine, gradients)
    }

    /// As [`OpenGroup::merged_gradients`], in these buffers.
    pub(super) fn merge_into(
        &self,
        dedup: Box<Dedup>,
        engine: &Engine,
        Gradients { batch, floats, duplicates, clip, non_finite }: Gradients<'_>,
    ) -> OrStop<Box<Dedup>> {
        let merge = Merge::Gradients(duplicates);
        let merged = self.try_merged(dedup, engine, batch, (floats, self.dim), merge)?;
        let mut dedup = merged.map_err(|wrong| Stop::of(wrong, non_finite))?;
        if !clip.is_none() {
            clip.clip_call(&engine.pool, &mut dedup, self.dim)?;
        }
        Ok(dedup)
    }

    fn apply_merged(
        &self,
        engine: &Engine,
        guard: WriteGuard<'_>,
        mut dedup: Box<Dedup>,
        source: Origin,
    ) -> Result<()> {
        let change = self.next_step(source)?;
        let done = Done::default();
        self.change(engine, &guard, &mut dedup.parts, change, |shard, part, steps, stamp| {
            done.add(self.step_part(shard, part, steps, stamp, change.rate));
        })?;
        drop(guard);
        self.kept.keep(dedup, false);
        done.count(engine);
        Ok(())
    }

    /// The change that takes the group's next global step, or the one of the journal's entry.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the step cannot rise; those of the schedule.
    pub(super) fn next_step(&self, source: Origin) -> Result<Change> {
        let kind = CallKind::Gradients;
        if let Origin::Replay { rate, step, .. } = source {
            return Ok(Change { kind, source, rate, step });
        }
        let step = self.group.step();
        let next = step.checked_add(1).ok_or_else(|| {
            let group = self.group.id();
            Error::invalid(format!("the global step of group {group} is {step} and cannot rise"))
        })?;
        Ok(Change { kind, source, rate: self.optimizer.rate(step)?, step: next })
    }

    /// Takes some of a part's steps, on rows of one shard. Returns how many rows it made and how
    /// many steps it took.
    pub(super) fn step_part(
        &self,
        shard: &mut Shard,
        part: &Part,
        steps: Range<usize>,
        stamp: Stamp<'_>,
        rate: f64,
    ) -> (u64, u64) {
        let lines = lines(self.row_len);
        let fetch = |shard: &Shard, step: usize| {
            let place = part.place_of(step);
            if place != Place::SKIP {
                shard.prefetch_row(place, lines);
            }
        };
        if steps.len() > 1 {
            steps.clone().take(AHEAD).for_each(|step| fetch(shard, step));
        }
        let (mut created, mut updated) = (0, 0);
        for step in steps.clone() {
            if step + AHEAD < steps.end {
                fetch(shard, step + AHEAD);
            }
            let place = part.place_of(step);
            if place == Place::SKIP {
                continue;
            }
            let mut row = shard.hold(place);
            shard.before_change(&row);
            if !row.is_row(stamp.moment.cutoff) {
                self.make_row(shard, &mut row, stamp.moment);
                created += 1;
            }
            self.step_row(shard, &mut row, part.gradient(step, self.dim), stamp, rate);
            updated += 1;
        }
        (created, updated)
    }

    /// Takes a step on a row that exists.
    #[inline(always)]
    pub(super) fn step_row(
        &self,
        resident: &Resident,
        row: &mut Row<'_>,
        gradient: &[f32],
        stamp: Stamp<'_>,
        rate: f64,
    ) {
        let updates = row.count_update();
        row.stamp(stamp.time, stamp.seqno);
        self.optimizer.step(row.floats_mut(), gradient, rate, updates);
        if let Some(max_norm) = self.max_norm {
            limit_norm(&mut row.floats_mut()[..self.dim], max_norm);
        }
        resident.mark_dirty(row);
    }
}
