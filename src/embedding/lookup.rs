//! Lookup: the weights of every key, creating the rows that are missing.

use std::sync::atomic::Ordering;

use super::{Embedding, KeyBatch};
use crate::error::Result;
use crate::memory::filled;

impl Embedding {
    /// Writes the weights of `keys` into `weights`, `dim` floats a key in key order.
    ///
    /// A key without a row gets one. A key given twice gives the same row twice. The padding key
    /// reads as zeros. With a filter only admitted keys get rows, see [`Embedding::set_filter`]. In
    /// a storage that is open with `read_only` no key gets one: a key without a row reads as its
    /// initial weights.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when `weights` does not hold `keys.len() * dim` floats; `POISONED`,
    /// `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. `weights` may be partly written; no row has changed.
    pub fn lookup(&self, keys: &[i64], weights: &mut [f32]) -> Result<()> {
        self.try_lookup(keys, weights).map_err(|error| self.storage.in_dir(error))
    }

    fn try_lookup(&self, keys: &[i64], weights: &mut [f32]) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.check_floats("weights", weights.len(), keys.len())?;
        self.look_up(self.batch(keys), weights)
    }

    /// As [`Embedding::lookup`], within a call that has begun.
    pub(crate) fn look_up(&self, batch: KeyBatch<'_>, weights: &mut [f32]) -> Result<()> {
        let engine = self.storage.engine();
        let group = self.table.group();
        match self.attached.get() {
            _ if engine.is_read_only() => self.lookup_read_only(batch, weights)?,
            None => group.between_clears(|| self.table.lookup(engine, batch, weights))?,
            Some(filter) => self.lookup_admitted(&filter, batch, weights)?,
        }
        engine.counters().own().rows_read.fetch_add(batch.count(), Ordering::Relaxed);
        Ok(())
    }

    fn lookup_read_only(&self, batch: KeyBatch<'_>, weights: &mut [f32]) -> Result<()> {
        let KeyBatch { keys, padding, .. } = batch;
        let mut found = filled(0u8, keys.len())?;
        self.table.peek(self.storage.engine(), batch, weights, Some(&mut found))?;
        let rows = weights.chunks_exact_mut(self.dim());
        for ((key, found), row) in keys.iter().zip(found).zip(rows) {
            if found == 0 && Some(*key) != padding {
                self.table.fill_first_weights(*key, row);
            }
        }
        Ok(())
    }
}
