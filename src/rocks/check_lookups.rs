//! Compares each read without RocksDB with RocksDB's own answer: the feature `check-index`, for
//! tests.

use super::Rocks;
use super::read_batch::{ReadRows, read_rows_of};
use crate::error::{Error, Result};

/// How often both are read again. A merge may have dropped an expired row or a tombstone meanwhile.
const TRIES: usize = 5;

impl Rocks {
    /// Checks what was read for ascending keys of a group.
    ///
    /// # Errors
    /// `BUG` for another answer than RocksDB's.
    pub(super) fn check_read(
        &self,
        read: &ReadRows,
        group: u16,
        keys: &[i64],
        row_len: usize,
    ) -> Result<()> {
        let mut again = None;
        for _ in 0..TRIES {
            // RocksDB also reads blocks that lookups do not need. Its errors are not compared.
            let Ok(asked) = read_rows_of(self, None, group, keys, row_len) else { return Ok(()) };
            let read = again.as_ref().unwrap_or(read);
            if read.is_same(&asked) {
                return Ok(());
            }
            self.lookups.count_change();
            let Some(files) = self.lookup_files(keys.len()) else { return Ok(()) };
            again = Some(read_rows_of(self, Some(&files), group, keys, row_len)?);
        }
        Err(Error::bug(format!(
            "of {} keys of group {group} from {:?} on, SST files have other rows than RocksDB says",
            keys.len(),
            keys.first()
        )))
    }
}
