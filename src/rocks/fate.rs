//! What merging does with a row.

/// What becomes of a row when RocksDB merges files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Stay,
    Go,
    /// These bytes replace the row: a tombstone, for increments.
    Leave(&'static [u8]),
}
