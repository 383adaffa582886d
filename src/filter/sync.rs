//! Sync: what was counted is on disk.

use std::sync::atomic::Ordering;

use super::Filter;
use super::file::{failed, synchronise_folder};
use crate::error::Result;

impl Filter {
    /// Returns once every addition that returned before would survive the machine losing power, too.
    ///
    /// # Errors
    /// `IO`, `FORKED`.
    pub fn sync(&self) -> Result<()> {
        let opened = self.begin()?;
        // What changes from now on may not be on disk afterwards, and says so itself.
        self.is_ahead_of_disk.store(false, Ordering::SeqCst);
        let written = opened.map.flush().and_then(|()| synchronise_folder(&self.path));
        written.map_err(|error| {
            self.is_ahead_of_disk.store(true, Ordering::SeqCst);
            failed(&self.path, "cannot be written", &error)
        })
    }
}
