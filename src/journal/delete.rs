//! Deletes segments whose calls are on disk as rows, or keeps their files as spares.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::names::failed;
use super::shared::{Closed, Doubt, Shared, State, Way};
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
            let oldest = state.closed.first().filter(|closed| closed.last <= seqno);
            oldest.map(|oldest| (oldest.clone(), state.keeps_spare(self)))
        };
        while let Some((oldest, is_kept)) = oldest() {
            match if is_kept { self.keep(&oldest) } else { fs::remove_file(&oldest.path) } {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("deleted", &oldest.path, &error));
                }
                _ => self.forget(&oldest.path),
            }
        }
        self.state.lock().end_doubt();
        Ok(())
    }

    fn keep(&self, closed: &Closed) -> io::Result<()> {
        let Some(spare) = spare::retire(&closed.path, closed.filled)? else { return Ok(()) };
        self.state.lock().spares.keep(spare);
        // The thread deletes the spare when it is not used.
        self.work.notify_one();
        Ok(())
    }

    /// Deletes all spares: their space is wanted. One that cannot be deleted is left to the next
    /// opening.
    pub(super) fn delete_spares(&self) {
        let spares = {
            let mut state = self.state.lock();
            // Else the thread would make the next file, which takes the space again.
            state.current.mapped.iter_mut().for_each(|mapped| mapped.next_is_settled = true);
            state.spares.take_all()
        };
        spares.iter().for_each(|path| drop(spare::delete(path)));
    }

    /// Cuts the room off closed segments. The caller holds the engine's lock `rounds`, so that none
    /// becomes another segment meanwhile. Room that cannot be cut off stays.
    pub(super) fn cut_rooms(&self) {
        let closed = self.state.lock().closed.clone();
        for Closed { path, bytes, .. } in closed {
            let cut = || -> io::Result<()> {
                let file = File::options().write(true).open(&path)?;
                if file.metadata()?.len() > bytes { file.set_len(bytes) } else { Ok(()) }
            };
            let _ = cut();
        }
    }

    fn forget(&self, deleted: &Path) {
        let closed = &mut self.state.lock().closed;
        for closed in closed.extract_if(.., |closed| closed.path == deleted) {
            self.bytes.fetch_sub(closed.bytes, Ordering::Relaxed);
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
