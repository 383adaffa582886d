//! Compares each read without RocksDB with RocksDB's own answer: the feature `check-index`, for
//! tests.
//!
//! The two answers must be equal, except for what a merge has dropped. The list of files that a
//! read uses may be from before a merge, and RocksDB is always asked after the files. So the files
//! may have a row or a tombstone where RocksDB has nothing, and never the other way round. Merges
//! note what they drop (`dropped`). Only what they have noted may differ.
//!
//! No write comes between the two answers:
//!
//! - A load asks for keys that are not resident, and holds the group's lock `load`
//!   (`engine/rows/load.rs`). No key comes into memory without that lock, except in a group that is
//!   complete in memory. Nobody reads such a group from disk.
//! - Write-back writes resident rows only. A row leaves memory only after `Rocks::ingest` has
//!   counted its file.
//! - A clear waits for the same lock. After it the group is complete until its deletion is on disk
//!   and counted.

use super::Rocks;
use super::key;
use super::read_batch::{ReadFrom, ReadRows, read_rows_of};
use super::row::Found;
use crate::error::{Error, Result};

impl Rocks {
    /// Checks what was read from files for ascending keys of a group.
    ///
    /// # Errors
    /// `PANIC` if RocksDB's answer differs, and no merge explains that.
    pub(super) fn check_read(
        &self,
        from: ReadFrom<'_>,
        read: &ReadRows,
        group: u16,
        keys: &[i64],
        row_len: usize,
    ) -> Result<()> {
        // RocksDB also reads blocks that lookups do not need, so an error of it is no difference.
        let Ok(asked) = read_rows_of(self, None, group, keys, row_len) else { return Ok(()) };
        let is_wrong = |index: &usize| {
            let (found, key) = (read.found(*index), key::encode(group, keys[*index]));
            let was_dropped =
                asked.found(*index) == Found::Nothing && self.dropped.has(&key, found);
            !was_dropped && !read.is_same(&asked, *index, row_len)
        };
        let Some(index) = (0..keys.len()).find(is_wrong) else { return Ok(()) };
        // Read again, a wrong list gives the same answer. After a race the answer may differ.
        let again = |from| match read_rows_of(self, from, group, &keys[index..=index], row_len) {
            Ok(rows) => format!("{:?}", rows.found(0)),
            Err(error) => error.to_string(),
        };
        Err(Error::bug(format!(
            "group {group} key {}: SST files have {:?}, and RocksDB has {:?}{}; read again, the \
             same files have {}, and RocksDB has {}",
            keys[index],
            read.found(index),
            asked.found(index),
            if read.found(index) == asked.found(index) { " with other floats" } else { "" },
            again(Some(from)),
            again(None)
        )))
    }
}
