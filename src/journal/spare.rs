//! Spares: files that become the next segments.
//!
//! Most are files of segments whose calls are on disk as rows. A new file costs more than what is
//! copied into it. The system finds space for it, fills pages with zeros, and gives both back once
//! the file is deleted. A spare has its space already, and a used one its pages. Old entries stay
//! in it until they are overwritten. No reader takes them for calls of the new segment: their
//! sequence numbers are smaller. If no spare holds a whole segment, one is made ahead (`next`).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;

use super::entry::{self, MAPPED_HEADER_LEN, mapped_header};
use super::mapped::SEGMENT_BYTES;
use super::names::{MAX_SEQNO, failed, first_of, is_spare, spare_of};
use super::room::{self, LEAST, is_refused};
use crate::error::Result;
use crate::files::folder::is_same_file;
use crate::seqno::Seqno;

/// The most that are kept: as many full files as a journal of 1 GiB, the usual limit, has.
const MOST: usize = 8;
/// A shorter file is not worth keeping, and a longer one takes too much space: a single entry may
/// have gigabytes.
const KEPT_BYTES: RangeInclusive<u64> = 1 << 20..=SEGMENT_BYTES + (48 << 20);
/// Spares that nobody has needed for this long are deleted: the system may have taken their pages.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(10);

/// A file that is to become a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spare {
    pub(super) path: PathBuf,
    /// The file's length. All of it has space on the disk.
    pub(super) bytes: u64,
    /// So many bytes from the start have pages in the system's memory, as far as is known.
    pub(super) filled: u64,
}

/// The spares of a journal.
pub(super) struct Spares {
    files: Vec<Spare>,
    /// When one was kept or taken last.
    since: Instant,
}

impl Spares {
    pub(super) fn new() -> Spares {
        Spares { files: Vec::new(), since: Instant::now() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether one of them has room for a whole segment.
    pub(super) fn has_whole(&self) -> bool {
        self.files.iter().any(|spare| spare.bytes >= SEGMENT_BYTES)
    }

    /// Whether another one should be kept.
    pub(super) fn wants_more(&self) -> bool {
        self.files.len() < MOST
    }

    pub(super) fn keep(&mut self, spare: Spare) {
        self.files.push(spare);
        self.since = Instant::now();
    }

    /// The longest one.
    pub(super) fn take(&mut self) -> Option<Spare> {
        self.since = Instant::now();
        let longest = self.files.iter().enumerate().max_by_key(|(_, spare)| spare.bytes)?.0;
        Some(self.files.swap_remove(longest))
    }

    pub(super) fn take_all(&mut self) -> Vec<PathBuf> {
        self.files.drain(..).map(|spare| spare.path).collect()
    }

    /// One that nobody has needed for a while.
    pub(super) fn take_old(&mut self) -> Option<PathBuf> {
        if self.since.elapsed() < MAX_IDLE {
            None
        } else {
            self.files.pop().map(|spare| spare.path)
        }
    }
}

/// Makes a new spare of `bytes` bytes. If `is_filled`, its pages are in memory, with zeros.
///
/// # Errors
/// The system's. No file remains.
pub(super) fn make(path: PathBuf, bytes: u64, is_filled: bool) -> io::Result<Spare> {
    let make = || -> io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).open(&path)?;
        // The header of a mapped segment without calls. `renew` replaces it.
        file.write_all(&mapped_header(MAX_SEQNO))?;
        make_own(&file, bytes)?;
        if is_filled { room::fill(&file, LEAST, bytes) } else { Ok(()) }
    };
    match make() {
        Ok(()) => Ok(Spare { path, bytes, filled: if is_filled { bytes } else { 0 } }),
        Err(error) => {
            let _ = delete(&path);
            Err(error)
        }
    }
}

/// Makes a segment's file a spare, whose first `filled` bytes have pages. Nobody finds it by its
/// old path any more. None when it cannot be used again, and was deleted.
///
/// # Errors
/// The system's.
pub(super) fn retire(segment: &Path, filled: u64) -> io::Result<Option<Spare>> {
    let spare = spare_of(segment);
    fs::rename(segment, &spare)?;
    if let Ok(file) = lock(&spare)
        && is_mapped(&file)
        && let Ok(len) = file.metadata().map(|found| found.len())
        && KEPT_BYTES.contains(&len)
        && make_own(&file, len).is_ok()
    {
        return Ok(Some(Spare { path: spare, bytes: len, filled: filled.min(len) }));
    }
    delete(&spare).map(|()| None)
}

/// Makes a spare the file `to` of a segment for calls from `first` on. Returns the file and its
/// length; all of it has space.
///
/// # Errors
/// The system's; `WouldBlock` when a reader still has the old segment.
pub(super) fn renew(spare: &Path, to: &Path, first: Seqno) -> io::Result<(File, u64)> {
    let file = lock(spare)?;
    file.write_all_at(&mapped_header(first), 0)?;
    flock(&file, FlockOperation::Unlock)?;
    fs::rename(spare, to)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

/// Opens a spare that nobody else has. See `hold`.
///
/// # Errors
/// As [`renew`].
fn lock(spare: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).open(spare)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    if file.metadata()?.nlink() == 1 { Ok(file) } else { Err(ErrorKind::WouldBlock.into()) }
}

/// Locks a segment's file for reading, so that it becomes no other segment's while it is open.
/// `path` is what it was opened by. False if it is a spare already, or another segment's file.
/// True for any other file, which is not locked.
pub(crate) fn hold(file: &File, path: &Path) -> bool {
    if first_of(path).is_none() {
        return true;
    }
    // Where files have no locks, nobody renews them.
    flock(file, FlockOperation::NonBlockingLockShared) != Err(Errno::WOULDBLOCK)
        && is_same_file(file, fs::metadata(path)).unwrap_or(false)
}

/// Whether the file is that of a mapped segment.
fn is_mapped(file: &File) -> bool {
    let mut header = [0; MAPPED_HEADER_LEN];
    file.read_exact_at(&mut header, 0).is_ok() && entry::is_mapped(&header)
}

/// Makes sure that a store into the file cannot fail. All of it gets space, and none of that is
/// shared with another file, as it would be after `cp --reflink`.
fn make_own(file: &File, len: u64) -> io::Result<()> {
    for flags in [FallocateFlags::empty(), FallocateFlags::UNSHARE_RANGE] {
        match fallocate(file, flags, 0, len) {
            Err(error) if flags.is_empty() || !is_refused(&error.into()) => {
                return Err(error.into());
            }
            // Done, or a file system that cannot share space.
            _ => {}
        }
    }
    Ok(())
}

/// Deletes the spares in a folder, which an earlier process has left.
///
/// # Errors
/// `IO`.
pub(super) fn delete_all(dir: &Path) -> Result<()> {
    let unreadable = |error: io::Error| failed("read", dir, &error);
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_spare(&path) {
            delete(&path).map_err(|error| failed("deleted", &path, &error))?;
        }
    }
    Ok(())
}

/// Deletes a file that may be gone already.
///
/// # Errors
/// The system's.
pub(super) fn delete(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept_and_only_for_a_while() {
        let mut spares = Spares::new();
        for number in 0..MOST {
            assert!(spares.wants_more());
            let (path, bytes) = (PathBuf::from(number.to_string()), (number % 3) as u64);
            spares.keep(Spare { path, bytes, filled: 0 });
        }
        assert!(!spares.wants_more());
        assert_eq!(spares.take_old(), None);
        assert_eq!(spares.take().unwrap().bytes, 2);
        spares.since = Instant::now().checked_sub(MAX_IDLE).unwrap();
        let old = std::iter::from_fn(|| spares.take_old()).count();
        assert!(old == MOST - 1 && spares.is_empty());
    }
}
