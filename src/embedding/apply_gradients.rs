//! Apply gradients: one optimizer step for each gradient, or for each key's sum or mean of them.

use super::Embedding;
use crate::error::Result;

impl Embedding {
    /// Steps the optimizer: `gradients` has `dim` floats a key in key order.
    ///
    /// A key that has no row gets one first. The option `duplicates` says what happens to a key
    /// given twice. The gradients of the padding key are dropped. With a filter the gradients of
    /// keys that are not admitted and have no row are dropped, too. The group's global step rises
    /// by one a call, even for an empty one. All rows and the step change together or not at all.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a wrong length and for a gradient that is NaN, infinite or beyond
    /// 1e18, naming its key; `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Nothing has changed.
    ///
    /// With the option `non_finite` "skip" a call with such a gradient is skipped. It is no error,
    /// and neither rows nor the step have changed.
    pub fn apply_gradients(&self, keys: &[i64], gradients: &[f32]) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.storage.engine().check_writable()?;
        self.check_floats("gradients", gradients.len(), keys.len())?;
        let given = self.gradients(keys, gradients);
        match self.attached.get() {
            None => self.table.apply_gradients(self.storage.engine(), given).map(drop),
            Some(filter) => self.apply_admitted_gradients(&filter, given).map(drop),
        }
    }
}
