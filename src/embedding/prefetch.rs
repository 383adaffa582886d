//! Prefetch: for a trainer that knows its next batch.

use super::Embedding;
use crate::error::Result;

impl Embedding {
    /// Brings the rows of `keys` into memory in the background and returns at once. It changes no row and creates none.
    /// A hint: when very many keys wait already, these are left out, and what goes wrong comes out when the rows are used.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; `IO` when the background thread cannot be made.
    pub fn prefetch(&self, keys: &[i64]) -> Result<()> {
        self.storage.prefetch(&self.table, keys)
    }
}
