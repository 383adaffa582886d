//! Clear: removes all rows of a group at once.

use super::Embedding;
use crate::error::Result;

impl Embedding {
    /// Removes all rows of the group at once and sets its global step to 0. Every other call on the
    /// group happens wholly before or wholly after. An iterator, dump or checkpoint that began
    /// before has the rows of its moment. An attached filter keeps its counts.
    ///
    /// # Errors
    /// `POISONED`, `IO`. Nothing has changed.
    pub fn clear(&self) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.storage.engine().check_writable()?;
        self.table.clear(self.storage.engine())
    }
}
