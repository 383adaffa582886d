//! The signal between callers and the writer's thread: which write-back round is wanted, begun and
//! finished, and who waits for it. Knows no rows.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result, Status};
use crate::locks::{Condvar, Mutex, MutexGuard};

/// How often the writer looks for work while calls change rows.
const PERIOD: Duration = Duration::from_millis(10);
/// How long the writer rests after a failed round, unless somebody asks.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long a call waits for a round before it looks again.
const PATIENCE: Duration = Duration::from_millis(100);

/// Which rows a round writes. Each scope includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The rows that were used least, so that they can be evicted: a quarter of those that have
    /// changed, or more.
    Cold,
    /// Every row that has changed, so that any can be evicted.
    Pressed,
    /// As `Pressed`, and everything that the journal's calls have changed, so that it can be
    /// dropped.
    All,
    /// Everything as it is at one moment, and nothing later: afterwards the disk has exactly that
    /// (`cut.rs`).
    Cut,
}

pub(crate) struct Signal {
    state: Mutex<State>,
    wake: Condvar,
    done: Condvar,
    /// True while the writer sleeps until rows change.
    asleep: AtomicBool,
    /// How long writing a row has lately taken, in nanoseconds; 0 when unknown.
    pub(super) nanoseconds_a_row: AtomicU64,
    /// Bytes of rows in files that RocksDB has not taken over yet.
    pub(super) writing_bytes: AtomicUsize,
    /// Bytes of memory that rows took when the last round ended.
    pub(super) used_then: AtomicUsize,
    /// How many files were unmerged when merging made no progress; u64::MAX while it does.
    pub(super) merging_stuck_at: AtomicU64,
}

impl Default for Signal {
    fn default() -> Signal {
        Signal {
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
    /// The largest scope that was asked for since the last round began.
    wanted: Option<Scope>,
    /// How many rounds have begun, and how many of these are finished.
    begun: u64,
    finished: u64,
    /// How many files RocksDB has taken over, in all rounds.
    files: u64,
    /// The last round's error, if it failed.
    failure: Option<Error>,
}

impl Signal {
    /// Waits until a round is asked for or `needed`, and begins it. Returns its scope, and whether
    /// somebody has asked; None when the storage closes. Until then it calls `tidy` now and then,
    /// without a lock, while no round is asked for.
    pub(crate) fn next(
        &self,
        needed: impl Fn() -> Option<Scope>,
        tidy: impl Fn(),
    ) -> Option<(Scope, bool)> {
        let mut idle_rounds = 0;
        let has_failed = self.state.lock().failure.is_some();
        let mut not_before = has_failed.then(|| Instant::now() + AFTER_FAILURE);
        loop {
            let is_idle = {
                let state = self.state.lock();
                state.wanted.is_none() && !state.stopping
            };
            if is_idle {
                tidy();
            }
            let mut state = self.state.lock();
            if state.stopping {
                return None;
            }
            let wanted = state.wanted.take();
            let rested = not_before.is_none_or(|time| Instant::now() >= time);
            let needed = if rested { needed() } else { None };
            if let Some(scope) = wanted.into_iter().chain(needed).max() {
                state.begun += 1;
                return Some((scope, wanted.is_some()));
            }
            if rested {
                not_before = None;
            }
            // A while after the last change the writer sleeps until `rows_changed` wakes it, or a
            // second.
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

    /// Ends the round that [`Signal::next`] began. Rows take `used` bytes of memory now.
    pub(super) fn end_round(&self, outcome: Result<()>, used: usize) {
        self.used_then.store(used, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.finished = state.begun;
        state.failure = outcome.err();
        self.done.notify_all();
    }

    /// Ends the thread, after a round under way.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.wake.notify_all();
    }

    /// Notes that rows of this many bytes are on their way into a file.
    pub(super) fn note_writing(&self, bytes: usize) {
        self.writing_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that rows of this many bytes have left their file, written or not.
    pub(super) fn note_written(&self, bytes: usize) {
        self.writing_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Wakes the writer if it sleeps. Call it after rows have changed.
    pub(in crate::engine) fn rows_changed(&self) {
        if self.asleep.load(Ordering::Relaxed) {
            self.wake.notify_all();
        }
    }

    /// Has the writer look for work now, and not only after a while.
    pub(super) fn wake(&self) {
        self.wake.notify_all();
    }

    /// Notes that many rows were taken from memory at once. The cache grows from here.
    pub(in crate::engine) fn memory_fell(&self, used: usize) {
        self.used_then.fetch_min(used, Ordering::Relaxed);
    }

    /// Writes everything and waits for it.
    ///
    /// # Errors
    /// What the round failed with.
    pub(crate) fn write_all(&self) -> Result<()> {
        self.round(Scope::All)
    }

    /// Waits until more rows can be evicted: until RocksDB has taken over the next file of a round,
    /// which has some shards' rows, or until a round that began after this call is over. True in
    /// the second case.
    ///
    /// # Errors
    /// What the round failed with.
    pub(in crate::engine) fn wait_for_room(&self) -> Result<bool> {
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

    /// Notes that the rows of a file may be evicted. `took` is the file's time divided by the
    /// threads that were writing.
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

    /// Waits until the next file is done, or for a while.
    ///
    /// # Errors
    /// `EXITING`.
    pub(in crate::engine) fn wait_for_file(&self) -> Result<()> {
        self.wait(&mut self.state.lock())
    }

    fn wait(&self, state: &mut MutexGuard<'_, State>) -> Result<()> {
        self.done.wait_for(state, PATIENCE);
        if crate::process::is_ending() {
            return Err(Error::new(
                Status::Exiting,
                "the process is ending, and nothing is written any more",
            ));
        }
        Ok(())
    }

    /// Asks for a round of this scope, and waits until it is over.
    ///
    /// # Errors
    /// The round's error; `EXITING`.
    pub(crate) fn round(&self, scope: Scope) -> Result<()> {
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
