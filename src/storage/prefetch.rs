//! Prefetch: loads rows into memory while the caller does something else.

use std::sync::Arc;

use super::Storage;
use crate::engine::rows::OpenGroup;
use crate::error::Result;

impl Storage {
    /// Loads the rows of `keys` into memory, in the background. A key without a row is remembered
    /// as having none.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; `IO` when the thread cannot be made. Later errors are not reported.
    pub(crate) fn prefetch(&self, table: &Arc<OpenGroup>, keys: &[i64]) -> Result<()> {
        let _call = self.begin_call()?;
        self.handle.prefetcher.add(table, keys)
    }
}
