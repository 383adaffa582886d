//! The writer: a thread that brings changed rows to disk, so that callers need not, and the places where callers wait
//! for it when they are faster.
//!
//! It starts a round when the journal has grown enough that replaying it would take seconds, when so much of the
//! cache is dirty that rows could soon not be evicted, and when somebody asks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::round::{Round, Scope};
use super::{Call, Core};
use crate::error::{Error, Result, Status};

/// A journal of so many bytes is brought to disk: enough that rows which change in every call are written seldom.
const MAX_JOURNAL: u64 = 1 << 30;
const MIN_JOURNAL: u64 = 64 << 20;
/// How often the writer looks while calls change rows.
const PERIOD: Duration = Duration::from_millis(10);
/// How long it rests after a failed round before it tries again unasked.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long a call waits for a round before it looks again.
const PATIENCE: Duration = Duration::from_millis(100);

pub(super) struct Writer {
    state: Mutex<State>,
    wake: Condvar,
    done: Condvar,
    /// True while the writer sleeps until rows change.
    asleep: AtomicBool,
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
        let thread = thread::Builder::new()
            .name("damo-writer".to_owned())
            .spawn(move || worker.writer.work(&worker))
            .map_err(|error| Error::io(format!("the writer's thread cannot be made here: {error}")))?;
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
                let outcome = Round::new(core, scope).run();
                core.give_back_excess();
                outcome
            }));
            drop(call);
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
        if core.journal().is_some_and(|journal| journal.bytes() >= journal_limit(core)) {
            return Some(Scope::All);
        }
        if core.budget.is_nearly_full() {
            let (_, dirty) = core.dirty();
            if dirty > core.budget.total() / 2 {
                return Some(Scope::Cold);
            }
        }
        None
    }

    /// To be called after rows have changed.
    pub(super) fn rows_changed(&self) {
        if self.asleep.load(Ordering::Relaxed) {
            self.wake.notify_all();
        }
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

    /// To be called when the rows of a file may be evicted.
    pub(super) fn file_is_done(&self) {
        self.state.lock().files += 1;
        self.done.notify_all();
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
            core.counters.waited_us.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
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
