//! What the threads of a journal share: its segments, and which calls they have.

use std::fs;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::entry::{self, CallKind, ConfigEntry, Head, checksum, encode_head};
use super::mapped::SEGMENT_BYTES;
use super::names::failed;
use super::payload::Payload;
use super::room::Room;
use super::segment::{AppendError, Segment};
use super::spare::{self, Spare, Spares};
use crate::error::{Error, Result};
use crate::kill_points::{Point, pass};
use crate::locks::{Condvar, Mutex};
use crate::memory::{reserve, room_for};
use crate::seqno::{AtomicSeqno, Seqno};

/// How entries get into the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Each is written, and on disk before its call returns.
    Synced,
    /// Each is written.
    #[cfg_attr(not(any(fuzzing, test)), expect(dead_code, reason = "tests choose it"))]
    Written,
    /// Each is copied into the mapped file, where that is possible.
    Mapped,
}

pub(super) struct Shared {
    dir: PathBuf,
    pub(super) way: Way,
    pub(super) state: Mutex<State>,
    /// Told when a call has been published or taken back, and when room has been prepared.
    pub(super) changed: Condvar,
    /// Told when the thread that prepares room has work.
    pub(super) work: Condvar,
    /// Whether the start of the thread has been tried.
    pub(super) has_preparer: AtomicBool,
    /// Whether the thread runs.
    pub(super) has_thread: AtomicBool,
    /// Whether room is low, so that the next caller should wake or start the thread.
    pub(super) is_low: AtomicBool,
    /// The last sequence number known to be on disk. Held while syncing, so that callers share one
    /// fsync.
    synced: Mutex<Seqno>,
    /// Bytes of the content of all segments.
    pub(super) bytes: AtomicU64,
    /// The last call that is in the journal.
    pub(super) last: AtomicSeqno,
    #[cfg(test)]
    pub(super) faults: super::faults::Faults,
}

pub(super) struct State {
    pub(super) current: Segment,
    /// Segments that are complete, oldest first.
    pub(super) closed: Vec<Closed>,
    /// The announced configurations: group and description.
    pub(super) configs: Vec<(u16, Arc<[u8]>)>,
    /// The last sequence number that a call has got. The call may be under way.
    pub(super) given: Seqno,
    pub(super) room: Room,
    pub(super) spares: Spares,
    /// Set while the state of the files is in doubt; nothing is appended meanwhile.
    pub(super) doubt: Option<Doubt>,
}

/// A segment that is complete.
#[derive(Clone)]
pub(super) struct Closed {
    /// The last call.
    pub(super) last: Seqno,
    pub(super) path: PathBuf,
    /// Bytes of the header and the entries, without the room behind them.
    pub(super) bytes: u64,
    /// So many bytes from the start have pages in the system's memory, as far as is known.
    pub(super) filled: u64,
}

/// Why nothing is appended, and what ends that.
#[derive(Clone, Debug)]
pub(super) enum Doubt {
    /// Part of an entry could not be cut off. Ends once it can.
    Torn(Error),
    /// An fsync failed, so the system may have dropped unwritten data. Ends when the files that
    /// were open at the time have been deleted.
    Unsynced(Error),
}

impl Doubt {
    fn error(&self) -> &Error {
        match self {
            Doubt::Torn(error) | Doubt::Unsynced(error) => error,
        }
    }
}

impl Shared {
    pub(super) fn start(dir: &Path, last: Seqno, way: Way) -> Result<Shared> {
        spare::delete_all(dir)?;
        let room = Room::new();
        let current = create(dir, last.next(), way, (true, None), &room)?;
        let bytes = AtomicU64::new(current.len);
        let state = State {
            current,
            closed: Vec::new(),
            configs: Vec::new(),
            given: last,
            room,
            spares: Spares::new(),
            doubt: None,
        };
        Ok(Shared {
            dir: dir.to_owned(),
            way,
            state: Mutex::new(state),
            changed: Condvar::new(),
            work: Condvar::new(),
            has_preparer: AtomicBool::new(false),
            has_thread: AtomicBool::new(false),
            is_low: AtomicBool::new(false),
            synced: Mutex::new(last),
            bytes,
            last: AtomicSeqno::new(last),
            #[cfg(test)]
            faults: super::faults::Faults::default(),
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn restart(&self, last: Seqno) -> Result<()> {
        let mut synced = self.synced.lock();
        let mut state = self.state.lock();
        while !state.is_quiet() {
            self.changed.wait(&mut state);
        }
        state.current = create(&self.dir, last.next(), self.way, (true, None), &state.room)?;
        // Sequence numbers may be smaller now than those in the spares. Then a reader would take
        // old entries for calls of a new segment.
        state.spares.take_all().iter().for_each(|spare| drop(spare::delete(spare)));
        state.closed.clear();
        state.doubt = None;
        state.given = last;
        *synced = last;
        self.bytes.store(state.current.len, Ordering::Relaxed);
        self.last.store(last, Ordering::Release);
        Ok(())
    }

    pub(super) fn sync_through(&self, seqno: Seqno) -> Result<()> {
        let mut synced = self.synced.lock();
        if *synced >= seqno {
            return Ok(());
        }
        let (file, path, last) = {
            let state = self.state.lock();
            // What is whole can be synced, whatever is torn behind it.
            if let Some(Doubt::Unsynced(error)) = &state.doubt {
                return Err(error.clone());
            }
            let file = Arc::clone(&state.current.file);
            (file, state.current.path.clone(), self.last.load(Ordering::Acquire))
        };
        // Segments that were closed meanwhile have been synced by `rotate`.
        pass(Point::SyncIsNext);
        match self.sync(&file) {
            Ok(()) => {
                pass(Point::Synced);
                *synced = last;
                Ok(())
            }
            Err(error) => {
                let error = failed("synced", &path, &error);
                self.state.lock().doubt = Some(Doubt::Unsynced(error.clone()));
                Err(error)
            }
        }
    }

    fn sync(&self, file: &fs::File) -> std::io::Result<()> {
        #[cfg(test)]
        self.faults.check_sync()?;
        file.sync_data()
    }

    pub(super) fn rotate(&self) -> Result<Seqno> {
        let mut state = self.state.lock();
        while !state.is_quiet() {
            self.changed.wait(&mut state);
        }
        state.cut_off_failed_append()?;
        if !state.current.is_empty() {
            state.rotate(self)?;
        }
        Ok(self.last.load(Ordering::Acquire))
    }
}

/// Creates a segment for calls from `first` on, from a spare if there is one.
fn create(
    dir: &Path,
    first: Seqno,
    way: Way,
    (sync, spare): (bool, Option<Spare>),
    room: &Room,
) -> Result<Segment> {
    match way {
        Way::Mapped => Segment::create_mapped(dir, first, sync, room.step, spare),
        Way::Synced | Way::Written => Segment::create(dir, first, sync),
    }
}

impl State {
    pub(super) fn announce(&mut self, group: u16, description: Vec<u8>) -> u32 {
        let is_same = |known: &(u16, Arc<[u8]>)| known.0 == group && *known.1 == *description;
        let known = self.configs.iter().position(is_same);
        known.unwrap_or_else(|| {
            self.configs.push((group, description.into()));
            self.configs.len() - 1
        }) as u32
    }

    /// A configuration that calls were made with: its group and description.
    pub(super) fn config(&self, config: u32) -> Result<&(u16, Arc<[u8]>)> {
        let known = self.configs.get(config as usize);
        known.ok_or_else(|| Error::bug(format!("configuration {config} was not announced")))
    }

    /// Adds the entries of configurations that a call was made with and the segment does not have
    /// yet, to a list that has room for them.
    pub(super) fn add_new_configs(
        &self,
        head: &Head,
        payload: &Payload<'_>,
        seqno: Seqno,
        entries: &mut Vec<ConfigEntry>,
    ) {
        let configs = payload.configs_with(head).iter().copied();
        let new = configs.filter(|config| !self.current.configs.contains(config));
        let entry = |config| {
            let (group, description) = self.config(config).ok()?;
            let head = Head { kind: CallKind::Config, group: *group, config, ..*head };
            let sum = checksum(&[IoSlice::new(description)]);
            Some((config, encode_head(&head, seqno, sum), Arc::clone(description)))
        };
        entries.extend(new.filter_map(entry));
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    pub(super) fn check_no_doubt(&mut self) -> Result<()> {
        self.cut_off_failed_append()?;
        self.doubt.as_ref().map_or(Ok(()), |doubt| Err(doubt.error().clone()))
    }

    pub(super) fn append_written(
        &mut self,
        journal: &Shared,
        head: &Head,
        payload: &Payload<'_>,
    ) -> Result<Seqno> {
        if self.current.len >= SEGMENT_BYTES {
            self.rotate(journal)?;
        }
        let seqno = self.given.next();
        let (_, new_configs) = self.len_of(head, payload)?;
        reserve(&mut self.current.configs, new_configs)?;
        let mut configs = room_for(new_configs)?;
        self.add_new_configs(head, payload, seqno, &mut configs);
        let entry_bytes = encode_head(head, seqno, payload.sum);
        let mut pieces = room_for(2 * configs.len() + payload.count() + 2)?;
        for (_, head, description) in &configs {
            pieces.extend([IoSlice::new(head), IoSlice::new(description)]);
        }
        pieces.push(IoSlice::new(&entry_bytes));
        pieces.extend(payload.pieces().map(IoSlice::new));
        let before = self.current.len;
        pass(Point::EntryIsNext);
        self.current.append(&mut pieces).map_err(|error| self.note_torn(error))?;
        pass(Point::EntryWritten);
        self.current.configs.extend(configs.iter().map(|(config, ..)| *config));
        self.given = seqno;
        journal.bytes.fetch_add(self.current.len - before, Ordering::Relaxed);
        journal.last.store(seqno, Ordering::Release);
        Ok(seqno)
    }

    /// Cuts off what is left of an entry that could not be written. No segment may follow one that
    /// ends in a torn entry.
    fn cut_off_failed_append(&mut self) -> Result<()> {
        if let Some(Doubt::Torn(error)) = &self.doubt {
            self.current.cut_off().map_err(|again| {
                failed("cut off", &self.current.path, &again).within(error.message())
            })?;
            self.doubt = None;
        }
        Ok(())
    }

    /// Begins the next segment; no call is under way. The entry that ends the current segment is
    /// written once the next one exists: so a missing file can be told from one that was never
    /// made.
    pub(super) fn rotate(&mut self, journal: &Shared) -> Result<()> {
        let last = journal.last.load(Ordering::Acquire);
        let sync = journal.way == Way::Synced;
        let from = (sync, self.spares.take());
        let next = create(&journal.dir, last.next(), journal.way, from, &self.room)?;
        if let Err(error) = self.end_current(journal, last.next()) {
            // A segment without calls does no harm where it cannot be removed.
            let _ = fs::remove_file(&next.path);
            return Err(error);
        }
        journal.bytes.fetch_add(next.len, Ordering::Relaxed);
        let closed = std::mem::replace(&mut self.current, next);
        let file = closed.file;
        let (path, bytes) = (closed.path.clone(), closed.len);
        let filled = closed.mapped.as_ref().map_or(bytes, |mapped| mapped.filled.max(bytes));
        self.closed.push(Closed { last, path, bytes, filled });
        // After a failed fsync another one would report success, whatever became of the data.
        if sync && self.doubt.is_none() {
            file.sync_data().map_err(|error| {
                let error = failed("synced", &closed.path, &error);
                self.doubt = Some(Doubt::Unsynced(error.clone()));
                error
            })?;
        }
        Ok(())
    }

    /// Remembers a torn entry, which keeps others from being appended.
    fn note_torn(&mut self, error: AppendError) -> Error {
        match error {
            AppendError::CutOff(error) => error,
            AppendError::Torn(error) => {
                self.doubt = Some(Doubt::Torn(error.clone()));
                error
            }
        }
    }

    fn end_current(&mut self, journal: &Shared, next: Seqno) -> Result<()> {
        if self.current.mapped.is_some() {
            return self.end_mapped(journal, next);
        }
        let before = self.current.len;
        let end = entry::encode_end(next);
        self.current.append(&mut [IoSlice::new(&end)]).map_err(|error| self.note_torn(error))?;
        journal.bytes.fetch_add(self.current.len - before, Ordering::Relaxed);
        Ok(())
    }
}
