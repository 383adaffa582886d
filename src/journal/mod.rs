//! The journal, a write-ahead log of calls: every call that changes rows is appended before its
//! rows change, so that a killed process loses none of them.
//!
//! Each call has a sequence number, and each row has the sequence number of its last change. The
//! next opening replays the calls that are newer than a row on disk. A segment is a file of the
//! journal; it is deleted once all rows that its calls changed are on disk. Knows files and bytes;
//! nothing of rows.

mod entry;
mod read;
mod segment;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(any(fuzzing, test))]
pub(crate) use entry::SEGMENT_HEADER_LEN;
pub(crate) use entry::{CallKind, Head};
pub(crate) use read::{Replay, is_headerless, list_whole, read_all, read_links, read_whole};

use crate::error::{Error, Result};
use crate::files::folder::{parent, sync_dir};
use crate::locks::Mutex;
use crate::seqno::{AtomicSeqno, Seqno};
use entry::{checksum, encode_head};
use segment::{AppendError, Segment, failed};

/// A segment is closed beyond this many bytes: small enough to be deleted soon, large enough for
/// few files.
const SEGMENT_BYTES: u64 = 128 << 20;

/// An open journal, appended to by any number of threads.
pub(crate) struct Journal {
    dir: PathBuf,
    /// Whether each call must survive a loss of power.
    sync: bool,
    state: Mutex<State>,
    /// The last sequence number known to be on disk. Held while syncing, so that callers share one
    /// fsync.
    synced: Mutex<Seqno>,
    /// Bytes of all segments.
    bytes: AtomicU64,
    /// The last call's sequence number.
    last: AtomicSeqno,
}

struct State {
    current: Segment,
    /// Segments that are complete, oldest first: the last call's sequence number, the path, the
    /// bytes.
    closed: Vec<(Seqno, PathBuf, u64)>,
    /// The announced configurations: group and description.
    configs: Vec<(u16, Vec<u8>)>,
    /// Set while the state of the files is in doubt; nothing is appended meanwhile.
    doubt: Option<Doubt>,
}

/// Why nothing is appended, and what ends that.
#[derive(Clone, Debug)]
enum Doubt {
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

impl Journal {
    /// Starts a journal for calls after `last` in the empty directory `dir`.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn start(dir: &Path, last: Seqno, sync: bool) -> Result<Journal> {
        let current = Segment::create(dir, last.next(), true)?;
        let bytes = AtomicU64::new(current.len);
        let state = State { current, closed: Vec::new(), configs: Vec::new(), doubt: None };
        Ok(Journal {
            dir: dir.to_owned(),
            sync,
            state: Mutex::new(state),
            synced: Mutex::new(last),
            bytes,
            last: AtomicSeqno::new(last),
        })
    }

    /// Starts over after `last` in the emptied directory; configurations keep their ids.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn restart(&self, last: Seqno) -> Result<()> {
        let mut synced = self.synced.lock();
        let mut state = self.state.lock();
        state.current = Segment::create(&self.dir, last.next(), true)?;
        state.closed.clear();
        state.doubt = None;
        *synced = last;
        self.bytes.store(state.current.len, Ordering::Relaxed);
        self.last.store(last, Ordering::Release);
        Ok(())
    }

    /// Announces a configuration; entries refer to it by the id that this returns.
    pub(crate) fn announce(&self, group: u16, description: Vec<u8>) -> u32 {
        let mut state = self.state.lock();
        let config = (group, description);
        let known = state.configs.iter().position(|known| *known == config);
        known.unwrap_or_else(|| {
            state.configs.push(config);
            state.configs.len() - 1
        }) as u32
    }

    /// Appends a call and returns its sequence number. Once this returns the call survives what the
    /// durability promises.
    ///
    /// # Errors
    /// `IO`. The call is then not in the journal, unless syncing failed: then it may be, whole, and
    /// nothing is appended until [`Journal::drop_through`] has deleted the files that were open.
    pub(crate) fn append(&self, head: &Head, payload: &[IoSlice<'_>]) -> Result<Seqno> {
        let payload_sum = checksum(payload);
        let seqno = self.state.lock().append(self, head, payload, payload_sum)?;
        if self.sync {
            self.sync_through(seqno)?;
        }
        Ok(seqno)
    }

    fn sync_through(&self, seqno: Seqno) -> Result<()> {
        let mut synced = self.synced.lock();
        if *synced >= seqno {
            return Ok(());
        }
        let (file, path, last) = {
            let state = self.state.lock();
            if let Some(doubt) = &state.doubt {
                return Err(doubt.error().clone());
            }
            let file = Arc::clone(&state.current.file);
            (file, state.current.path.clone(), self.last.load(Ordering::Acquire))
        };
        // Segments that were closed meanwhile have been synced by `rotate`.
        match file.sync_data() {
            Ok(()) => {
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

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The sequence number of the last call.
    pub(crate) fn last(&self) -> Seqno {
        self.last.load(Ordering::Acquire)
    }

    /// True while nothing is appended until all rows of the journal's calls are on disk.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.state.lock().doubt.is_some()
    }

    /// Closes the current segment and returns the sequence number of the last call.
    ///
    /// # Errors
    /// `IO`. A torn entry that cannot be cut off stays at the end of the last segment, where a
    /// replay expects one.
    pub(crate) fn rotate(&self) -> Result<Seqno> {
        let mut state = self.state.lock();
        state.cut_off_failed_append()?;
        if state.current.len > entry::SEGMENT_HEADER_LEN as u64 {
            state.rotate(self)?;
        }
        Ok(self.last())
    }

    /// Deletes the closed segments with no call after `seqno`.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn drop_through(&self, seqno: Seqno) -> Result<()> {
        let mut state = self.state.lock();
        while let Some((_, path, bytes)) = state.closed.first().filter(|(last, ..)| *last <= seqno)
        {
            match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("deleted", path, &error));
                }
                _ => {}
            }
            self.bytes.fetch_sub(*bytes, Ordering::Relaxed);
            state.closed.remove(0);
        }
        // The files that could not be synced are gone, and the current segment has no entry yet.
        let is_new = state.current.len == entry::SEGMENT_HEADER_LEN as u64;
        if is_new && state.closed.is_empty() && matches!(state.doubt, Some(Doubt::Unsynced(_))) {
            state.doubt = None;
        }
        Ok(())
    }

    /// Deletes all files; every row is on disk.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn finish(&self) -> Result<()> {
        self.drop_through(Seqno::MAX)?;
        let state = self.state.lock();
        let path = &state.current.path;
        fs::remove_file(path).map_err(|error| failed("deleted", path, &error))
    }
}

impl State {
    fn append(
        &mut self,
        journal: &Journal,
        head: &Head,
        payload: &[IoSlice<'_>],
        payload_sum: (u32, u64),
    ) -> Result<Seqno> {
        self.cut_off_failed_append()?;
        if let Some(doubt) = &self.doubt {
            return Err(doubt.error().clone());
        }
        if self.current.len >= SEGMENT_BYTES {
            self.rotate(journal)?;
        }
        let seqno = journal.last().next();
        let config_is_new = !self.current.configs.contains(&head.config);
        let Some((group, description)) = self.configs.get(head.config as usize) else {
            return Err(Error::bug(format!("configuration {} was not announced", head.config)));
        };
        debug_assert_eq!(*group, head.group);
        let config_pieces = [IoSlice::new(description)];
        let config_head = Head { kind: CallKind::Config, ..*head };
        let config_bytes = encode_head(&config_head, seqno, checksum(&config_pieces));
        let entry_bytes = encode_head(head, seqno, payload_sum);
        let mut pieces = Vec::with_capacity(payload.len() + 3);
        if config_is_new {
            pieces.extend([IoSlice::new(&config_bytes), IoSlice::new(description)]);
        }
        pieces.push(IoSlice::new(&entry_bytes));
        pieces.extend_from_slice(payload);
        let before = self.current.len;
        self.current.append(&mut pieces).map_err(|error| self.note_torn(error))?;
        if config_is_new {
            self.current.configs.push(head.config);
        }
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

    /// Begins the next segment. The entry that ends the current segment is written once the next
    /// one exists: so a missing file can be told from one that was never made.
    fn rotate(&mut self, journal: &Journal) -> Result<()> {
        let last = journal.last();
        let next = Segment::create(&journal.dir, last.next(), journal.sync)?;
        if let Err(error) = self.end_current(journal, last.next()) {
            // A segment without calls does no harm where it cannot be removed.
            let _ = fs::remove_file(&next.path);
            return Err(error);
        }
        journal.bytes.fetch_add(next.len, Ordering::Relaxed);
        let closed = std::mem::replace(&mut self.current, next);
        let file = closed.file;
        self.closed.push((last, closed.path.clone(), closed.len));
        // After a failed fsync another one would report success, whatever became of the data.
        if journal.sync && self.doubt.is_none() {
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

    fn end_current(&mut self, journal: &Journal, next: Seqno) -> Result<()> {
        let before = self.current.len;
        let end = entry::encode_end(next);
        self.current.append(&mut [IoSlice::new(&end)]).map_err(|error| self.note_torn(error))?;
        journal.bytes.fetch_add(self.current.len - before, Ordering::Relaxed);
        Ok(())
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

/// Whether a journal has no call.
///
/// # Errors
/// `IO`.
pub(crate) fn is_empty(dir: &Path) -> Result<bool> {
    for (_, path) in segment::list(dir)? {
        let found = fs::metadata(&path).map_err(|error| failed("read", &path, &error))?;
        if found.len() > entry::SEGMENT_HEADER_LEN as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes all segments, which a replay has read.
///
/// # Errors
/// `IO`.
pub(crate) fn delete_all(dir: &Path) -> Result<()> {
    for (_, path) in segment::list(dir)? {
        fs::remove_file(&path).map_err(|error| failed("deleted", &path, &error))?;
    }
    Ok(())
}
