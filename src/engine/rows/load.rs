//! Load: brings rows that are not resident into memory.
//!
//! Rows come from disk only here, one call at a time for a group. So between finding that a row is not resident, reading
//! it and putting it into its shard, nobody else can have brought it in, changed it, and had it written back and evicted
//! again, which would make what was read a lost update.
//!
//! While a group is complete, that is while no row of it is on disk only, lookups make rows without this (`make_missing`),
//! looking at the flag with the shard locked. It falls once and for all, so a load that began before looks again at
//! everything that it has not put into a shard by then.

use std::sync::atomic::Ordering;

use super::{OpenGroup, Origin};
use crate::cache::{ABSENT, Full, Partition, Shard, hash};
use crate::engine::Engine;
use crate::engine::moment::Moment;
use crate::error::Result;
use crate::memory::{filled, room_for};
use crate::rocks::readers::ReadBatch;
use crate::rocks::row::Found;

/// What becomes of a key that has no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// It gets one: lookup.
    Create,
    /// It is noted as absent, and like every row of this call kept in memory: for a call that will change it.
    Pin,
    /// It is noted as absent: prefetch.
    Note,
    /// Nothing: peek.
    Skip,
}

/// What was loaded, by the position of each key.
pub(super) struct Loaded {
    /// `dim` floats a key, zeros for one without a row; empty when they were not asked for.
    pub(super) weights: Vec<f32>,
    pub(super) found: Vec<bool>,
}

/// The work in one shard.
struct Task<'a> {
    shard: usize,
    keys: &'a [i64],
    positions: &'a [u32],
    /// Indexes into `keys` of what is not resident yet.
    todo: Vec<u32>,
    /// Weights of what has been found, in the order of `done`.
    weights: Vec<f32>,
    /// Positions of what has been found.
    done: Vec<u32>,
    created: u64,
}

/// What all shards' work has in common.
#[derive(Clone, Copy)]
struct Terms<'a> {
    absent: Absent,
    wants_weights: bool,
    moment: Moment<'a>,
    full: Full,
    /// The group was complete before anything was looked for.
    is_complete: bool,
}

impl OpenGroup {
    /// Brings the rows of ascending distinct `keys` into memory. Once the caller has done with them what it wants, it
    /// calls [`Engine::give_back_excess`]; before that, it could lose them again.
    ///
    /// # Errors
    /// `POISONED` when rows are to be created; `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Rows that were pinned stay so.
    pub(super) fn load(
        &self,
        engine: &Engine,
        keys: &[i64],
        absent: Absent,
        wants_weights: bool,
    ) -> Result<Loaded> {
        debug_assert!(keys.is_sorted_by(|a, b| a < b));
        let partition = Partition::new(keys, None, self.cache.shard_count())?;
        let mut tasks = self.tasks(&partition, wants_weights)?;
        let mut terms = Terms {
            absent,
            wants_weights,
            moment: engine.moment(),
            full: Full::Refuse,
            is_complete: false,
        };
        if matches!(absent, Absent::Create | Absent::Pin) {
            engine.pace(keys.len());
        }
        let lock = self.group.begin_load();
        if absent == Absent::Create {
            self.group.check_not_poisoned()?;
        }
        let mut waits = 0;
        loop {
            terms.is_complete = self.cache.is_complete();
            engine.pool.each(keys.len(), &mut tasks, |task| self.find_resident(task, terms))?;
            let (batch, places) = self.read(engine, keys, &tasks, terms)?;
            loop {
                let batch = batch.as_ref();
                engine.pool.each(keys.len(), &mut tasks, |task| {
                    self.install(task, batch, &places, terms)
                })?;
                let is_done = tasks.iter().all(|task| task.todo.is_empty());
                if is_done || terms.is_complete && !self.cache.is_complete() {
                    break;
                }
                // Every row of some shard is waiting to be written, or in use by this very call.
                waits += u32::from(engine.wait_for_room()?);
                if waits >= MAX_WAITS {
                    terms.full = Full::Grow;
                }
            }
            if tasks.iter().all(|task| task.todo.is_empty()) {
                break;
            }
        }
        drop(lock);
        let created = tasks.iter().map(|task| task.created).sum();
        engine.counters.rows_created.fetch_add(created, Ordering::Relaxed);
        self.collect(keys.len(), &tasks, wants_weights)
    }

    /// Brings rows into memory that will be needed.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, `IO`, `CORRUPTION`.
    pub(in crate::engine) fn bring_in(&self, engine: &Engine, keys: &[i64]) -> Result<()> {
        let outcome = self.load(engine, keys, Absent::Note, false).map(drop);
        engine.give_back_excess();
        outcome
    }

    fn tasks<'a>(&self, partition: &'a Partition, wants_weights: bool) -> Result<Vec<Task<'a>>> {
        let mut tasks = room_for(self.cache.shard_count())?;
        for shard in 0..self.cache.shard_count() {
            let (keys, positions) = partition.shard(shard);
            if keys.is_empty() {
                continue;
            }
            let weights = room_for(if wants_weights { keys.len() * self.dim } else { 0 })?;
            let (mut todo, done) = (room_for(keys.len())?, room_for(keys.len())?);
            todo.extend(0..keys.len() as u32);
            tasks.push(Task { shard, keys, positions, todo, weights, done, created: 0 });
        }
        Ok(tasks)
    }

    /// Deals with what has become resident since it was looked for.
    fn find_resident(&self, task: &mut Task<'_>, terms: Terms<'_>) -> Result<()> {
        let mut shard = self.cache.lock(task.shard);
        let mut todo = std::mem::take(&mut task.todo);
        todo.retain(|&index| {
            let key = task.keys[index as usize];
            let place = shard.find(hash(key), key);
            if let Some(place) = place {
                self.settle(&mut shard, place, index as usize, task, terms);
            }
            place.is_none()
        });
        task.todo = todo;
        Ok(())
    }

    /// Does with a resident row, or the note that there is none, what the call wants.
    fn settle(
        &self,
        shard: &mut Shard,
        place: u32,
        index: usize,
        task: &mut Task<'_>,
        terms: Terms<'_>,
    ) {
        if terms.absent == Absent::Pin {
            shard.pin(place);
        }
        if !shard.slot(place).is_row(terms.moment.cutoff) {
            if terms.absent != Absent::Create {
                return;
            }
            self.make_row(shard, place, terms.moment);
            task.created += 1;
        }
        task.done.push(task.positions[index]);
        if terms.wants_weights {
            task.weights.extend_from_slice(&shard.row(place)[..self.dim]);
        }
    }

    /// Turns an absent or expired row into a fresh one.
    pub(super) fn make_row(&self, shard: &mut Shard, place: u32, moment: Moment<'_>) {
        shard.before_change(place);
        let (slot, row) = shard.both_mut(place);
        let (key, journal) =
            (slot.key, slot.journal().max(moment.number()).max(self.group.cleared()));
        moment.expiry.count_expired(u64::from(!slot.has(ABSENT)));
        slot.updates = 0;
        slot.stamp(moment.now, journal);
        self.fill_first(key, row);
        shard.set_absent(place, false);
        shard.mark_dirty(place);
    }

    /// Reads what is not resident from disk; `places` says where in the batch each key's row is.
    fn read(
        &self,
        engine: &Engine,
        keys: &[i64],
        tasks: &[Task<'_>],
        terms: Terms<'_>,
    ) -> Result<(Option<ReadBatch>, Vec<u32>)> {
        let count = tasks.iter().map(|task| task.todo.len()).sum();
        if count == 0 || terms.is_complete {
            return Ok((None, Vec::new()));
        }
        let mut wanted: Vec<u32> = room_for(count)?;
        for task in tasks {
            wanted.extend(task.todo.iter().map(|&index| task.positions[index as usize]));
        }
        wanted.sort_unstable();
        let mut places = filled(0u32, keys.len())?;
        let mut wanted_keys = room_for(count)?;
        for (place, &position) in wanted.iter().enumerate() {
            places[position as usize] = place as u32;
            wanted_keys.push(keys[position as usize]);
        }
        let batch =
            engine.readers.read(&engine.rocks()?, self.group.id(), &wanted_keys, self.row_len)?;
        engine.counters.rows_loaded.fetch_add(count as u64, Ordering::Relaxed);
        Ok((Some(batch), places))
    }

    /// Puts what was read, and what turned out to be absent, into the shard, as far as it takes it.
    fn install(
        &self,
        task: &mut Task<'_>,
        batch: Option<&ReadBatch>,
        places: &[u32],
        terms: Terms<'_>,
    ) -> Result<()> {
        if task.todo.is_empty() {
            return Ok(());
        }
        let mut shard = self.cache.lock(task.shard);
        let todo = std::mem::take(&mut task.todo);
        for (done, &index) in todo.iter().enumerate() {
            let key = task.keys[index as usize];
            let position = task.positions[index as usize] as usize;
            let row = batch.and_then(|batch| batch.row(places[position] as usize));
            let is_row = row.is_some_and(|(header, _)| header.update_time >= terms.moment.cutoff);
            if !is_row && terms.absent == Absent::Skip {
                continue;
            }
            let mut place = None;
            if terms.is_complete {
                // A lookup may have made the row meanwhile; or the group is not complete any more, and it may have come
                // and gone.
                place = shard.find(hash(key), key);
                if place.is_none() && !self.cache.is_complete() {
                    task.todo = rest_of(todo, done);
                    return Ok(());
                }
            }
            if let Some(place) = place {
                self.settle(&mut shard, place, index as usize, task, terms);
                continue;
            }
            let Some(place) = shard.insert(hash(key), key, terms.full)? else {
                // The next round goes on from this key.
                task.todo = rest_of(todo, done);
                return Ok(());
            };
            match row {
                Some((header, floats)) => {
                    let (slot, row) = shard.both_mut(place);
                    slot.updates = header.update_num;
                    slot.stamp(header.update_time, header.journal);
                    row.copy_from_slice(floats);
                }
                None => {
                    // A call that is made again is not made on what a later one has deleted.
                    let found = batch
                        .map_or(Found::Nothing, |batch| batch.found(places[position] as usize));
                    if let Found::Deleted { time, journal } = found {
                        shard.both_mut(place).0.stamp(time, journal);
                    }
                    shard.set_absent(place, true);
                }
            }
            self.settle(&mut shard, place, index as usize, task, terms);
        }
        Ok(())
    }

    fn collect(&self, count: usize, tasks: &[Task<'_>], wants_weights: bool) -> Result<Loaded> {
        let mut found = filled(false, count)?;
        let mut weights = filled(0.0f32, if wants_weights { count * self.dim } else { 0 })?;
        for task in tasks {
            for (index, &position) in task.done.iter().enumerate() {
                let position = position as usize;
                found[position] = true;
                if wants_weights {
                    weights[position * self.dim..(position + 1) * self.dim]
                        .copy_from_slice(&task.weights[index * self.dim..(index + 1) * self.dim]);
                }
            }
        }
        Ok(Loaded { weights, found })
    }

    /// Lets go of rows that a call had pinned, after it has failed.
    pub(super) fn unpin<'a>(&self, keys: impl Iterator<Item = &'a i64>) {
        for &key in keys {
            let mut shard = self.cache.lock_for(hash(key));
            if let Some(place) = shard.find(hash(key), key) {
                shard.unpin(place);
            }
        }
    }

    /// True when a row in memory has seen this change already.
    pub(super) fn has_seen(source: Origin, journal: u64) -> bool {
        matches!(source, Origin::Replay { number, .. } if journal >= number)
    }
}

/// What is left from an index on, in the same memory.
fn rest_of(mut todo: Vec<u32>, from: usize) -> Vec<u32> {
    todo.drain(..from);
    todo
}

/// Rounds of writing that a call waits for before it takes memory beyond the budget: then everything that can be
/// written has been, and what is left is what the call itself needs.
pub(super) const MAX_WAITS: u32 = 2;
