//! Insert: rows with given weights, for pretrained tables.

use super::Embedding;
use crate::error::{Error, Result};

impl Embedding {
    /// Stores `weights`, `dim` floats a key, as fresh rows: no gradients counted, the optimizer's state zero. A row
    /// that exists is replaced; of a key given twice the last row counts.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a wrong length, for weights that are NaN or infinite, and for the padding key, which
    /// never has a row; `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Nothing has changed then.
    pub fn insert(&self, keys: &[i64], weights: &[f32]) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.check_floats("weights", weights.len(), keys.len())?;
        if let Some(padding) = self.options.padding_key
            && let Some(index) = keys.iter().position(|key| *key == padding)
        {
            return Err(Error::invalid(format!(
                "key {padding} (position {index}) is the padding key, which reads as zeros and has no row; leave it out"
            )));
        }
        self.check_each("weight", keys, weights, f32::is_finite, "finite numbers")?;
        self.table.insert(self.storage.core(), keys, weights)
    }
}
