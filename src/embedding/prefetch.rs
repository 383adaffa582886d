//! Prefetch: loads rows early, for a trainer that knows its next batch.

use super::Embedding;
use crate::error::Result;

impl Embedding {
    /// Loads the rows of `keys` into memory in the background and returns at once. Changes no row
    /// and creates none. It is a hint: when very many keys are waiting already, these are left out.
    /// An error in loading comes up when the rows are used.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; `IO` when the background thread cannot be made.
    pub fn prefetch(&self, keys: &[i64]) -> Result<()> {
        self.storage.prefetch(&self.table, keys)
    }
}
