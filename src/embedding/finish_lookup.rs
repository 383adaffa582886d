//! Finish_lookup: the second half of a lookup, after [`Embedding::begin_lookup`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Embedding;
use super::begin_lookup::{Begun, Lookup};
use crate::error::{Error, Result};
use crate::memory::filled;

impl Embedding {
    /// Makes `weights`, as [`Embedding::begin_lookup`] left them, what [`Embedding::lookup`] of the
    /// same keys writes now. Rows are made and a filter counts as in that lookup.
    ///
    /// Returns how many keys' weights it has written. `positions`, of one a key, begins with their
    /// positions, ascending. Weights at other positions are as they were.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a lookup that is finished, or was begun with another embedding, and
    /// for buffers of a wrong length: the lookup can still be finished. Otherwise as
    /// [`Embedding::lookup`], and the lookup is finished.
    pub fn finish_lookup(
        &self,
        lookup: &mut Lookup,
        weights: &mut [f32],
        positions: &mut [i64],
    ) -> Result<usize> {
        let _call = self.storage.begin_call()?;
        if !std::ptr::eq(lookup.table.as_ptr(), Arc::as_ptr(&self.table)) {
            return Err(Error::invalid(
                "the lookup was begun with another embedding; the one that began it is needed",
            ));
        }
        let keys = match &lookup.begun {
            Begun::Rows(begun) => begun.keys().len(),
            Begun::Keys(keys) => keys.len(),
            Begun::Finished => {
                return Err(Error::invalid(
                    "the lookup is finished; one that was begun and not finished is needed",
                ));
            }
        };
        self.check_floats("weights", weights.len(), keys)?;
        if positions.len() != keys {
            return Err(Error::invalid(format!(
                "positions_len is {}; {keys}, one position a key, is needed",
                positions.len()
            )));
        }
        let begun = std::mem::replace(&mut lookup.begun, Begun::Finished);
        match begun {
            Begun::Rows(mut begun) if self.makes_rows_freely() => {
                let engine = self.storage.engine();
                let finished = self.table.group().between_clears(|| {
                    self.table.finish_lookup(engine, &mut begun, weights, positions)
                });
                let finished = finished.map_err(|error| self.storage.in_dir(error))?;
                self.table.keep_finished(begun);
                engine.counters().own().rows_read.fetch_add(keys as u64, Ordering::Relaxed);
                Ok(finished)
            }
            Begun::Rows(begun) => self.look_up_anew(begun.keys(), weights, positions),
            Begun::Keys(keys) => self.look_up_anew(&keys, weights, positions),
            Begun::Finished => Ok(0),
        }
    }

    /// Whether every key that is looked up gets a row.
    fn makes_rows_freely(&self) -> bool {
        !self.storage.engine().is_read_only() && self.filter().is_none()
    }

    /// Looks all keys up, within the caller's call, and replaces the weights that differ.
    fn look_up_anew(
        &self,
        keys: &[i64],
        weights: &mut [f32],
        positions: &mut [i64],
    ) -> Result<usize> {
        let mut now = filled(0.0f32, weights.len())?;
        self.look_up(self.batch(keys), &mut now).map_err(|error| self.storage.in_dir(error))?;
        let mut changed = 0;
        let rows = weights.chunks_exact_mut(self.dim()).zip(now.chunks_exact(self.dim()));
        for (position, (row, now)) in rows.enumerate() {
            let bits: (&[u32], &[u32]) = (bytemuck::cast_slice(row), bytemuck::cast_slice(now));
            if bits.0 != bits.1 {
                row.copy_from_slice(now);
                positions[changed] = position as i64;
                changed += 1;
            }
        }
        Ok(changed)
    }
}
