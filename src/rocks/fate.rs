//! The answers to what becomes of a row when RocksDB merges files. Whoever opens the database gives
//! them.

/// What becomes of a row when RocksDB merges files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Stay,
    Go,
    /// These bytes replace the row: a tombstone, for increments.
    Leave(&'static [u8]),
}
