//! What has happened since the storage was opened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::stripes::Striped;

/// What has happened since the storage was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters(Striped<Counts>);

/// What the threads of a stripe have done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Keys asked for by lookup and peek.
    pub(crate) rows_read: AtomicU64,
    /// Rows that did not exist and were made.
    pub(crate) rows_created: AtomicU64,
    /// Optimizer steps taken.
    pub(crate) rows_updated: AtomicU64,
    /// Calls with wrong gradients that changed nothing.
    pub(crate) steps_skipped: AtomicU64,
    /// Keys of lookup and peek that were in memory.
    pub(crate) cache_hits: AtomicU64,
    /// Keys of lookup and peek that were not in memory.
    pub(crate) cache_misses: AtomicU64,
    /// Keys looked for on disk.
    pub(crate) rows_loaded: AtomicU64,
    /// Of these, keys that RocksDB was asked for.
    pub(crate) rows_loaded_by_rocksdb: AtomicU64,
    /// Blocks of SST files that were read for keys, by how they were read.
    pub(crate) blocks_read_mapped: AtomicU64,
    pub(crate) blocks_read_by_io_uring: AtomicU64,
    pub(crate) blocks_read_by_pread: AtomicU64,
    /// Rows that the writer has written to disk.
    pub(crate) rows_written: AtomicU64,
    /// Rows that merges wrote in databases that this storage has closed since.
    pub(crate) rows_merged: AtomicU64,
    /// Microseconds that calls have waited until the journal was shorter.
    pub(crate) waited_for_journal_us: AtomicU64,
    /// Microseconds that calls have waited until rows could be evicted.
    pub(crate) waited_for_room_us: AtomicU64,
    /// Microseconds that calls have waited for a cut, so that fewer rows have copies.
    pub(crate) waited_for_cut_us: AtomicU64,
    /// Microseconds that calls were slowed down, so that the writer keeps up.
    pub(crate) slowed_us: AtomicU64,
    /// Microseconds that the writer has waited for merges.
    pub(crate) writer_waited_us: AtomicU64,
}

impl Counts {
    /// Microseconds that calls have waited for the writer, for any reason.
    pub(crate) fn waited_us(&self) -> u64 {
        let counts = [
            &self.waited_for_journal_us,
            &self.waited_for_room_us,
            &self.waited_for_cut_us,
            &self.slowed_us,
        ];
        counts.map(|count| count.load(Ordering::Relaxed)).iter().sum()
    }
}

/// Adds the time since `started`, in microseconds.
pub(crate) fn add_time(count: &AtomicU64, started: Instant) {
    count.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
}

impl Counters {
    /// The counts to which the present thread adds.
    #[inline]
    pub(crate) fn own(&self) -> &Counts {
        self.0.own()
    }

    /// One count, over all threads.
    pub(crate) fn sum(&self, count: impl Fn(&Counts) -> u64) -> u64 {
        self.0.all().map(count).sum()
    }
}
