//! Peek: the weights of the keys that have rows, creating nothing.

use std::sync::atomic::Ordering;

use super::{Embedding, KeyBatch};
use crate::error::Result;
use crate::limits::check_found;

impl Embedding {
    /// Writes the weights of `keys` into `weights`, `dim` floats a key in key order. A key without
    /// a row reads as zeros, as it does in a served table. `found`, if given, gets 1 for a key with
    /// a row and 0 for any other.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when a buffer has the wrong length; `IO`, `CORRUPTION`.
    pub fn peek(&self, keys: &[i64], weights: &mut [f32], found: Option<&mut [u8]>) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.check_floats("weights", weights.len(), keys.len())?;
        found.as_ref().map_or(Ok(()), |found| check_found(found.len(), keys.len()))?;
        let peeked = self.peek_found(self.batch(keys), weights, found);
        peeked.map_err(|error| self.storage.in_dir(error))
    }

    /// As [`Embedding::peek`], within a call that has begun.
    pub(crate) fn peek_rows(&self, batch: KeyBatch<'_>, weights: &mut [f32]) -> Result<()> {
        self.peek_found(batch, weights, None)
    }

    fn peek_found(
        &self,
        batch: KeyBatch<'_>,
        weights: &mut [f32],
        mut found: Option<&mut [u8]>,
    ) -> Result<()> {
        let engine = self.storage.engine();
        self.table
            .group()
            .between_clears(|| self.table.peek(engine, batch, weights, found.as_deref_mut()))?;
        engine.counters().own().rows_read.fetch_add(batch.count(), Ordering::Relaxed);
        Ok(())
    }
}
