//! What has happened since the storage was opened.

use std::sync::atomic::AtomicU64;

/// What has happened since the storage was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Keys asked for by lookup and peek.
    pub(crate) rows_read: AtomicU64,
    /// Rows that did not exist and were made.
    pub(crate) rows_created: AtomicU64,
    /// Optimizer steps taken.
    pub(crate) rows_updated: AtomicU64,
    /// Keys of lookup and peek that were in memory.
    pub(crate) cache_hits: AtomicU64,
    /// Keys of lookup and peek that were not in memory.
    pub(crate) cache_misses: AtomicU64,
    /// Keys looked for on disk.
    pub(crate) rows_loaded: AtomicU64,
    /// Rows that the writer has written to disk.
    pub(crate) rows_written: AtomicU64,
    /// Microseconds that calls have waited for the writer.
    pub(crate) waited_us: AtomicU64,
}
