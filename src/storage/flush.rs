//! Flush: every change so far reaches the disk, whatever the durability.

use super::Storage;
use crate::error::Result;

impl Storage {
    /// Returns once every change of every call that returned before is on disk (fsync included). Other calls go on
    /// meanwhile.
    ///
    /// # Errors
    /// `IO` when the disk refuses; nothing that was stored before is lost.
    pub fn flush(&self) -> Result<()> {
        let _call = self.begin_call()?;
        self.core()
            .writer
            .write_all()
            .map_err(|error| error.within(&format!("data_dir '{}'", self.dir().display())))
    }
}
