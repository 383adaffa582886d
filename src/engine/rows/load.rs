//! Load: brings rows that are not resident into memory.
//!
//! Rows come from disk only here, one load at a time in a group. Otherwise, between the read of a
//! row and its installation, another call could bring the row in and change it, and the row could
//! be written back and evicted. Installing what was read would lose that update.
//!
//! While a group is complete (no row of it is on disk only), lookups make rows without a load
//! (`make_missing`). They read the flag with the shard locked. The flag falls once and for all, so
//! a load that began before that looks again for every key that it has not put into a shard yet.

use std::sync::atomic::{AtomicU64, Ordering};

use super::guards::Loaned;
use super::load_task::Task;
use super::sink::Sink;
use super::{OpenGroup, Origin};
use crate::cache::{Full, Partition, Place, Shard, hash};
use crate::engine::Engine;
use crate::engine::moment::Moment;
use crate::error::Result;
use crate::memory::{filled, room_for};
use crate::rocks::read_batch::ReadBatch;
use crate::rocks::row::Found;
use crate::seqno::Seqno;

/// What a load does for a key that has no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// Makes a row: lookup.
    Create,
    /// Notes that it is absent, and pins it, like every row of the call: calls that change rows.
    Pin,
    /// Notes that it is absent: prefetch.
    Note,
    /// Nothing: peek.
    Skip,
}

/// How many keys ahead of its use memory is fetched.
const AHEAD: usize = 8;

/// What is the same for all shards.
#[derive(Clone, Copy)]
struct Terms<'a> {
    absent: Absent,
    wants_weights: bool,
    moment: Moment<'a>,
    full: Full,
    /// Whether the group was complete before the look for resident rows.
    is_complete: bool,
}

impl OpenGroup {
    /// Brings the rows of ascending distinct `keys` into memory, and gives their weights to `sink`.
    /// Returns for each key whether it has a row.
    ///
    /// # Errors
    /// `POISONED` when rows are to be created; `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. No row
    /// stays pinned after an error.
    pub(super) fn load(
        &self,
        loan: &Loaned<'_>,
        keys: &[i64],
        absent: Absent,
        sink: Sink<'_>,
    ) -> Result<Vec<bool>> {
        let wants_weights = sink.wants_weights();
        let engine = loan.engine;
        debug_assert!(keys.is_sorted_by(|a, b| a < b));
        let partition = Partition::new(keys, self.cache.shard_count())?;
        let mut tasks = self.tasks(&partition, wants_weights, absent == Absent::Pin)?;
        let terms = Terms {
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
        if let Err(error) = self.load_tasks(engine, keys, &mut tasks, terms) {
            self.unpin(&tasks);
            return Err(error);
        }
        drop(lock);
        let created = tasks.iter().map(|task| task.created).sum();
        engine.counters.own().rows_created.fetch_add(created, Ordering::Relaxed);
        let found = self.collect(&engine.pool, keys.len(), &tasks, sink);
        found.inspect_err(|_| self.unpin(&tasks))
    }

    /// Does the tasks, with the group's `load` locked.
    fn load_tasks(
        &self,
        engine: &Engine,
        keys: &[i64],
        tasks: &mut [Task<'_>],
        mut terms: Terms<'_>,
    ) -> Result<()> {
        let mut waits = 0;
        loop {
            terms.is_complete = self.cache.is_complete();
            engine.pool.each(keys.len(), tasks, |task| self.find_resident(task, terms))?;
            let (batch, indexes) = self.read_stored(engine, keys, tasks, terms)?;
            loop {
                let batch = batch.as_ref();
                engine
                    .pool
                    .each(keys.len(), tasks, |task| self.install(task, batch, &indexes, terms))?;
                let is_done = tasks.iter().all(|task| task.todo.is_empty());
                if is_done || terms.is_complete && !self.cache.is_complete() {
                    break;
                }
                // In some shard every row waits to be written, or is in use by this very call.
                waits += u32::from(engine.wait_for_room()?);
                if waits >= MAX_WAITS {
                    terms.full = Full::Grow;
                }
            }
            if tasks.iter().all(|task| task.todo.is_empty()) {
                return Ok(());
            }
        }
    }

    /// Brings rows into memory for later calls.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, `IO`, `CORRUPTION`.
    pub(in crate::engine) fn bring_in(&self, engine: &Engine, keys: &[i64]) -> Result<()> {
        self.load(&Loaned::new(engine), keys, Absent::Note, Sink::Nobody).map(drop)
    }

    /// Settles the keys that are resident by now.
    fn find_resident(&self, task: &mut Task<'_>, terms: Terms<'_>) -> Result<()> {
        let mut shard = self.cache.lock(task.shard);
        let mut todo = std::mem::take(&mut task.todo);
        todo.retain(|&index| {
            if let Some(later) = task.keys.get(index as usize + AHEAD) {
                shard.prefetch_entry(hash(*later));
            }
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

    /// Does what the call wants with a resident key: a row, or the note that there is none.
    fn settle(
        &self,
        shard: &mut Shard,
        place: Place,
        index: usize,
        task: &mut Task<'_>,
        terms: Terms<'_>,
    ) {
        if terms.absent == Absent::Pin {
            shard.pin(place);
            task.pinned.push(place);
        }
        let mut row = shard.hold(place);
        if !row.is_row(terms.moment.cutoff) {
            if terms.absent != Absent::Create {
                return;
            }
            self.make_row(shard, &mut row, terms.moment);
            task.created += 1;
        }
        task.done.push(task.positions[index]);
        if terms.wants_weights {
            task.weights.extend_from_slice(&row.floats()[..self.dim]);
        }
    }

    /// Reads what is not resident from disk. Also returns, by position of a key, the index of its
    /// row in what was read.
    fn read_stored(
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
        // Wanted positions are marked first, which puts them in order.
        let mut indexes = filled(0u32, keys.len())?;
        for task in tasks {
            task.todo.iter().for_each(|&at| indexes[task.positions[at as usize] as usize] = 1);
        }
        let mut wanted_keys = room_for(count)?;
        for (index, key) in indexes.iter_mut().zip(keys).filter(|(index, _)| **index == 1) {
            *index = wanted_keys.len() as u32;
            wanted_keys.push(*key);
        }
        let rocks = engine.rocks()?;
        let batch = engine.readers.read(&rocks, self.group.id(), &wanted_keys, self.row_len)?;
        rocks.lend_changed_metadata(|bytes| engine.budget.lend(bytes));
        let counts = engine.counters.own();
        let blocks = batch.blocks();
        let add = |counter: &AtomicU64, more: usize| {
            counter.fetch_add(more as u64, Ordering::Relaxed);
        };
        add(&counts.rows_loaded, count);
        add(&counts.rows_loaded_by_rocksdb, batch.asked());
        add(&counts.blocks_read_mapped, blocks.mapped);
        add(&counts.blocks_read_by_io_uring, blocks.by_io_uring);
        add(&counts.blocks_read_by_pread, blocks.by_pread);
        Ok((Some(batch), indexes))
    }

    /// Puts what was read, and notes of what is absent, into the shard, as far as it has room.
    fn install(
        &self,
        task: &mut Task<'_>,
        batch: Option<&ReadBatch>,
        indexes: &[u32],
        terms: Terms<'_>,
    ) -> Result<()> {
        if task.todo.is_empty() {
            return Ok(());
        }
        let mut shard = self.cache.lock(task.shard);
        let todo = std::mem::take(&mut task.todo);
        for (done, &index) in todo.iter().enumerate() {
            if let (Some(later), Some(batch)) = (todo.get(done + AHEAD), batch) {
                task.prefetch(&shard, *later as usize, (batch, indexes));
            }
            let key = task.keys[index as usize];
            let position = task.positions[index as usize] as usize;
            let read = batch.map(|batch| (batch, indexes[position] as usize));
            let row = read.and_then(|(batch, index)| batch.row(index));
            let is_row = row.is_some_and(|(header, _)| header.update_time >= terms.moment.cutoff);
            let mut place = None;
            if terms.is_complete {
                // A lookup may have made the row meanwhile. If the group is not complete any more,
                // the row may even have been evicted since.
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
            if !is_row && terms.absent == Absent::Skip {
                continue;
            }
            let Some(place) = shard.insert(hash(key), key, terms.full)? else {
                // The next pass continues with this key.
                task.todo = rest_of(todo, done);
                return Ok(());
            };
            read.inspect(|read| fill(&shard, place, *read));
            self.settle(&mut shard, place, index as usize, task, terms);
        }
        Ok(())
    }

    /// Whether a row with the sequence number `seen` has seen the call already.
    pub(super) fn has_seen(source: Origin, seen: Seqno) -> bool {
        matches!(source, Origin::Replay { seqno, .. } if seen >= seqno)
    }
}

/// Puts the row that was read under the `index`th key into its new place.
fn fill(shard: &Shard, place: Place, (batch, index): (&ReadBatch, usize)) {
    if let Some((header, floats)) = batch.row(index) {
        let mut row = shard.hold(place);
        row.set_updates(header.update_num);
        row.stamp(header.update_time, header.seqno);
        row.floats_mut().copy_from_slice(floats);
        row.set_absent(false);
    } else if let Found::Deleted { time, seqno } = batch.found(index) {
        // Replay must not make a call on a row that a later call has deleted.
        shard.hold(place).stamp(time, seqno);
    }
}

/// The entries from `from` on, in the same memory.
fn rest_of(mut todo: Vec<u32>, from: usize) -> Vec<u32> {
    todo.drain(..from);
    todo
}

/// The write-back rounds that a call waits for before it takes memory beyond the budget. By then
/// everything that can be written is on disk, and the rest is what the call itself needs.
pub(super) const MAX_WAITS: u32 = 2;
