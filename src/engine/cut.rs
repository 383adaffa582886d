//! Cut: brings the state of one moment to disk while calls go on.
//!
//! At that moment no call is between its journal entry and its last row. The rows that were dirty
//! then are written to files. A row that a call changes before it is written is first copied as it
//! was (`cache::shard::cutting`). No other write-back round writes rows until the cut has been
//! used. Until then the disk has exactly the rows of the moment, so a snapshot or hard links of it
//! are the cut.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Engine;
use super::counters::add_time;
use super::writer::round::{Described, Round, threads_for};
use super::writer::signal::Scope;
use crate::cache::GroupCache;
use crate::error::{Error, Result};
use crate::rocks::Rocks;
use crate::seqno::Seqno;

/// A moment whose state is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The sequence number of the last call in it.
    pub(crate) seqno: Seqno,
    /// Milliseconds since 1970.
    pub(crate) time: u64,
    /// Rows that were last updated before this had expired.
    pub(crate) cutoff: u64,
}

/// Dirty rows beyond `cache_bytes / DIRTY_PART` are written before a cut begins, so that fewer have
/// to be copied.
const DIRTY_PART: usize = 8;
/// Copies of rows that change while a cut is written may take `cache_bytes / KEPT_PART`, or
/// `MIN_KEPT_BYTES` where that is more.
const KEPT_PART: usize = 16;
const MIN_KEPT_BYTES: usize = 1 << 20;

impl Engine {
    /// Brings the state of this moment to disk, and runs `work` while the disk has no later row.
    /// Callers do not wait for `work`. It should be short all the same: rows that change meanwhile
    /// are written only when it is over.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`, `POISONED`, and what `work` returns. Nothing is lost.
    pub(crate) fn with_cut<'a, T>(
        &self,
        rocks: &'a Rocks,
        work: impl FnOnce(Cut) -> Result<T> + 'a,
    ) -> Result<T> {
        self.cut(rocks, work).inspect_err(|_| self.free_space())
    }

    fn cut<'a, T>(&self, rocks: &'a Rocks, work: impl FnOnce(Cut) -> Result<T> + 'a) -> Result<T> {
        if self.dirty().1 > self.options.cache_bytes / DIRTY_PART {
            self.writer.write_all()?;
        }
        let _rounds = self.rounds.lock();
        let round = Round::new(self, rocks, Scope::Cut, threads_for(self, true));
        round.wait_for_merges()?;
        self.write_clears(rocks)?;
        let open = OpenCut::begin(self)?;
        round.write_rows()?;
        let groups = self.groups();
        groups.iter().try_for_each(|group| group.check_not_poisoned())?;
        round.write_documents(Some((open.cut.seqno, open.cut.time)), &open.described)?;
        let cut = open.end();
        work(cut)
    }

    /// Waits while a cut is under way and the copies of rows that changed since take too much.
    ///
    /// # Errors
    /// `EXITING`.
    pub(super) fn wait_for_kept(&self) -> Result<()> {
        let limit = (self.options.cache_bytes / KEPT_PART).max(MIN_KEPT_BYTES);
        let must_wait = || self.cut_is_open.load(Ordering::Acquire) && self.kept_bytes() > limit;
        if !must_wait() {
            return Ok(());
        }
        let started = Instant::now();
        let mut outcome = Ok(());
        while outcome.is_ok() && must_wait() {
            outcome = self.writer.wait_for_file();
        }
        add_time(&self.counters.own().waited_for_cut_us, started);
        outcome
    }
}

/// A cut under way: rows are copied before they change. Dropping it ends that. Unless it is
/// complete, its rows that were not written belong to the next cut.
struct OpenCut<'a> {
    engine: &'a Engine,
    cut: Cut,
    described: Vec<Described>,
    caches: Vec<Arc<GroupCache>>,
    is_complete: bool,
}

impl<'a> OpenCut<'a> {
    fn begin(engine: &'a Engine) -> Result<OpenCut<'a>> {
        // From here to the end of this function no call is between its journal entry and its last
        // row.
        let _between_calls = engine.stepping.write();
        let Some((seqno, time)) = engine.end_of_calls()? else {
            return Err(Error::invalid("the storage is being opened"));
        };
        // Before the cut passes any shard: see `Moment::seqno`.
        engine.cut_seqno.store(seqno, Ordering::Release);
        let described = engine.describe_groups()?;
        let groups = engine.groups();
        let caches: Vec<_> = groups.iter().filter_map(|group| group.cache()).collect();
        for cache in &caches {
            (0..cache.shard_count()).for_each(|shard| cache.lock(shard).begin_cut());
        }
        engine.cut_is_open.store(true, Ordering::Release);
        let cut = Cut { seqno, time, cutoff: engine.expiry.cutoff_at(time) };
        Ok(OpenCut { engine, cut, described, caches, is_complete: false })
    }

    /// Completes the cut: everything is on disk.
    fn end(mut self) -> Cut {
        self.is_complete = true;
        self.cut
    }
}

impl Drop for OpenCut<'_> {
    fn drop(&mut self) {
        for cache in &self.caches {
            (0..cache.shard_count()).for_each(|shard| cache.lock(shard).end_cut(self.is_complete));
        }
        self.engine.cut_is_open.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::embedding::Embedding;
    use crate::initializer::Initializer;
    use crate::optimizer::Optimizer;
    use crate::params::Params;
    use crate::storage::Storage;

    #[test]
    fn waits_for_a_cut_are_counted() {
        const DIM: usize = 256;
        let dir = tempfile::tempdir().unwrap();
        let options = Params::new().with("cache_bytes", 16 << 20).unwrap();
        let storage = Storage::open(dir.path(), 0, &options).unwrap();
        let sgd = Arc::new(Optimizer::new("sgd", &Params::new(), None).unwrap());
        let ones = Arc::new(Initializer::new("ones", &Params::new()).unwrap());
        let table = Embedding::new(storage.clone(), sgd, ones, DIM, 0, &Params::new()).unwrap();
        // Copies of these rows take 1.5 MiB; 1 MiB is allowed.
        let keys: Vec<i64> = (0..1500).collect();
        let step = || table.apply_gradients(&keys, &vec![1.0; keys.len() * DIM]).unwrap();
        step();
        let engine = storage.engine();
        let stat = |name| storage.stat(name).unwrap();
        let rounds = engine.rounds.lock();
        let cut = OpenCut::begin(engine).unwrap();
        step();
        assert!(engine.kept_bytes() > MIN_KEPT_BYTES);
        assert_eq!(stat("waited_for_cut_us"), 0);
        thread::scope(|scope| {
            let waiting = scope.spawn(step);
            thread::sleep(Duration::from_millis(200));
            assert!(!waiting.is_finished());
            drop(cut);
        });
        drop(rounds);
        assert!(stat("waited_for_cut_us") > 0);
        assert!(stat("waited_us") >= stat("waited_for_cut_us"));
    }
}
