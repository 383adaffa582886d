//! Compact: merges everything on disk into one sorted run.

use super::Storage;
use crate::error::Result;
use crate::memory::check_headroom;

impl Storage {
    /// Writes what has changed, then merges all rows into one sorted run. Afterwards what was
    /// overwritten or deleted takes no space, and one read finds a row. Calls go on meanwhile.
    ///
    /// # Errors
    /// `IO` when the disk refuses; `OUT_OF_MEMORY`. Nothing that was stored before is lost.
    pub fn compact(&self) -> Result<()> {
        self.engine().check_writable()?;
        self.flush()?;
        check_headroom(self.engine().options.threads)?;
        let _call = self.begin_call()?;
        let compacted = self.engine().rocks().and_then(|rocks| rocks.compact());
        compacted.map_err(|error| error.within(&format!("data_dir '{}'", self.dir().display())))
    }
}
