//! Cut: the state of one moment, between calls, on disk, while calls go on.
//!
//! The moment is when no call is between its record in the journal and its last row. What was dirty then becomes files; what
//! calls change meanwhile is kept as it was (`cache::shard::cut`). No other round writes rows until the cut has been
//! used, so at that time the disk has exactly what there was at the moment: a snapshot or hard links of it are the cut.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Engine;
use super::writer::round::Round;
use super::writer::signal::Scope;
use crate::cache::GroupCache;
use crate::error::{Error, Result};
use crate::rocks::Rocks;

/// A moment that the disk has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The number of the last call in it.
    pub(crate) number: u64,
    /// Milliseconds since 1970.
    pub(crate) time: u64,
    /// Rows that were last updated before this had expired.
    pub(crate) cutoff: u64,
}

/// What of the cache may be dirty when a cut begins: beyond this it is written before, so that less has to be kept.
const DIRTY_PART: usize = 8;
/// What the copies of rows that change while a cut is written may take of `cache_bytes`, and at least.
const KEPT_PART: usize = 16;
const MIN_KEPT_BYTES: usize = 1 << 20;

impl Engine {
    /// Brings the state of this moment to disk and runs `work` while the disk has nothing else. Work should be short: callers
    /// do not wait for it, but rows that change meanwhile are not written before it is over.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`, `POISONED`, and what `work` returns. Nothing is lost.
    pub(crate) fn with_cut<'a, T>(
        &self,
        rocks: &'a Rocks,
        work: impl FnOnce(Cut) -> Result<T> + 'a,
    ) -> Result<T> {
        if self.dirty().1 > self.options.cache_bytes / DIRTY_PART {
            self.writer.write_all()?;
        }
        let _rounds = self.rounds.lock();
        let mut round = Round::new(self, rocks, Scope::Cut);
        round.wait_for_merges()?;
        self.write_clears(rocks)?;
        let open = OpenCut::begin(self)?;
        round.write_rows()?;
        let groups = self.groups();
        groups.iter().try_for_each(|group| group.check_not_poisoned())?;
        round.write_documents(Some((open.cut.number, open.cut.time)), &open.steps)?;
        drop(round);
        let cut = open.end();
        work(cut)
    }

    /// Waits while much is kept of rows that calls have changed since the cut that is being written.
    ///
    /// # Errors
    /// `EXITING`.
    pub(super) fn wait_for_kept(&self) -> Result<()> {
        let limit = (self.options.cache_bytes / KEPT_PART).max(MIN_KEPT_BYTES);
        while self.cut_is_open.load(Ordering::Acquire) && self.kept_bytes() > limit {
            self.writer.wait_for_file()?;
        }
        Ok(())
    }
}

/// A cut whose rows are kept; given up when dropped.
struct OpenCut<'a> {
    engine: &'a Engine,
    cut: Cut,
    steps: Vec<(u16, i64)>,
    caches: Vec<Arc<GroupCache>>,
    is_complete: bool,
}

impl<'a> OpenCut<'a> {
    fn begin(engine: &'a Engine) -> Result<OpenCut<'a>> {
        // Calls are over, or have not begun, from here to the end of this function.
        let _between_calls = engine.stepping.write();
        let Some((number, time)) = engine.end_of_calls()? else {
            return Err(Error::invalid("the storage is being opened"));
        };
        // Before any shard is passed: see `Moment::number`.
        engine.cut_number.store(number, Ordering::Release);
        let groups = engine.groups();
        let steps = groups.iter().map(|group| (group.id(), group.step())).collect();
        let caches: Vec<_> = groups.iter().filter_map(|group| group.cache()).collect();
        for cache in &caches {
            (0..cache.shard_count()).for_each(|shard| cache.lock(shard).begin_cut());
        }
        engine.cut_is_open.store(true, Ordering::Release);
        let cut = Cut { number, time, cutoff: engine.expiry.cutoff_at(time) };
        Ok(OpenCut { engine, cut, steps, caches, is_complete: false })
    }

    /// Everything is on disk.
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
