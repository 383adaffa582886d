//! Record: everything that is kept of one row.

use super::Embedding;
use crate::error::Result;
use crate::storage::Record;

impl Embedding {
    /// Reads one row without creating it.
    ///
    /// # Errors
    /// `NOT_FOUND` when the key has no row; `OUT_OF_MEMORY`, `IO`, `CORRUPTION`.
    pub fn record(&self, key: i64) -> Result<Record> {
        let _call = self.storage.begin_call()?;
        self.table.record(self.storage.core(), key)
    }
}
