//! The writer: a thread that brings changed rows to disk in write-back rounds, so that callers need
//! not. Callers that are faster wait for it here.
//!
//! It starts a round when the journal has grown so much that replaying it would take seconds, when
//! so much of the cache is dirty that soon no row could be evicted, and when somebody asks. Callers
//! that bring in rows faster than it writes are slowed down a little each, so that none waits for a
//! whole round.

pub(crate) mod round;
mod row_file;
mod shares;
pub(crate) mod signal;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Engine;
use super::counters::add_time;
use crate::error::Result;
use crate::journal::Journal;
use crate::memory::check_headroom;
use crate::process::Call;
use crate::threads;
use round::{Round, threads_for};
use signal::Scope;

/// The bytes of a journal that start a round: `cache_bytes`, between these two. So large a journal
/// means that rows which change in every call are seldom written.
const MAX_JOURNAL: u64 = 1 << 30;
const MIN_JOURNAL: u64 = 64 << 20;
/// A cache counts as growing when it has grown by this part of the budget since the last round.
const GROWTH_PART: usize = 16;
/// The longest pause of a call, and the shortest that is worth a sleep.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);

/// The running thread.
pub(crate) struct WriterThread {
    engine: Arc<Engine>,
    thread: JoinHandle<()>,
}

impl WriterThread {
    /// # Errors
    /// `IO` when the thread cannot be made.
    pub(crate) fn start(engine: &Arc<Engine>) -> Result<WriterThread> {
        let worker = Arc::clone(engine);
        let thread = threads::start("damo-writer", "the writer's thread", move || worker.work())?;
        Ok(WriterThread { engine: Arc::clone(engine), thread })
    }

    /// Ends the thread, after a round under way. It gives up a list of files that it is making.
    pub(crate) fn stop(self) {
        if let Some(rocks) = &*self.engine.rocks.read() {
            rocks.stop_listing();
        }
        self.engine.writer.stop();
        drop(self.thread.join());
    }
}

impl Engine {
    fn work(&self) {
        loop {
            let next = self.writer.next(|| self.needed(), || self.tidy());
            let Some((scope, is_asked_for)) = next else { return };
            // The end of the process waits for a round under way. No other begins.
            let Ok(call) = Call::begin() else { return };
            let outcome = threads::catch("the writer", || {
                check_headroom(1)?;
                let _rounds = self.rounds.lock();
                self.recover()?;
                let rocks = self.rocks()?;
                let outcome =
                    Round::new(self, &rocks, scope, threads_for(self, is_asked_for)).run();
                self.give_back_excess();
                outcome
            });
            drop(call);
            if outcome.is_err() {
                self.free_space();
            }
            self.writer.end_round(outcome, self.budget.used());
        }
    }

    /// Renews the list of files that loads read if it has been old for a while. Then tells the
    /// budget what memory their filters take.
    fn tidy(&self) {
        let Ok(_call) = Call::begin() else { return };
        // Whoever has it locked closes the database, or opens it anew.
        if let Some(Some(rocks)) = self.rocks.try_read().as_deref() {
            let renewed = threads::catch("the writer", || {
                rocks.renew_old_lookups();
                Ok(())
            });
            // A panic is no reason to end the writer. RocksDB is asked until files change.
            drop(renewed);
            rocks.lend_changed_metadata(|bytes| self.budget.lend(bytes));
        }
    }

    /// The round that is needed although nobody has asked for one.
    fn needed(&self) -> Option<Scope> {
        // After a failed fsync. Once everything is on disk as rows, the journal goes on with new
        // files.
        if self.journal().is_some_and(Journal::is_in_doubt) {
            return Some(Scope::All);
        }
        if self.has_failed() {
            return Some(Scope::Cold);
        }
        if self.journal().is_some_and(|journal| journal.bytes() >= journal_limit(self)) {
            return Some(Scope::All);
        }
        // A growing cache has its first rounds before it is full: by then all of it might be dirty.
        let total = self.budget.total();
        let is_growing = self.budget.used()
            > self.writer.used_then.load(Ordering::Relaxed) + total / GROWTH_PART;
        let enough = if self.budget.is_nearly_full() { total / 2 } else { total / 4 };
        if (is_growing || self.budget.is_nearly_full()) && self.dirty().1 > enough {
            return Some(Scope::Cold);
        }
        None
    }

    /// Wakes the threads that have work once rows have changed: the writer, and the journal's. For
    /// a call that holds no row any more, and not `stepping`.
    pub(super) fn rows_changed(&self) {
        self.writer.rows_changed();
        if let Some(journal) = self.journal() {
            journal.prepare_if_low();
        }
    }

    /// Slows a call down that brings `rows` rows into memory and may need the place of others. The
    /// more of the cache cannot be evicted, the longer it pauses: as long as writing this many rows
    /// takes, or a part or a multiple of that.
    pub(super) fn pace(&self, rows: usize) {
        if rows == 0 {
            return;
        }
        let total = self.budget.total().max(1);
        let (_, dirty) = self.dirty();
        let held =
            (dirty + self.writer.writing_bytes.load(Ordering::Relaxed)) as f64 / total as f64;
        if held > 0.5 && self.budget.is_nearly_full() {
            self.writer.wake();
        }
        let cost = self.writer.nanoseconds_a_row.load(Ordering::Relaxed);
        // No pause up to 3/4 of the cache (the writer begins at one half). At 5/6 the call is as
        // fast as the writer; when all is held, a third of that.
        let pressure = ((held - 0.75) * 12.0).max(0.0);
        let pause =
            Duration::from_nanos((pressure * cost as f64 * rows as f64) as u64).min(LONGEST_PAUSE);
        if pause >= SHORTEST_PAUSE {
            thread::sleep(pause);
            self.counters.own().slowed_us.fetch_add(pause.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// Waits while the journal is twice as large as it should be.
    ///
    /// # Errors
    /// What keeps the writer from shortening the journal.
    pub(super) fn wait_for_journal(&self) -> Result<()> {
        let Some(journal) = self.journal() else { return Ok(()) };
        while journal.bytes() > 2 * journal_limit(self) {
            let started = Instant::now();
            let outcome = self.writer.round(Scope::All);
            add_time(&self.counters.own().waited_for_journal_us, started);
            outcome?;
        }
        Ok(())
    }

    /// Waits until more rows can be evicted. True when every row that was dirty has been written.
    ///
    /// # Errors
    /// What keeps the writer from writing.
    pub(super) fn wait_for_room(&self) -> Result<bool> {
        let started = Instant::now();
        let outcome = self.writer.wait_for_room();
        add_time(&self.counters.own().waited_for_room_us, started);
        outcome
    }

    /// Brings everything to disk for good. The journal is empty afterwards.
    pub(crate) fn close(&self) -> Result<()> {
        self.readers.stop();
        let is_poisoned = self.groups().iter().any(|group| group.is_poisoned());
        if is_poisoned || !self.is_open.load(Ordering::Acquire) {
            // A panic has left memory in doubt, but not the journal: the next opening replays it.
            return Ok(());
        }
        // Tried twice: the cause of a failure may have passed.
        self.write_everything().or_else(|_| {
            self.free_space();
            self.write_everything()
        })?;
        // In this order: a journal that is kept needlessly does no harm, a missing one does.
        self.write_journal_document(false)?;
        self.journal().map_or(Ok(()), Journal::end)?;
        match self.rocks.write().take().map(Arc::try_unwrap) {
            Some(Ok(rocks)) => rocks.close(),
            // Somebody else still has the database, and closes it. The inventory lists its files as
            // those of an open one.
            _ => Ok(()),
        }
    }

    /// After a failure, which a full disk may have caused, frees what the journal can do without,
    /// and the space of files that a merge has deleted.
    pub(super) fn free_space(&self) {
        let _rounds = self.rounds.lock();
        self.journal().into_iter().for_each(Journal::free_space);
        if let Some(Some(rocks)) = self.rocks.try_read().as_deref() {
            rocks.free_deleted_files();
        }
    }

    fn write_everything(&self) -> Result<()> {
        self.recover()?;
        let rocks = self.rocks()?;
        Round::new(self, &rocks, Scope::All, threads_for(self, true)).run()
    }
}

fn journal_limit(engine: &Engine) -> u64 {
    (engine.options.cache_bytes as u64).clamp(MIN_JOURNAL, MAX_JOURNAL)
}
