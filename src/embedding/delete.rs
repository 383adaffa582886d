//! Delete: removes rows.

use super::Embedding;
use crate::error::Result;

impl Embedding {
    /// Deletes the rows of `keys`; a key without a row is not an error. A later lookup makes a
    /// fresh row.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Nothing has changed.
    pub fn delete(&self, keys: &[i64]) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.storage.engine().check_writable()?;
        self.table.delete(self.storage.engine(), keys)
    }
}
