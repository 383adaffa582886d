//! The host's threads for one storage.

use super::Storage;
use crate::error::Result;
use crate::executor::Executor;

impl Storage {
    /// Replaces the storage's executor. Waits for the calls that use the one before.
    ///
    /// # Errors
    /// `FORKED`, `EXITING`.
    pub(crate) fn set_executor(&self, executor: Option<Box<dyn Executor>>) -> Result<()> {
        self.call(|engine| engine.pool.lent.set(executor))
    }
}
