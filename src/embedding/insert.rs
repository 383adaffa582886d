//! Insert: rows with given weights, for pretrained tables.

use super::Embedding;
use super::check::check_finite;
use crate::error::{Error, Result};

impl Embedding {
    /// Stores `weights`, `dim` floats a key, as fresh rows: with an update count of 0 and the
    /// optimizer's initial state (ftrl's is made to fit the weights). A row that exists is
    /// replaced; for a key given twice the last row counts.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a wrong length, for weights that are NaN or infinite, and for the
    /// padding key, which never has a row; `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Nothing
    /// has changed.
    pub fn insert(&self, keys: &[i64], weights: &[f32]) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.storage.engine().check_writable()?;
        self.check_floats("weights", weights.len(), keys.len())?;
        self.check_no_padding(keys)?;
        check_finite("weight", keys, (weights, self.dim()))?;
        self.table.insert(self.storage.engine(), keys, weights)
    }

    /// Stores whole rows, `row_len` floats a key, as [`Embedding::record`] reads them: training
    /// continues as at their source. `counts` has their update counts; empty means zeros. A row
    /// that exists is replaced; for a key given twice the last row counts.
    ///
    /// # Errors
    /// As [`Embedding::insert`].
    pub fn insert_records(&self, keys: &[i64], rows: &[f32], counts: &[u64]) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.storage.engine().check_writable()?;
        self.check_rows(rows.len(), keys.len())?;
        if !counts.is_empty() && counts.len() != keys.len() {
            return Err(Error::invalid(format!(
                "update_nums_len is {} and keys_len is {}; one count a key, or none, is needed",
                counts.len(),
                keys.len()
            )));
        }
        self.check_no_padding(keys)?;
        check_finite("row", keys, (rows, self.row_len()))?;
        self.check_squares(keys, rows)?;
        self.table.insert_records(self.storage.engine(), keys, rows, counts)
    }

    fn check_no_padding(&self, keys: &[i64]) -> Result<()> {
        match self
            .options
            .padding_key
            .and_then(|padding| keys.iter().position(|key| *key == padding))
        {
            None => Ok(()),
            Some(index) => Err(Error::invalid(format!(
                "key {} (position {index}) is the padding key, which reads as zeros and has no \
                 row; leave it out",
                keys[index]
            ))),
        }
    }
}
