//! A shard's state of a cut, and the copies of rows for it.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use crate::cache::row::Row;
use crate::locks::Mutex;
use crate::seqno::Seqno;

/// A copy of a row as it was at the cut.
pub(crate) struct Kept {
    pub(crate) absent: bool,
    pub(crate) time: u64,
    pub(crate) updates: u64,
    pub(crate) seqno: Seqno,
    pub(crate) floats: Vec<f32>,
}

/// A row of the cut: still in its place, or a copy.
pub(crate) enum CutRow<'a> {
    InPlace(Row<'a>),
    Kept(Kept),
}

/// A shard's state of the cut that is being written.
#[derive(Default)]
pub(super) struct Cut {
    pub(super) is_open: AtomicBool,
    /// The value of EPOCH for rows that became dirty since the latest cut.
    pub(super) epoch: AtomicBool,
    /// A copy found no memory, so this cut cannot be written.
    pub(super) failed: AtomicBool,
    /// Locked last: by threads that hold a row.
    pub(super) kept: Mutex<HashMap<i64, Kept>>,
}

impl Kept {
    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<(i64, Kept)>() + 4 * self.floats.len()
    }
}
