//! Forget client: a caller that numbers its calls begins anew.

use super::Storage;
use crate::error::Result;

impl Storage {
    /// Forgets a client in all groups, as durably as a call that changes rows. Its next call counts
    /// as its first one, whatever its number. Returns whether a group knew the client.
    ///
    /// No call of the client may be under way.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`, `FORKED`, `EXITING`; `NOT_SUPPORTED` with `read_only`.
    /// Nothing has changed.
    pub fn forget_client(&self, client: u64) -> Result<bool> {
        self.call(|engine| {
            engine.check_writable()?;
            engine.forget_client(client)
        })
    }
}
