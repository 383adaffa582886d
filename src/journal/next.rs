//! The next segment's file, made ahead where there is no spare.
//!
//! To find space for it may take the system half a second, when it has to read from the disk where
//! space is free. A call that began a segment would wait for that. So would a call that writes into
//! a file for which the journal's thread is reserving room.

use std::fs::File;
use std::mem;

use rustix::fs::fstatvfs;

use super::mapped::SEGMENT_BYTES;
use super::names::unused_spare;
use super::room::{LONGEST_STEP, Taken};
use super::shared::{Shared, State};
use super::spare::{self, MAX_IDLE};
use crate::locks::MutexGuard;

/// With room for a last call that begins just before the segment's end.
const BYTES: u64 = SEGMENT_BYTES + LONGEST_STEP;

/// Whether the disk has so much space that nobody misses these bytes for a while.
fn has_space(file: &File) -> bool {
    let free = fstatvfs(file).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    free.is_ok_and(|free| free > 8 * BYTES)
}

impl State {
    /// Whether the next segment's file should be made.
    pub(super) fn wants_next(&self) -> bool {
        let Some(mapped) = &self.current.mapped else { return false };
        mapped.reserved > SEGMENT_BYTES / 2 && !mapped.has_next && !self.spares.has_whole()
    }
}

impl Shared {
    /// Makes the next segment's file, unless it would lie unused for long.
    pub(super) fn make_next(&self, state: &mut MutexGuard<'_, State>) {
        let Some(mapped) = &mut state.current.mapped else { return };
        mapped.has_next = true;
        if mapped.began.elapsed() > MAX_IDLE / 2 || !has_space(&state.current.file) {
            return;
        }
        let taken = mem::replace(&mut state.room.taken, Taken::new());
        let (path, is_filled) = (unused_spare(self.dir()), taken.copied > taken.written);
        // Without it a call makes the file, and finds the error.
        if let Ok(made) = MutexGuard::unlocked(state, || spare::make(path, BYTES, is_filled)) {
            state.spares.keep(made);
        }
    }
}
