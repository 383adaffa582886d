//! Prefetch: rows that will be needed are brought into memory while the caller does something else.

use std::sync::Arc;

use super::Storage;
use crate::engine::rows::OpenGroup;
use crate::error::Result;

impl Storage {
    /// Brings the rows of `keys` into memory in the background; those without a row are remembered as such.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; `IO` when the thread cannot be made. Nothing is said of what happens later.
    pub(crate) fn prefetch(&self, table: &Arc<OpenGroup>, keys: &[i64]) -> Result<()> {
        let _call = self.begin_call()?;
        self.handle.prefetcher.add(table, keys)
    }
}
