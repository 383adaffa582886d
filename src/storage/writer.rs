//! The writer: a thread that brings changed rows to disk, so that callers need not, and the places where callers wait
//! for it when they are faster.
//!
//! It starts a round when the journal has grown enough that replaying it would take seconds, when so much of the
//! cache is dirty that rows could soon not be evicted, and when somebody asks. Callers that bring in rows faster than it
//! writes are slowed down a little at a time, so that none has to wait for a whole round.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::round::{Round, Scope};
use super::{Call, Core};
use crate::error::{Error, Result, Status};
use crate::file_size_limit::start_thread;
use crate::journal::Journal;
use crate::locks::{Condvar, Mutex, MutexGuard};
use crate::memory::check_headroom;

/// A journal of so many bytes is brought to disk: enough that rows which change in every call are written seldom.
const MAX_JOURNAL: u64 = 1 << 30;
const MIN_JOURNAL: u64 = 64 << 20;
/// How often the writer looks while calls change rows.
const PERIOD: Duration = Duration::from_millis(10);
/// How long it rests after a failed round before it tries again unasked.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A cache that has grown by this part of the budget since the last round is growing.
const GROWTH_PART: usize = 16;
/// What a call is slowed down by at most, and what is not worth a sleep.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);
/// How long a call waits for a round before it looks again.
const PATIENCE: Duration = Duration::from_millis(100);

pub(super) struct Writer {
    state: Mutex<State>,
    wake: Condvar,
    done: Condvar,
    /// True while the writer sleeps until rows change.
    asleep: AtomicBool,
    /// What a row has lately taken to write, nanoseconds.
    nanoseconds_a_row: AtomicU64,
    /// Bytes of rows that are in a file which the table does not count yet.
    writing_bytes: AtomicUsize,
    /// Memory that rows took when the last round ended.
    used_then: AtomicUsize,
    /// So many unmerged files there were when merging did not get on; u64::MAX while it does.
    pub(super) merging_stuck_at: AtomicU64,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer {
            state: Mutex::default(),
            wake: Condvar::new(),
            done: Condvar::new(),
            asleep: AtomicBool::new(false),
            nanoseconds_a_row: AtomicU64::new(0),
            writing_bytes: AtomicUsize::new(0),
            used_then: AtomicUsize::new(0),
            merging_stuck_at: AtomicU64::new(u64::MAX),
        }
    }
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// Rounds asked for, by scope: the number of the round that must have begun after asking.
    wanted: Option<Scope>,
    begun: u64,
    finished: u64,
    /// Files that have become part of the table, over all rounds.
    files: u64,
    /// How the last round ended.
    failure: Option<Error>,
}

/// The running thread.
pub(super) struct WriterThread {
    core: Arc<Core>,
    thread: JoinHandle<()>,
}

impl WriterThread {
    /// # Errors
    /// `IO` when the thread cannot be made.
    pub(super) fn start(core: &Arc<Core>) -> Result<WriterThread> {
        let worker = Arc::clone(core);
        let builder = thread::Builder::new().name("damo-writer".to_owned());
        let thread =
            start_thread(builder, move || worker.writer.work(&worker)).map_err(|error| {
                Error::io(format!("the writer's thread cannot be made here: {error}"))
            })?;
        Ok(WriterThread { core: Arc::clone(core), thread })
    }

    /// Ends the thread; a round under way is finished first.
    pub(super) fn stop(self) {
        self.core.writer.state.lock().stopping = true;
        self.core.writer.wake.notify_all();
        drop(self.thread.join());
    }
}

impl Writer {
    fn work(&self, core: &Core) {
        loop {
            let Some(scope) = self.next(core) else { return };
            // The end of the process waits for a round under way, and none begins after that.
            let Ok(call) = Call::begin() else { return };
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                check_headroom(1)?;
                let _rounds = core.rounds.lock();
                core.recover()?;
                let rocks = core.rocks()?;
                let outcome = Round::new(core, &rocks, scope).run();
                core.give_back_excess();
                outcome
            }));
            drop(call);
            self.used_then.store(core.budget.used(), Ordering::Relaxed);
            let failure = match outcome {
                Ok(outcome) => outcome.err(),
                Err(_) => Some(Error::new(Status::Panic, "a bug in damo: the writer panicked")),
            };
            let mut state = self.state.lock();
            state.finished = state.begun;
            state.failure = failure;
            self.done.notify_all();
        }
    }

    /// Waits until there is something to do; None when the storage closes.
    fn next(&self, core: &Core) -> Option<Scope> {
        let mut state = self.state.lock();
        let mut idle_rounds = 0;
        let mut not_before = state.failure.as_ref().map(|_| Instant::now() + AFTER_FAILURE);
        loop {
            if state.stopping {
                return None;
            }
            let wanted = state.wanted.take();
            let rested = not_before.is_none_or(|time| Instant::now() >= time);
            let needed = if rested { self.needed(core) } else { None };
            if let Some(scope) = wanted.into_iter().chain(needed).max() {
                state.begun += 1;
                return Some(scope);
            }
            if rested {
                not_before = None;
            }
            // A while after the last change it sleeps for good, until `rows_changed` wakes it.
            idle_rounds += 1;
            if idle_rounds < 100 || not_before.is_some() {
                self.wake.wait_for(&mut state, PERIOD);
            } else {
                self.asleep.store(true, Ordering::SeqCst);
                self.wake.wait_for(&mut state, Duration::from_secs(1));
                self.asleep.store(false, Ordering::SeqCst);
                idle_rounds = 0;
            }
        }
    }

    /// What should be written, unasked.
    fn needed(&self, core: &Core) -> Option<Scope> {
        // Once everything is on disk as rows, the journal goes on with new files.
        if core.journal().is_some_and(Journal::is_in_doubt) {
            return Some(Scope::All);
        }
        if core.has_failed() {
            return Some(Scope::Cold);
        }
        if core.journal().is_some_and(|journal| journal.bytes() >= journal_limit(core)) {
            return Some(Scope::All);
        }
        // A cache that is still growing has its first rounds before it is full: all of it may be dirty by then.
        let total = core.budget.total();
        let is_growing =
            core.budget.used() > self.used_then.load(Ordering::Relaxed) + total / GROWTH_PART;
        let enough = if core.budget.is_nearly_full() { total / 2 } else { total / 4 };
        if (is_growing || core.budget.is_nearly_full()) && core.dirty().1 > enough {
            return Some(Scope::Cold);
        }
        None
    }

    /// To be called when a call brings `rows` into memory that may need the place of others: when those that cannot be
    /// evicted become many, it pauses for as long as so many rows take to write, or a part or multiple of that.
    pub(super) fn pace(&self, core: &Core, rows: usize) {
        let cost = self.nanoseconds_a_row.load(Ordering::Relaxed);
        if cost == 0 || rows == 0 {
            return;
        }
        let total = core.budget.total().max(1);
        let (_, dirty) = core.dirty();
        let held = (dirty + self.writing_bytes.load(Ordering::Relaxed)) as f64 / total as f64;
        // Nothing up to 5/8 (the writer begins at one half); as fast as it writes at 3/4; a third of that when none is left.
        let pressure = ((held - 0.625) * 8.0).max(0.0);
        let pause =
            Duration::from_nanos((pressure * cost as f64 * rows as f64) as u64).min(LONGEST_PAUSE);
        if pause >= SHORTEST_PAUSE {
            thread::sleep(pause);
            core.counters.waited_us.fetch_add(pause.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// To be called when rows are on their way into a file, and with the opposite sign when they are there.
    pub(super) fn note_writing(&self, bytes: usize) {
        self.writing_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn note_written(&self, bytes: usize) {
        self.writing_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// To be called after rows have changed.
    pub(super) fn rows_changed(&self) {
        if self.asleep.load(Ordering::Relaxed) {
            self.wake.notify_all();
        }
    }

    /// To be called after rows were taken from memory, many at once: the cache grows from here.
    pub(super) fn memory_fell(&self, core: &Core) {
        self.used_then.fetch_min(core.budget.used(), Ordering::Relaxed);
    }

    /// Writes everything and waits for it.
    ///
    /// # Errors
    /// What the round failed with.
    pub(super) fn write_all(&self) -> Result<()> {
        self.round(Scope::All)
    }

    /// Waits until more rows can be evicted: until the next file of a round is done, which has some shards' rows, or a
    /// round that began after this was called is over, which is told by true.
    ///
    /// # Errors
    /// What the round failed with.
    pub(super) fn wait_for_room(&self) -> Result<bool> {
        let mut state = self.state.lock();
        let (round, files) = (state.begun + 1, state.files);
        state.wanted = state.wanted.max(Some(Scope::Pressed));
        self.wake.notify_all();
        while state.finished < round && state.files == files && !state.stopping {
            self.wait(&mut state)?;
        }
        match &state.failure {
            Some(error) if state.files == files => Err(error.clone()),
            _ => Ok(state.finished >= round),
        }
    }

    /// To be called when the rows of a file, which took so long, may be evicted.
    pub(super) fn file_is_done(&self, rows: usize, took: Duration) {
        // Small files say little.
        if rows >= 1024 {
            let (before, now) = (
                self.nanoseconds_a_row.load(Ordering::Relaxed),
                took.as_nanos() as u64 / rows as u64,
            );
            let average = if before == 0 { now } else { (3 * before + now) / 4 };
            self.nanoseconds_a_row.store(average.clamp(1, 100_000), Ordering::Relaxed);
        }
        self.state.lock().files += 1;
        self.done.notify_all();
    }

    /// Waits until the next file is done, or a while.
    ///
    /// # Errors
    /// `EXITING`.
    pub(super) fn wait_for_file(&self) -> Result<()> {
        self.wait(&mut self.state.lock())
    }

    fn wait(&self, state: &mut MutexGuard<'_, State>) -> Result<()> {
        self.done.wait_for(state, PATIENCE);
        if super::call::is_exiting() {
            return Err(Error::new(
                Status::Exiting,
                "the process is ending, and nothing is written any more",
            ));
        }
        Ok(())
    }

    /// Waits while the journal is twice as large as it should be.
    ///
    /// # Errors
    /// What keeps the writer from making it shorter.
    pub(super) fn wait_for_journal(&self, core: &Core) -> Result<()> {
        let Some(journal) = core.journal() else { return Ok(()) };
        while journal.bytes() > 2 * journal_limit(core) {
            let started = Instant::now();
            let outcome = self.round(Scope::All);
            core.counters
                .waited_us
                .fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
            outcome?;
        }
        Ok(())
    }

    fn round(&self, scope: Scope) -> Result<()> {
        let mut state = self.state.lock();
        let round = state.begun + 1;
        state.wanted = state.wanted.max(Some(scope));
        self.wake.notify_all();
        while state.finished < round && !state.stopping {
            self.wait(&mut state)?;
        }
        match &state.failure {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

fn journal_limit(core: &Core) -> u64 {
    (core.options.cache_bytes as u64).clamp(MIN_JOURNAL, MAX_JOURNAL)
}
