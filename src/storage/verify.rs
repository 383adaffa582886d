//! Verify: reads and checks everything on disk.

use super::Storage;
use crate::error::Result;
use crate::memory::check_headroom;

/// What verification has found to be in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Rows, all of which could be read.
    pub rows: u64,
    /// Groups.
    pub groups: u64,
}

impl Storage {
    /// Reads everything on disk and checks that it is what was written: every checksum, and every
    /// row.
    ///
    /// # Errors
    /// `CORRUPTION` naming the file or the row; `IO`.
    pub fn verify(&self) -> Result<Verified> {
        let in_dir =
            |error| self.in_dir(error).within(&format!("data_dir '{}'", self.dir().display()));
        {
            let _call = self.begin_call()?;
            check_headroom(1).map_err(in_dir)?;
            self.engine().rocks().and_then(|rocks| rocks.verify_checksums()).map_err(in_dir)?;
            self.filters().verify().map_err(in_dir)?;
        }
        let rows = self.row_count(None).map_err(in_dir)?;
        Ok(Verified { rows, groups: self.groups().len() as u64 })
    }
}
