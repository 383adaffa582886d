//! The next segment's file, made ahead if no spare can hold a whole segment.
//!
//! To find free space the system may have to read from the disk, for up to half a second. A call
//! that began a segment would wait for that. So would a call that writes into a file while the
//! journal's thread reserves room in it.

use std::fs::File;
use std::mem;

use rustix::fs::fstatvfs;

use super::mapped::SEGMENT_BYTES;
use super::names::new_spare;
use super::room::{LONGEST_STEP, Taken};
use super::shared::{Shared, State};
use super::spare::{self, MAX_IDLE};
use crate::locks::MutexGuard;

/// The length of a file made ahead: a segment, and room for a call that begins near its end.
const BYTES: u64 = SEGMENT_BYTES + LONGEST_STEP;

/// Whether the disk has space for more than eight such files.
fn has_space(file: &File) -> bool {
    let free = fstatvfs(file).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    free.is_ok_and(|free| free > 8 * BYTES)
}

impl State {
    /// Whether the next segment's file should be made.
    pub(super) fn wants_next(&self) -> bool {
        let Some(mapped) = &self.current.mapped else { return false };
        mapped.reserved > SEGMENT_BYTES / 2 && !mapped.next_is_settled && !self.spares.has_whole()
    }
}

impl Shared {
    /// Makes the next segment's file, unless it would lie unused for long.
    pub(super) fn make_next(&self, state: &mut MutexGuard<'_, State>) {
        let Some(mapped) = &mut state.current.mapped else { return };
        mapped.next_is_settled = true;
        if mapped.began.elapsed() > MAX_IDLE / 2 || !has_space(&state.current.file) {
            return;
        }
        let taken = mem::replace(&mut state.room.taken, Taken::new());
        let (path, is_filled) = (new_spare(self.dir()), taken.copied > taken.written);
        // After an error, the call that begins the segment makes the file, and reports the error.
        if let Ok(made) = MutexGuard::unlocked(state, || spare::make(path, BYTES, is_filled)) {
            state.spares.keep(made);
        }
    }
}
