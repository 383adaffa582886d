//! Flush: every change so far reaches the disk, whatever the durability.

use super::Storage;
use crate::error::Result;
use crate::memory::check_headroom;

impl Storage {
    /// Returns once every change of every call that returned before is on disk (fsync included), and what filters of
    /// its embeddings have counted. Other calls go on meanwhile.
    ///
    /// # Errors
    /// `IO` when the disk refuses, `OUT_OF_MEMORY`; nothing that was stored before is lost.
    pub fn flush(&self) -> Result<()> {
        self.call(|engine| {
            check_headroom(1)?;
            // Where nothing is changed there is nothing to write but what filters have counted.
            let written = if engine.is_read_only() { Ok(()) } else { engine.writer.write_all() };
            written
                .and_then(|()| self.filters().sync())
                .map_err(|error| error.within(&format!("data_dir '{}'", self.dir().display())))
        })
    }
}
