//! The group's global step, which drives the learning-rate schedule.

use super::Embedding;
use crate::error::{Error, Result};

impl Embedding {
    /// The number of apply_gradients calls so far, over all openings, counted from the value that
    /// the step was last set to.
    ///
    /// # Errors
    /// `FORKED`.
    pub fn step(&self) -> Result<i64> {
        let _call = self.storage.begin_call()?;
        Ok(self.table.group().step())
    }

    /// Sets the global step and stores it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a negative step; `POISONED`, `IO`.
    pub fn set_step(&self, step: i64) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.storage.engine().check_writable()?;
        if step < 0 {
            return Err(Error::invalid(format!("step is {step}; a number >= 0 is needed")));
        }
        self.table.set_step(self.storage.engine(), step)
    }
}
