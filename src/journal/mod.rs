//! The journal, a write-ahead log of calls: every call that changes rows is appended before its
//! rows change, so that a killed process loses none of them.
//!
//! Each call has a sequence number, and each row has the sequence number of its last change. The
//! next opening replays the calls that are newer than a row on disk. A segment is a file of the
//! journal. Once all rows that its calls changed are on disk, it is deleted, or its file becomes
//! another segment (`spare`). Knows files and bytes; nothing of rows.
//!
//! Where calls need not survive a loss of power, segments are mapped, and a call is appended
//! without a system call (`publish`). Otherwise, and on file systems that cannot do that, entries
//! are written.

mod begun;
mod delete;
mod entry;
#[cfg(test)]
mod faults;
mod hand_over;
mod mapped;
mod mapping;
mod measure;
mod names;
mod next;
mod payload;
mod position;
mod prepare;
mod publish;
mod read;
mod read_payload;
mod room;
mod sections;
mod segment;
mod shared;
mod spare;
#[cfg(test)]
mod tests;
mod token;
mod write;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

pub(crate) use begun::{Begun, Complete, InOrder};
pub(crate) use entry::{CallKind, Head};
#[cfg(any(fuzzing, test))]
pub(crate) use entry::{MAPPED_HEADER_LEN, SEGMENT_HEADER_LEN};
pub(crate) use hand_over::Replay;
pub(crate) use measure::{bytes_in, content_len, is_headerless};
pub(crate) use payload::{Helpers, Payload};
pub(crate) use read::{list_whole, read_all, read_links, read_whole};
pub(crate) use sections::{Section, encode as encode_sections};
pub(crate) use spare::hold;
pub(crate) use token::{Token, encode_forget};

use crate::error::Result;
use crate::files::folder::{parent, sync_dir};
use crate::locks::Mutex;
use crate::seqno::Seqno;
use crate::threads;
use names::failed;
use segment::Segment;
use shared::{Shared, Way};

/// An open journal, appended to by any number of threads.
pub(crate) struct Journal {
    shared: Arc<Shared>,
    /// Prepares room; started once there are so many calls that it helps.
    preparer: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Starts a journal for calls after `last` in the empty directory `dir`. With `sync` each call
    /// survives a loss of power.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn start(dir: &Path, last: Seqno, sync: bool) -> Result<Journal> {
        Journal::start_in(dir, last, if sync { Way::Synced } else { Way::Mapped })
    }

    /// As [`Journal::start`] on a file system where segments cannot be mapped.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn start_written(dir: &Path, last: Seqno) -> Result<Journal> {
        Journal::start_in(dir, last, Way::Written)
    }

    fn start_in(dir: &Path, last: Seqno, way: Way) -> Result<Journal> {
        let shared = Arc::new(Shared::start(dir, last, way)?);
        Ok(Journal { shared, preparer: Mutex::new(None) })
    }

    /// Starts over after `last` in the emptied directory; configurations keep their ids.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn restart(&self, last: Seqno) -> Result<()> {
        self.shared.restart(last)
    }

    /// Announces a configuration; entries refer to it by the id that this returns.
    pub(crate) fn announce(&self, group: u16, description: Vec<u8>) -> u32 {
        self.shared.state.lock().announce(group, description)
    }

    /// Appends a call and returns its sequence number. Once this returns the call survives what the
    /// durability promises. Afterwards [`Journal::prepare_if_low`] is due.
    ///
    /// # Errors
    /// `IO`. The call is then not in the journal, unless syncing failed: then it may be, whole, and
    /// nothing is appended until [`Journal::drop_through`] has deleted the files that were open.
    pub(crate) fn append(&self, head: &Head, payload: &Payload<'_>) -> Result<Seqno> {
        let begun = self.begin(head, payload, &Complete)?;
        let seqno = begun.seqno();
        self.finish(begun, &Complete).map(|()| seqno)
    }

    /// Gives a call a sequence number and a place in the journal. [`Journal::finish`] is due then:
    /// calls that begin later wait for it.
    ///
    /// # Errors
    /// `IO`. The call is then not in the journal.
    pub(crate) fn begin<'a>(
        &'a self,
        head: &Head,
        payload: &'a Payload<'a>,
        order: &dyn InOrder,
    ) -> Result<Begun<'a>> {
        self.shared.begin(head, payload, order)
    }

    /// Appends a call that has begun, or takes it back.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub(crate) fn finish(&self, begun: Begun<'_>, order: &dyn InOrder) -> Result<()> {
        let seqno = begun.seqno();
        begun.finish(order)?;
        match self.shared.way {
            // After this error nothing is appended until a round has waited for all calls under
            // way, and deleted the files.
            Way::Synced => self.sync_through(seqno).inspect_err(|_| order.take_back()),
            Way::Mapped | Way::Written => Ok(()),
        }
    }

    /// Wakes the thread that prepares room if little is left. For a call that holds no row any
    /// more, and not `stepping`: the thread may take over the caller's core at once.
    #[inline]
    pub(crate) fn prepare_if_low(&self) {
        if self.shared.is_low.load(Ordering::Relaxed) {
            self.prepare_room();
        }
    }

    /// Whether each call waits for the disk.
    pub(crate) fn syncs(&self) -> bool {
        self.shared.way == Way::Synced
    }

    /// Brings all calls up to `seqno` to disk. Several callers share one fsync.
    ///
    /// # Errors
    /// `IO`. Nothing is appended then until [`Journal::drop_through`] has deleted the files that
    /// were open.
    pub(crate) fn sync_through(&self, seqno: Seqno) -> Result<()> {
        self.shared.sync_through(seqno)
    }

    /// Bytes of the segments' headers and entries.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// The sequence number of the last call.
    #[inline]
    pub(crate) fn last(&self) -> Seqno {
        self.shared.last.load(Ordering::Acquire)
    }

    /// True while nothing is appended until all rows of the journal's calls are on disk.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.shared.state.lock().is_in_doubt()
    }

    /// Closes the current segment and returns the sequence number of the last call.
    ///
    /// # Errors
    /// `IO`. A torn entry that cannot be cut off stays at the end of the last segment, where a
    /// replay expects one.
    pub(crate) fn rotate(&self) -> Result<Seqno> {
        self.shared.rotate()
    }

    /// Deletes the closed segments with no call after `seqno`, or keeps them to be used again.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn drop_through(&self, seqno: Seqno) -> Result<()> {
        self.shared.drop_through(seqno)
    }

    /// Deletes the spares, and cuts the room off closed segments, to free disk space. The caller
    /// holds the engine's lock `rounds`.
    pub(crate) fn free_space(&self) {
        self.shared.delete_spares();
        self.shared.cut_rooms();
    }

    /// Deletes all files; every row is on disk.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn end(&self) -> Result<()> {
        self.stop();
        self.drop_through(Seqno::MAX)?;
        self.shared.state.lock().delete_current()
    }

    /// Wakes the thread that prepares room, or starts it.
    #[cold]
    fn prepare_room(&self) {
        self.shared.is_low.store(false, Ordering::Relaxed);
        if self.shared.has_preparer.load(Ordering::Relaxed) {
            self.shared.work.notify_one();
            return;
        }
        let mut preparer = self.preparer.lock();
        if !self.shared.has_preparer.swap(true, Ordering::Relaxed) {
            let shared = Arc::clone(&self.shared);
            let work = move || shared.prepare_ahead();
            // Without it callers prepare the room that they need.
            *preparer = threads::start("damo-journal", "the journal's thread", work).ok();
            self.shared.has_thread.store(preparer.is_some(), Ordering::Relaxed);
        }
    }

    fn stop(&self) {
        self.shared.state.lock().room.has_stopped = true;
        self.shared.work.notify_all();
        let thread = self.preparer.lock().take();
        thread.into_iter().for_each(|thread| drop(thread.join()));
        self.shared.delete_spares();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes the journal's directory.
///
/// # Errors
/// `IO`.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(failed("made", dir, &error))
        }
        _ => sync_dir(parent(dir)).map_err(|error| failed("made", dir, &error)),
    }
}

/// Writes a journal without calls after `last`, in a directory of its own.
///
/// # Errors
/// `IO`.
pub(crate) fn write_empty(dir: &Path, last: Seqno) -> Result<()> {
    make_dir(dir)?;
    Segment::create(dir, last.next(), true).map(drop)
}

/// Whether a journal's folder has a file that is no spare.
///
/// # Errors
/// `IO`.
pub(crate) fn has_files(dir: &Path) -> Result<bool> {
    let unreadable = |error: std::io::Error| failed("read", dir, &error);
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        if !names::is_spare(&entry.map_err(unreadable)?.path()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a journal has no call.
///
/// # Errors
/// `IO`.
pub(crate) fn is_empty(dir: &Path) -> Result<bool> {
    for (_, path) in segment::list(dir)? {
        if !measure::is_empty(&path)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes all segments, which a replay has read, and all spares.
///
/// # Errors
/// `IO`.
pub(crate) fn delete_all(dir: &Path) -> Result<()> {
    for (_, path) in segment::list(dir)? {
        fs::remove_file(&path).map_err(|error| failed("deleted", &path, &error))?;
    }
    spare::delete_all(dir)
}
