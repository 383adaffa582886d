//! Record: all stored data of one row.

use super::Embedding;
use crate::engine::rows::Record;
use crate::error::Result;

impl Embedding {
    /// Reads one row without creating it.
    ///
    /// # Errors
    /// `NOT_FOUND` when the key has no row; `OUT_OF_MEMORY`, `IO`, `CORRUPTION`.
    pub fn record(&self, key: i64) -> Result<Record> {
        self.storage.call(|engine| self.table.record(engine, key))
    }
}
