//! Deletes segments whose calls are on disk as rows.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::segment::failed;
use super::shared::{Doubt, Shared, State};
use crate::error::Result;
use crate::seqno::Seqno;

impl Shared {
    /// Deletes the closed segments whose calls all have numbers up to `seqno`. A large file takes
    /// some ten milliseconds; calls are appended meanwhile. The journal is not restarted meanwhile
    /// (the engine's lock `rounds` is held): a path could then be that of a new segment.
    ///
    /// # Errors
    /// `IO`. The segments that are left are deleted the next time.
    pub(super) fn drop_through(&self, seqno: Seqno) -> Result<()> {
        let oldest = || {
            let state = self.state.lock();
            let oldest = state.closed.first().filter(|(last, ..)| *last <= seqno);
            oldest.map(|(_, path, _)| path.clone())
        };
        while let Some(path) = oldest() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("deleted", &path, &error));
                }
                _ => self.forget(&path),
            }
        }
        self.state.lock().end_doubt();
        Ok(())
    }

    fn forget(&self, deleted: &Path) {
        let closed = &mut self.state.lock().closed;
        for (_, _, bytes) in closed.extract_if(.., |(_, path, _)| path == deleted) {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl State {
    /// Calls can be appended again once the files that could not be synced are gone, and the
    /// current segment has no entry yet.
    fn end_doubt(&mut self) {
        let is_new = self.current.is_empty();
        if is_new && self.closed.is_empty() && matches!(self.doubt, Some(Doubt::Unsynced(_))) {
            self.doubt = None;
        }
    }

    /// Deletes the last segment.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn delete_current(&self) -> Result<()> {
        let path = &self.current.path;
        fs::remove_file(path).map_err(|error| failed("deleted", path, &error))
    }
}
