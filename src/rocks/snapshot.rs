//! Everything as it is at one moment, read in the order of keys.

use rust_rocksdb::{DB, ReadOptions};

use super::{KeyRange, Rocks, translate};
use crate::error::Result;

/// How many bytes are read ahead: enough for a disk to be at its best, and all the memory that a
/// scan takes.
const READ_AHEAD: usize = 1 << 20;

/// What the database has at the moment it is made, whatever is written later.
pub(crate) struct Snapshot<'a> {
    snapshot: rust_rocksdb::SnapshotWithThreadMode<'a, DB>,
}

impl Rocks {
    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { snapshot: self.db.snapshot() }
    }
}

impl Snapshot<'_> {
    /// Hands each key and value of a range to `visit`, by ascending keys, until it returns false.
    /// The checksums of blocks are compared.
    pub(crate) fn scan(
        &self,
        range: &KeyRange,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_readahead_size(READ_AHEAD);
        if let Some(end) = range.end {
            options.set_iterate_upper_bound(end.to_vec());
        }
        let mut iterator = self.snapshot.raw_iterator_opt(options);
        iterator.seek(range.start);
        while let Some((key, value)) = iterator.item() {
            if !visit(key, value)? {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|error| translate(&error))
    }
}
