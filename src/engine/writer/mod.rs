//! The writer: a thread that brings changed rows to disk, so that callers need not, and the places where callers wait
//! for it when they are faster.
//!
//! It starts a round when the journal has grown enough that replaying it would take seconds, when so much of the
//! cache is dirty that rows could soon not be evicted, and when somebody asks. Callers that bring in rows faster than it
//! writes are slowed down a little at a time, so that none has to wait for a whole round.

pub(crate) mod round;
pub(crate) mod signal;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Engine;
use crate::error::Result;
use crate::journal::Journal;
use crate::memory::check_headroom;
use crate::process::Call;
use crate::threads;
use round::Round;
use signal::Scope;

/// A journal of so many bytes is brought to disk: enough that rows which change in every call are written seldom.
const MAX_JOURNAL: u64 = 1 << 30;
const MIN_JOURNAL: u64 = 64 << 20;
/// A cache that has grown by this part of the budget since the last round is growing.
const GROWTH_PART: usize = 16;
/// What a call is slowed down by at most, and what is not worth a sleep.
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

    /// Ends the thread; a round under way is finished first.
    pub(crate) fn stop(self) {
        self.engine.writer.stop();
        drop(self.thread.join());
    }
}

impl Engine {
    fn work(&self) {
        loop {
            let Some(scope) = self.writer.next(|| self.needed()) else { return };
            // The end of the process waits for a round under way, and none begins after that.
            let Ok(call) = Call::begin() else { return };
            let outcome = threads::catch("the writer", || {
                check_headroom(1)?;
                let _rounds = self.rounds.lock();
                self.recover()?;
                let rocks = self.rocks()?;
                let outcome = Round::new(self, &rocks, scope).run();
                self.give_back_excess();
                outcome
            });
            drop(call);
            self.writer.end_round(outcome, self.budget.used());
        }
    }

    /// What should be written, unasked.
    fn needed(&self) -> Option<Scope> {
        // Once everything is on disk as rows, the journal goes on with new files.
        if self.journal().is_some_and(Journal::is_in_doubt) {
            return Some(Scope::All);
        }
        if self.has_failed() {
            return Some(Scope::Cold);
        }
        if self.journal().is_some_and(|journal| journal.bytes() >= journal_limit(self)) {
            return Some(Scope::All);
        }
        // A cache that is still growing has its first rounds before it is full: all of it may be dirty by then.
        let total = self.budget.total();
        let is_growing = self.budget.used()
            > self.writer.used_then.load(Ordering::Relaxed) + total / GROWTH_PART;
        let enough = if self.budget.is_nearly_full() { total / 2 } else { total / 4 };
        if (is_growing || self.budget.is_nearly_full()) && self.dirty().1 > enough {
            return Some(Scope::Cold);
        }
        None
    }

    /// To be called when a call brings `rows` into memory that may need the place of others: when those that cannot be
    /// evicted become many, it pauses for as long as so many rows take to write, or a part or multiple of that.
    pub(super) fn pace(&self, rows: usize) {
        let cost = self.writer.nanoseconds_a_row.load(Ordering::Relaxed);
        if cost == 0 || rows == 0 {
            return;
        }
        let total = self.budget.total().max(1);
        let (_, dirty) = self.dirty();
        let held =
            (dirty + self.writer.writing_bytes.load(Ordering::Relaxed)) as f64 / total as f64;
        // Nothing up to 5/8 (the writer begins at one half); as fast as it writes at 3/4; a third of that when none is left.
        let pressure = ((held - 0.625) * 8.0).max(0.0);
        let pause =
            Duration::from_nanos((pressure * cost as f64 * rows as f64) as u64).min(LONGEST_PAUSE);
        if pause >= SHORTEST_PAUSE {
            thread::sleep(pause);
            self.counters.waited_us.fetch_add(pause.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// Waits while the journal is twice as large as it should be.
    ///
    /// # Errors
    /// What keeps the writer from making it shorter.
    pub(super) fn wait_for_journal(&self) -> Result<()> {
        let Some(journal) = self.journal() else { return Ok(()) };
        while journal.bytes() > 2 * journal_limit(self) {
            let started = Instant::now();
            let outcome = self.writer.round(Scope::All);
            self.counters
                .waited_us
                .fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
            outcome?;
        }
        Ok(())
    }

    /// Waits until more rows can be evicted; true when every row that was dirty has been written.
    ///
    /// # Errors
    /// What keeps the writer from writing.
    pub(super) fn wait_for_room(&self) -> Result<bool> {
        let started = Instant::now();
        let outcome = self.writer.wait_for_room();
        self.counters.waited_us.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        outcome
    }

    /// Brings everything to disk for good; the journal is then empty.
    pub(crate) fn close(&self) -> Result<()> {
        self.readers.stop();
        let is_poisoned = self.groups().iter().any(|group| group.is_poisoned());
        if is_poisoned || !self.is_open.load(Ordering::Acquire) {
            // What a panic left in memory is in doubt, the journal is not: the next opening starts from that.
            return Ok(());
        }
        // Once more after a failure: its reason may have passed.
        self.write_everything().or_else(|_| self.write_everything())?;
        // In this order: a journal that is there and not needed does no harm, one that is missing does.
        self.write_journal_document(false)?;
        self.journal().map_or(Ok(()), Journal::finish)?;
        match self.rocks.write().take().map(Arc::try_unwrap) {
            Some(Ok(rocks)) => rocks.close(),
            // It closes with whoever else has it, and its files are listed as those of an open one.
            _ => Ok(()),
        }
    }

    fn write_everything(&self) -> Result<()> {
        self.recover()?;
        let rocks = self.rocks()?;
        Round::new(self, &rocks, Scope::All).run()
    }
}

fn journal_limit(engine: &Engine) -> u64 {
    (engine.options.cache_bytes as u64).clamp(MIN_JOURNAL, MAX_JOURNAL)
}
