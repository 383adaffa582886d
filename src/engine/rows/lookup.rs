//! Lookup: copies resident rows from the cache, and loads or creates the others.

use std::sync::atomic::Ordering;

use super::few::AT_ONCE;
use super::guards::Loaned;
use super::kept::FEW;
use super::load::Absent;
use super::missing::Missing;
use super::part::Part;
use super::run::Run;
use super::sink::Sink;
use super::spread::MAX_KEYS;
use super::{KeyBatch, OpenGroup};
use crate::cache::{Full, Place, Shard, hash};
use crate::engine::Engine;
use crate::engine::moment::Moment;
use crate::engine::pool::AtWork;
use crate::error::Result;
use crate::memory::room_for;

impl OpenGroup {
    /// Writes the weights of the keys into `weights`. A key without a row gets one. The padding key
    /// reads as zeros.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. `weights` may be partly written.
    pub(crate) fn lookup(
        &self,
        engine: &Engine,
        batch: KeyBatch<'_>,
        weights: &mut [f32],
    ) -> Result<()> {
        self.read(engine, batch, weights, None, Absent::Create)
    }

    /// Writes the weights of the keys into `weights`, and into `found` whether each has a row.
    /// `absent` says what becomes of keys without one.
    pub(super) fn read(
        &self,
        engine: &Engine,
        batch: KeyBatch<'_>,
        weights: &mut [f32],
        mut found: Option<&mut [u8]>,
        absent: Absent,
    ) -> Result<()> {
        let mut misses = 0;
        let mut found = found.as_mut().map(|found| found.chunks_mut(MAX_KEYS));
        let pieces = batch.chunks(MAX_KEYS).zip(weights.chunks_mut(MAX_KEYS * self.dim));
        for (batch, weights) in pieces {
            let found = found.as_mut().and_then(Iterator::next);
            misses += match batch.keys.len() <= FEW {
                true => self.read_few(engine, batch, weights, found, absent)?,
                false => self.read_many(engine, batch, weights, found, absent)?,
            };
        }
        self.count_keys(engine, batch.count(), misses);
        Ok(())
    }

    /// Counts keys as cache hits or misses.
    pub(super) fn count_keys(&self, engine: &Engine, keys: u64, misses: u64) {
        let counters = engine.counters.own();
        counters.cache_misses.fetch_add(misses, Ordering::Relaxed);
        counters.cache_hits.fetch_add(keys - misses, Ordering::Relaxed);
    }

    /// As [`OpenGroup::read`]: finds each distinct key once, and then spreads the rows. Returns how
    /// many of the keys were not resident.
    fn read_many(
        &self,
        engine: &Engine,
        batch: KeyBatch<'_>,
        weights: &mut [f32],
        found: Option<&mut [u8]>,
        absent: Absent,
    ) -> Result<u64> {
        let call = engine.pool.begin_work(batch.keys.len());
        let moment = engine.moment();
        let mut dedup = self.dedup(engine, batch)?;
        let mut sources = std::mem::take(&mut dedup.sources);
        sources.begin(batch.keys.len())?;
        dedup.each(&engine.pool, |part| {
            sources.note(part);
            self.read_part(part, batch.occurrences, (moment, absent == Absent::Create))
        })?;
        let misses = dedup.parts.iter().map(|part| part.misses).sum();
        let created: u64 = dedup.parts.iter().map(|part| part.created).sum();
        engine.counters.own().rows_created.fetch_add(created, Ordering::Relaxed);
        engine.pace(created as usize);
        self.load_missing(engine, &call, &mut dedup.parts, absent)?;
        sources.spread(&engine.pool, &dedup.parts, self.dim, weights, found)?;
        dedup.sources = sources;
        self.kept.keep(dedup, absent == Absent::Create);
        Ok(misses)
    }

    /// Copies the rows of a part that are resident. If it `creates`, it makes rows for keys that
    /// have none, unless that takes a look at the disk.
    fn read_part(
        &self,
        part: &mut Part,
        occurrences: Option<&[u32]>,
        (moment, creates): (Moment<'_>, bool),
    ) -> Result<()> {
        part.begin_reading(self.dim)?;
        part.places.resize(part.keys.len(), Place::NOT_RESIDENT);
        match part.has_short_runs() {
            true => self.read_keys(part, moment),
            false => self.read_runs(part, moment),
        }
        if part.missing.is_empty() {
            return Ok(());
        }
        part.count_misses(occurrences);
        if creates { self.make_missing(part, moment) } else { Ok(()) }
    }

    /// Copies resident rows without a lock, as a small lookup does (`few`): for few keys a shard
    /// its lock, which is seldom in a near cache, would cost more than the rows.
    fn read_keys(&self, part: &mut Part, moment: Moment<'_>) {
        let Part { keys, places, floats, has_row, missing, .. } = part;
        let guard = crossbeam_epoch::pin();
        let mut floats = floats.chunks_exact_mut(self.dim);
        for (keys, places) in keys.chunks(AT_ONCE).zip(places.chunks_mut(AT_ONCE)) {
            let candidates = self.candidates(keys, self.weight_lines(), &guard);
            for ((key, (place, candidate)), weights) in
                keys.iter().zip(places.iter_mut().zip(candidates)).zip(&mut floats)
            {
                let resident = self.cache.resident(hash(*key));
                let read = resident.read_and_place(candidate, *key, moment.cutoff, weights, &guard);
                if let Some(found) = read {
                    *place = found;
                } else {
                    weights.fill(0.0);
                    missing.push(has_row.len() as u32);
                }
                has_row.push(read.is_some());
            }
        }
    }

    /// Copies resident rows, one shard's after the other's with the shard locked.
    fn read_runs(&self, part: &mut Part, moment: Moment<'_>) {
        let Part { runs, keys, places, floats, has_row, missing, .. } = part;
        let lines = self.weight_lines();
        let mut floats = floats.chunks_exact_mut(self.dim);
        for Run { shard, keys: of_run, .. } in &*runs {
            let shard = self.cache.read(*shard);
            let (keys, places) = (&keys[of_run.clone()], &mut places[of_run.clone()]);
            shard.begin_finding(keys, places, lines);
            for (index, (key, weights)) in keys.iter().zip(&mut floats).enumerate() {
                let place = shard.find_next(keys, places, index, lines);
                let is_row =
                    place.is_some_and(|place| shard.read(place, *key, moment.cutoff, weights));
                has_row.push(is_row);
                if !is_row {
                    weights.fill(0.0);
                    missing.push((of_run.start + index) as u32);
                }
            }
        }
    }

    /// Makes rows for the keys of a part that are not resident, if the group is complete.
    pub(super) fn make_missing(&self, part: &mut Part, moment: Moment<'_>) -> Result<()> {
        if !self.cache.is_complete() {
            return Ok(());
        }
        self.group.check_not_poisoned()?;
        let missing = std::mem::take(&mut part.missing);
        let mut left = room_for(missing.len())?;
        for index in missing {
            let key = part.keys[index as usize];
            let mut shard = self.cache.lock_for(hash(key));
            let Some((place, is_new)) = self.make_in(&mut shard, key, moment)? else {
                left.push(index);
                continue;
            };
            part.created += u64::from(is_new);
            part.places[index as usize] = place;
            part.set_row(index as usize, &shard.hold(place).floats()[..self.dim]);
        }
        part.missing = left;
        Ok(())
    }

    /// The place of a key's row, and whether it was made for this: a key that is not resident has
    /// no row on disk either, as long as the group is complete. None if the group is not complete,
    /// or the shard has no room.
    pub(super) fn make_in(
        &self,
        shard: &mut Shard,
        key: i64,
        moment: Moment<'_>,
    ) -> Result<Option<(Place, bool)>> {
        let hash = hash(key);
        let place = match shard.find(hash, key) {
            Some(place) => Some(place),
            // An eviction from this shard, perhaps by an insertion before, happened with its lock
            // held. So its flag is visible by now, and the key may be on disk only.
            None if !self.cache.is_complete() => None,
            None => shard.insert(hash, key, Full::Refuse)?,
        };
        Ok(place.map(|place| {
            let mut row = shard.hold(place);
            let is_row = row.is_row(moment.cutoff);
            if !is_row {
                self.make_row(shard, &mut row, moment);
            }
            (place, !is_row)
        }))
    }

    /// Loads the keys that were not resident.
    pub(super) fn load_missing(
        &self,
        engine: &Engine,
        call: &AtWork<'_>,
        parts: &mut [Part],
        absent: Absent,
    ) -> Result<()> {
        if parts.iter().all(|part| part.missing.is_empty()) {
            return Ok(());
        }
        let missing = Missing::of(&engine.pool, parts)?;
        let sink = Sink::Parts(parts, &missing.indexes);
        let _wait = call.wait();
        self.load(&Loaned::new(engine), &missing.keys, absent, sink)?;
        Ok(())
    }
}
