//! How a storage is opened.

use crate::rocks::Resources;

/// What survives once a call has returned; see docs/durability.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// A call survives anything that kills the process.
    Process,
    /// A call survives that, and the machine losing power.
    Power,
    /// Only what flush or closing has written survives; the fastest.
    Checkpoint,
}

/// The options with their defaults filled in.
#[derive(Clone, Copy, Debug)]
pub struct StorageOptions {
    /// Bytes of memory for rows, and for the indexes and filters of SST files.
    pub(crate) cache_bytes: usize,
    pub(crate) durability: Durability,
    /// Threads for work inside the library.
    pub(crate) threads: usize,
    /// The most threads that read rows from disk.
    pub(crate) readers: usize,
    /// Rows may be read from mapped files.
    pub(crate) mapped_reads: bool,
    /// Rows may be read by io_uring.
    pub(crate) io_uring: bool,
    /// Nothing in the directory changes.
    pub(crate) read_only: bool,
}

impl StorageOptions {
    /// RocksDB's part of the options.
    pub(crate) fn resources(&self) -> Resources {
        let &StorageOptions { cache_bytes, threads, read_only, .. } = self;
        Resources { cache_bytes, threads, read_only }
    }
}
