//! Sync: brings all counts to disk.

use std::sync::atomic::Ordering;

use super::Filter;
use super::file::failed;
use crate::error::Result;
use crate::files::folder::sync_parent;

impl Filter {
    /// Returns once every addition that returned before the call would survive a loss of power.
    ///
    /// # Errors
    /// `IO`, `FORKED`.
    pub fn sync(&self) -> Result<()> {
        let opened = self.begin()?;
        // An addition from now on may miss this sync; it sets the flag again.
        self.is_ahead_of_disk.store(false, Ordering::SeqCst);
        let written = opened.map.flush().and_then(|()| sync_parent(&self.path));
        written.map_err(|error| {
            self.is_ahead_of_disk.store(true, Ordering::SeqCst);
            failed(&self.path, "cannot be written", &error)
        })
    }
}
