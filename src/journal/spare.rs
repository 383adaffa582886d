//! Spares: files of segments whose calls are on disk as rows, kept to become segments again.
//!
//! A new file costs more than what is copied into it. The system finds space for it, fills pages
//! with zeros, and gives both back once the file is deleted. A spare has its space and its pages.
//! Its old content stays until it is overwritten, as room. No reader takes it for calls of the new
//! segment: its sequence numbers are smaller.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;

use super::entry::mapped_header;
use super::names::{first_of, is_spare, spare_of};
use super::room::is_refused;
use crate::files::folder::is_same_file;
use crate::seqno::Seqno;

/// The most that are kept: what the writer's longest round sets free.
const MOST: usize = 8;
/// A file with less content is not worth keeping.
const LEAST_BYTES: u64 = 1 << 20;
/// Spares that nobody has needed for so long are deleted: the system may have taken their pages.
pub(super) const KEPT: Duration = Duration::from_secs(10);

/// The spares of a journal.
pub(super) struct Spares {
    /// The path of each, and the bytes that it has.
    files: Vec<(PathBuf, u64)>,
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

    /// Whether a closed segment with so many bytes should become one.
    pub(super) fn wants(&self, bytes: u64) -> bool {
        self.files.len() < MOST && bytes >= LEAST_BYTES
    }

    pub(super) fn keep(&mut self, path: PathBuf, bytes: u64) {
        self.files.push((path, bytes));
        self.since = Instant::now();
    }

    /// The longest one.
    pub(super) fn take(&mut self) -> Option<PathBuf> {
        self.since = Instant::now();
        let longest = self.files.iter().enumerate().max_by_key(|(_, (_, bytes))| *bytes)?.0;
        Some(self.files.swap_remove(longest).0)
    }

    pub(super) fn take_all(&mut self) -> Vec<PathBuf> {
        self.files.drain(..).map(|(path, _)| path).collect()
    }

    /// One that nobody has needed for a while.
    pub(super) fn take_old(&mut self) -> Option<PathBuf> {
        if self.since.elapsed() < KEPT { None } else { self.files.pop().map(|(path, _)| path) }
    }
}

/// Makes a segment's file a spare, and returns its path. Nobody finds it by its old path any more.
///
/// # Errors
/// The system's.
pub(super) fn retire(segment: &Path) -> io::Result<PathBuf> {
    let spare = spare_of(segment);
    fs::rename(segment, &spare)?;
    Ok(spare)
}

/// Makes a spare the file `to` of a segment for calls from `first` on. Returns it, and its length,
/// up to which it has space and pages.
///
/// # Errors
/// The system's; `WouldBlock` when a reader still has the old segment.
pub(super) fn renew(spare: &Path, to: &Path, first: Seqno) -> io::Result<(File, u64)> {
    let file = File::options().read(true).write(true).open(spare)?;
    // See `hold`.
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let found = file.metadata()?;
    if found.nlink() != 1 {
        return Err(ErrorKind::WouldBlock.into());
    }
    unshare(&file, found.len())?;
    file.write_all_at(&mapped_header(first), 0)?;
    fs::rename(spare, to)?;
    flock(&file, FlockOperation::Unlock)?;
    Ok((file, found.len()))
}

/// Keeps a segment's file, which was opened by this path, from becoming another segment's while it
/// is open. False if it is about to, or has. Holds files that are no segments, too.
pub(crate) fn hold(file: &File, path: &Path) -> bool {
    if first_of(path).is_none() {
        return true;
    }
    // Where files have no locks, nobody renews them.
    flock(file, FlockOperation::NonBlockingLockShared) != Err(Errno::WOULDBLOCK)
        && is_same_file(file, fs::metadata(path)).unwrap_or(false)
}

/// Gives the file space of its own. What shares it, as `cp --reflink` does, would have to be
/// copied by a store, which cannot fail.
fn unshare(file: &File, len: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::UNSHARE_RANGE, 0, len) {
        Err(error) if !is_refused(&error.into()) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Deletes the spares in a folder, which an earlier process has left.
///
/// # Errors
/// The system's.
pub(super) fn delete_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if is_spare(&path) {
            delete(&path)?;
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
    fn only_large_files_are_kept_and_only_for_a_while() {
        let mut spares = Spares::new();
        assert!(!spares.wants(LEAST_BYTES - 1));
        for number in 0..MOST {
            assert!(spares.wants(LEAST_BYTES));
            spares.keep(PathBuf::from(number.to_string()), (number % 3) as u64);
        }
        assert!(!spares.wants(LEAST_BYTES));
        assert_eq!(spares.take_old(), None);
        assert_eq!(spares.take().unwrap().to_str().unwrap().parse::<usize>().unwrap() % 3, 2);
        spares.since = Instant::now().checked_sub(KEPT).unwrap();
        let old = std::iter::from_fn(|| spares.take_old()).count();
        assert!(old == MOST - 1 && spares.is_empty());
    }
}
