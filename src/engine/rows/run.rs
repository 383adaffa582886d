//! The keys of a part that belong to one shard. They lie side by side, so the shard is locked once
//! for all of them.

use std::ops::Range;

/// Some of a part's keys, with the positions where they occur.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) shard: usize,
    /// Indexes in the part's `keys`.
    pub(super) keys: Range<usize>,
    /// Indexes in the part's `positions`.
    pub(super) positions: Range<usize>,
}
