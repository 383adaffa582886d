//! Clear: a group that is as if nobody had ever used it.

use super::Embedding;
use crate::error::Result;

impl Embedding {
    /// Takes all rows from the group in one moment, whatever their number, and sets its global step
    /// to 0. Each other call on the group is wholly before or wholly after; an iterator, a dump or
    /// a checkpoint that began before has the rows of its moment. What an attached filter has
    /// counted stays.
    ///
    /// # Errors
    /// `POISONED`, `IO`. Nothing has changed then.
    pub fn clear(&self) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.storage.core().check_writable()?;
        self.table.clear(self.storage.core())
    }
}
