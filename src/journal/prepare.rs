//! Room ahead: a thread reserves disk space behind a mapped segment's content, and makes its pages
//! writable, before callers need them.
//!
//! A caller that finds too little room prepares it itself, or waits for whoever does. So a full
//! disk is an error of the caller's call, and the thread is only there for speed.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::entry::ENTRY_HEADER_LEN;
use super::mapped::SEGMENT_BYTES;
use super::mapping::Mapping;
use super::names::failed;
use super::room::{LEAST, LONGEST_STEP, Taken, fill, reserve};
use super::shared::{Shared, State};
use super::spare::{self, MAX_IDLE};
use crate::error::Result;
use crate::locks::MutexGuard;

/// Pages are made writable so far ahead, at most and at least.
const WIDEST_WINDOW: u64 = 2 << 20;
const NARROWEST_WINDOW: u64 = 64 << 10;
/// Pages that lie so far behind are taken out of memory.
const BEHIND: u64 = 4 << 20;
/// A journal with less content needs no thread.
const CONTENT_OF_FEW_CALLS: u64 = 32 << 10;

/// Whether new room is filled with zeros, which takes milliseconds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filling {
    /// A call waits for the room, perhaps with rows held.
    Never,
    IfUseful,
}

/// Room to be prepared in the current segment.
struct Job {
    file: Arc<File>,
    map: Arc<Mapping>,
    path: PathBuf,
    /// Bytes that have room, that should, and that must.
    ready: u64,
    wanted: u64,
    needed: u64,
    /// Whether zeros are written into the new room.
    fills: bool,
    /// The pages to make writable.
    ahead: (u64, u64),
    /// The pages to take out of memory.
    behind: (u64, u64),
}

impl Job {
    /// Returns how many bytes have room then.
    fn run(&self) -> io::Result<u64> {
        self.map.forget(self.behind.0, self.behind.1);
        let ready = match self.wanted > self.ready {
            true => reserve(&self.file, self.ready, self.wanted, self.needed)?,
            false => self.ready,
        };
        if self.fills {
            fill(&self.file, self.ready, ready.min(self.map.len()))?;
        }
        self.map.set_ready(ready);
        self.map.populate(self.ahead.0, self.ahead.1);
        Ok(ready)
    }
}

impl State {
    /// Whether the thread has work: room or pages to prepare, or the next segment's file to make.
    pub(super) fn is_low(&self) -> bool {
        if self.room.is_preparing || self.room.has_failed || self.room.has_stopped {
            return false;
        }
        self.is_short() || self.wants_next()
    }

    /// Whether room or pages of the current segment should be prepared, or old pages released.
    fn is_short(&self) -> bool {
        let Some(mapped) = &self.current.mapped else { return false };
        let left = mapped.ready - mapped.reserved;
        let lacks_room = left < self.room.step / 2 && mapped.ready < SEGMENT_BYTES;
        lacks_room || self.lacks_pages() || self.behind().is_some()
    }

    /// The pages that calls have copied into, and that are to be taken out of memory.
    fn behind(&self) -> Option<(u64, u64)> {
        let mapped = self.current.mapped.as_ref()?;
        let end = self.current.len.min(mapped.copied_to);
        (end > mapped.forgotten + BEHIND).then_some((mapped.forgotten, end))
    }

    /// Whether copies will soon reach pages that are not writable yet.
    fn lacks_pages(&self) -> bool {
        let Some(mapped) = &self.current.mapped else { return false };
        let wanted = (mapped.reserved + self.window() / 2).min(mapped.ready);
        mapped.populated < wanted && mapped.reserved >= CONTENT_OF_FEW_CALLS && self.room.copied > 0
    }

    /// When the current segment's room becomes old: the system may then have taken its pages from
    /// memory, and a store would wait for the disk. None if there are at most two steps of room.
    fn old_room(&self) -> Option<Instant> {
        let mapped = self.current.mapped.as_ref()?;
        let is_long = mapped.ready > mapped.reserved + 2 * LONGEST_STEP;
        is_long.then(|| mapped.began + MAX_IDLE)
    }

    fn has_old_room(&self) -> bool {
        !self.room.is_preparing && self.old_room().is_some_and(|old| old <= Instant::now())
    }

    /// How far ahead pages are made writable: as far as copies go in four turns.
    fn window(&self) -> u64 {
        (4 * self.room.copied).clamp(NARROWEST_WINDOW, WIDEST_WINDOW)
    }

    /// What is to be prepared so that there is room up to `needed`, and ahead of that.
    fn job(&self, needed: u64, filling: Filling) -> Option<Job> {
        let mapped = self.current.mapped.as_ref()?;
        let left = mapped.ready.saturating_sub(needed);
        let wanted = match left < self.room.step / 2 {
            // No entry begins beyond.
            true if mapped.ready >= SEGMENT_BYTES => needed,
            true => needed.max(mapped.ready) + self.room.step,
            false => mapped.ready,
        };
        let ahead = match self.lacks_pages() {
            true => (mapped.populated.max(mapped.reserved), mapped.reserved + self.window()),
            false => (0, 0),
        };
        let behind = self.behind().unwrap_or((0, 0));
        let (file, map) = (Arc::clone(&self.current.file), Arc::clone(&mapped.map));
        let path = self.current.path.clone();
        let (ready, wanted) = (mapped.ready, wanted.next_multiple_of(LEAST));
        let fills = filling == Filling::IfUseful && self.room.taken.is_by_copies();
        Some(Job { file, map, path, ready, wanted, needed, fills, ahead, behind })
    }

    fn note(&mut self, job: &Job, ready: u64) {
        let Some(mapped) = self.current.mapped.as_mut() else { return };
        if ready > mapped.ready {
            self.room.step = (2 * self.room.step).min(LONGEST_STEP);
            self.room.taken = Taken::new();
        }
        if job.fills && mapped.filled >= job.ready {
            mapped.filled = ready;
        }
        mapped.ready = ready;
        mapped.forgotten = mapped.forgotten.max(job.behind.1);
        if job.ahead.1 > 0 {
            mapped.populated = job.ahead.1.min(ready);
            self.room.copied = 0;
        }
    }
}

impl Shared {
    /// Prepares room in the current segment up to `needed`, or waits for whoever prepares some.
    /// Look again afterwards: the segment may be another one.
    ///
    /// # Errors
    /// `IO` when there is no room.
    pub(super) fn make_room(&self, state: &mut MutexGuard<'_, State>, needed: u64) -> Result<()> {
        if state.room.is_preparing {
            self.changed.wait(state);
            return Ok(());
        }
        let prepared = self.prepare(state, needed, Filling::Never);
        if prepared.is_err() && !state.spares.is_empty() {
            // With their space there may be enough.
            MutexGuard::unlocked(state, || self.delete_spares());
            return Ok(());
        }
        prepared
    }

    fn prepare(
        &self,
        state: &mut MutexGuard<'_, State>,
        needed: u64,
        filling: Filling,
    ) -> Result<()> {
        let Some(job) = state.job(needed, filling) else { return Ok(()) };
        state.room.is_preparing = true;
        // The segment stays the current one meanwhile.
        let outcome = MutexGuard::unlocked(state, || self.run(&job));
        state.room.is_preparing = false;
        state.room.has_failed = !outcome.as_ref().is_ok_and(|ready| *ready >= job.wanted);
        self.changed.notify_all();
        let ready = outcome.map_err(|error| failed("written", &job.path, &error))?;
        state.note(&job, ready);
        Ok(())
    }

    fn run(&self, job: &Job) -> io::Result<u64> {
        #[cfg(test)]
        self.faults.check_room(job.needed)?;
        job.run()
    }

    /// The thread's work: prepares room ahead until the journal ends.
    pub(super) fn prepare_ahead(&self) {
        let mut state = self.state.lock();
        while !state.room.has_stopped {
            if !state.is_low() {
                self.wait_for_work(&mut state);
                continue;
            }
            if !state.is_short() {
                self.make_next(&mut state);
                continue;
            }
            let needed = state.current.mapped.as_ref().map_or(0, |mapped| mapped.reserved);
            // A caller who needs the room will find the error.
            let needed = needed + ENTRY_HEADER_LEN as u64;
            let _ = self.prepare(&mut state, needed, Filling::IfUseful);
        }
    }

    /// Waits until there may be work, unless there is some at once: deletes a spare that nobody has
    /// needed for a while, or gives old room back.
    fn wait_for_work(&self, state: &mut MutexGuard<'_, State>) {
        if let Some(old) = state.spares.take_old() {
            MutexGuard::unlocked(state, || drop(spare::delete(&old)));
        } else if state.has_old_room() {
            self.give_room_back(state);
        } else if state.spares.is_empty() && state.old_room().is_none() {
            self.work.wait(state);
        } else {
            self.work.wait_for(state, MAX_IDLE);
        }
    }

    /// Gives the current segment's room back to the disk, except the next 8 MiB, which calls may
    /// take meanwhile. Room that is reserved after that is new.
    fn give_room_back(&self, state: &mut MutexGuard<'_, State>) {
        let Some(mapped) = &mut state.current.mapped else { return };
        let kept = (mapped.reserved + LONGEST_STEP).next_multiple_of(LEAST);
        let ready = kept.min(mapped.ready);
        // From here on nobody stores anything beyond, or reserves it.
        (mapped.ready, mapped.filled) = (ready, 0);
        mapped.map.set_ready(ready);
        state.room.is_preparing = true;
        let file = Arc::clone(&state.current.file);
        // Where that fails, the room is reserved once more.
        MutexGuard::unlocked(state, || drop(file.set_len(ready)));
        state.room.is_preparing = false;
        self.changed.notify_all();
    }
}
