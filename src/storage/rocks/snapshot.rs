//! Everything as it is at one moment, read in order of the keys.

use rust_rocksdb::{DB, ReadOptions};

use super::{Rocks, translate};
use crate::error::Result;
use crate::storage::key;

/// Rows are read ahead by so many bytes: a disk is at its best then, and it is all the memory that a scan takes.
const READ_AHEAD: usize = 2 << 20;

/// What the database holds now, whatever is written later.
pub(in crate::storage) struct Snapshot<'a> {
    snapshot: rust_rocksdb::SnapshotWithThreadMode<'a, DB>,
}

impl Rocks {
    pub(in crate::storage) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { snapshot: self.db.snapshot() }
    }
}

impl Snapshot<'_> {
    /// Hands each key and value of a group, or of all, to `visit`, by ascending keys, until it returns false. Blocks' checksums
    /// are looked at.
    pub(in crate::storage) fn scan(
        &self,
        group: Option<u16>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_readahead_size(READ_AHEAD);
        if let Some(next) = group.and_then(|group| group.checked_add(1)) {
            options.set_iterate_upper_bound(key::encode(next, i64::MIN).to_vec());
        }
        let mut iterator = self.snapshot.raw_iterator_opt(options);
        iterator.seek(key::encode(group.unwrap_or(0), i64::MIN));
        while let Some((key, value)) = iterator.item() {
            if !visit(key, value)? {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|error| translate(&error))
    }
}
