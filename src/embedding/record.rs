//! Record: all stored data of one row.

use super::Embedding;
use crate::error::Result;
use crate::storage::Record;

impl Embedding {
    /// Reads one row without creating it.
    ///
    /// # Errors
    /// `NOT_FOUND` when the key has no row; `OUT_OF_MEMORY`, `IO`, `CORRUPTION`.
    pub fn record(&self, key: i64) -> Result<Record> {
        self.storage.call(|core| self.table.record(core, key))
    }
}
