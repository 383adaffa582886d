//! Sync: what was counted is on disk.

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
        let written = opened.map.flush().and_then(|()| synchronise_folder(&self.path));
        written.map_err(|error| failed(&self.path, "cannot be written", &error))
    }
}
