//! Flush: brings every change so far to disk, whatever the durability.

use super::Storage;
use crate::error::Result;
use crate::memory::check_headroom;

impl Storage {
    /// Returns once all changes of earlier calls, and what the embeddings' filters have counted,
    /// are on disk (fsync included). Calls go on meanwhile.
    ///
    /// # Errors
    /// `IO` when the disk refuses, `OUT_OF_MEMORY`; nothing that was stored before is lost.
    pub fn flush(&self) -> Result<()> {
        self.call(|engine| {
            check_headroom(1)?;
            // With `read_only` no row changes, so only filters have anything to write.
            let written = if engine.is_read_only() { Ok(()) } else { engine.writer.write_all() };
            written
                .and_then(|()| self.filters().sync())
                .map_err(|error| error.within(&format!("data_dir '{}'", self.dir().display())))
        })
    }
}
