//! Sum gradients: the sums with which apply_gradients steps, for a trainer that needs their norm
//! first or adds up several batches.

use super::Embedding;
use crate::engine::rows::Summed;
use crate::error::{Error, Result};

impl Embedding {
    /// Writes each key except the padding key once into `summed_keys`, and the sum of its
    /// `gradients`, `dim` floats, at the same place in `sums`. Gradients are added in the order of
    /// occurrence. With `duplicates` `Mean` the mean is written. Touches no row and no filter.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a wrong length, and for a gradient or sum that is NaN, infinite or
    /// beyond 1e18, naming its key; `OUT_OF_MEMORY`, `IO`. Nothing is written.
    pub fn sum_gradients(
        &self,
        keys: &[i64],
        gradients: &[f32],
        summed_keys: &mut [i64],
        sums: &mut [f32],
    ) -> Result<Summed> {
        let _call = self.storage.begin_call()?;
        self.check_floats("gradients", gradients.len(), keys.len())?;
        if summed_keys.len() < keys.len() {
            return Err(Error::invalid(format!(
                "summed_keys_len is {} and keys_len is {}; room for as many keys is needed",
                summed_keys.len(),
                keys.len()
            )));
        }
        if sums.len() < gradients.len() {
            return Err(Error::invalid(format!(
                "sums_len is {} and keys_len is {}; room for {} keys x dim {} = {} floats is \
                 needed",
                sums.len(),
                keys.len(),
                keys.len(),
                self.dim(),
                gradients.len()
            )));
        }
        let (given, room) = (self.gradients(keys, gradients), (summed_keys, sums));
        self.table.sum_gradients(self.storage.engine(), given, room)
    }
}
