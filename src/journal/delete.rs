//! Deletes segments whose calls are on disk as rows, or keeps their files as spares.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::names::failed;
use super::shared::{Doubt, Shared, State, Way};
use super::spare;
use crate::error::Result;
use crate::seqno::Seqno;

impl Shared {
    /// Deletes the closed segments whose calls all have numbers up to `seqno`, or keeps their files
    /// as spares. Calls are appended meanwhile: deleting a large file takes 13 to 38 ms. The caller
    /// holds the engine's lock `rounds`, which keeps the journal from being restarted: after a
    /// restart, a path could be that of a new segment.
    ///
    /// # Errors
    /// `IO`. The segments that are left are deleted the next time.
    pub(super) fn drop_through(&self, seqno: Seqno) -> Result<()> {
        let oldest = || {
            let state = self.state.lock();
            let oldest = state.closed.first().filter(|(last, ..)| *last <= seqno);
            oldest.map(|(_, path, _)| (path.clone(), state.keeps_spare(self)))
        };
        while let Some((path, is_kept)) = oldest() {
            match if is_kept { self.keep(&path) } else { fs::remove_file(&path) } {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("deleted", &path, &error));
                }
                _ => self.forget(&path),
            }
        }
        self.state.lock().end_doubt();
        Ok(())
    }

    fn keep(&self, path: &Path) -> io::Result<()> {
        let Some(spare) = spare::retire(path)? else { return Ok(()) };
        self.state.lock().spares.keep(spare);
        // The thread deletes the spare when it is not used.
        self.work.notify_one();
        Ok(())
    }

    /// Deletes all spares: their space is wanted. One that cannot be deleted is left to the next
    /// opening.
    pub(super) fn delete_spares(&self) {
        let spares = self.state.lock().spares.take_all();
        spares.iter().for_each(|path| drop(spare::delete(path)));
    }

    fn forget(&self, deleted: &Path) {
        let closed = &mut self.state.lock().closed;
        for (_, _, bytes) in closed.extract_if(.., |(_, path, _)| path == deleted) {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl State {
    /// Whether a closed segment becomes a spare. The thread deletes spares that are not used.
    fn keeps_spare(&self, journal: &Shared) -> bool {
        journal.way == Way::Mapped
            && journal.has_thread.load(Ordering::Relaxed)
            && !self.room.has_stopped
            && self.spares.wants_more()
    }

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
