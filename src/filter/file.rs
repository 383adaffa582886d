//! A filter's file: which handle owns it, and how a new one is made: whole, or not at all.
//!
//! Among all processes, one handle at a time owns a file, by an advisory lock (flock). The maker of
//! a file locks `<path>.damo-new`, which is then renamed to the file's own name. So two makers of
//! one file do not meet, and the next maker uses what a killed process leaves.
//!
//! All of a file's room on disk is taken when it is made. Keys are spread over the whole file, so
//! after some ten thousand keys hardly any holes of a sparse file would be left. And writing a page
//! for which the disk has no room ends the process (SIGBUS), where taking the room beforehand is an
//! error.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use super::header::{HEADER_LEN, Header, SECTOR};
use crate::error::{Error, Result};
use crate::files::folder::{is_same_file, sync_parent};
use crate::files::temporary::TemporaryName;
use crate::memory::filled;

/// Bytes that are read or written at a time.
pub(super) const PIECE: usize = 1 << 20;

/// How often others may replace the file between opening and locking it.
const ATTEMPTS: usize = 10;

/// An open file whose lock this process has.
///
/// The locked file handle is never the mapped one. A mapping keeps its file open until the
/// process's memory is gone, and the system may hold that memory for a while after a killed process
/// has been waited for (while it is scanned for huge pages, or read through /proc). A lock on the
/// mapped handle would then refuse the filter to a process that is started at once.
pub(super) struct OwnedFile {
    lock: File,
    file: File,
    pid: u32,
}

impl OwnedFile {
    /// Opens the file at `path` for this handle alone; None when nothing is there.
    ///
    /// # Errors
    /// `BUSY`, `IO`; `INVALID_ARGUMENT` when it is not a file.
    pub(super) fn open(path: &Path) -> Result<Option<OwnedFile>> {
        OwnedFile::take(path, path, File::options().read(true).write(true))
    }

    /// As `open`, for `path`, which is the file `named` or will be renamed to it.
    fn take(path: &Path, named: &Path, how: &fs::OpenOptions) -> Result<Option<OwnedFile>> {
        for _ in 0..ATTEMPTS {
            // Opening a pipe might block, and opening a device might do something.
            match fs::metadata(path) {
                Ok(found) if !found.is_file() => {
                    return Err(Error::invalid(format!("path '{}' is not a file", path.display())));
                }
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed(path, "cannot be opened", &error));
                }
                _ => {}
            }
            let (Some(lock), Some(file)) = (open_with(how, path)?, open_with(how, path)?) else {
                return Ok(None);
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(busy(named)),
                Err(TryLockError::Error(error)) => {
                    return Err(failed(path, "cannot be locked", &error));
                }
            }
            let file = OwnedFile { lock, file, pid: std::process::id() };
            // The owner before may have put another file in its place before unlocking it.
            if file.is_at(path).map_err(|error| failed(path, "cannot be looked at", &error))? {
                return Ok(Some(file));
            }
        }
        Err(busy(named))
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Whether the file at `path` is both the open one and the locked one.
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let is_open = is_same_file(&self.file, fs::metadata(path))?;
        Ok(is_open && is_same_file(&self.lock, self.file.metadata())?)
    }
}

impl Drop for OwnedFile {
    fn drop(&mut self) {
        // Closing would do, except when a child was forked meanwhile and has the file open, too.
        // Such a child leaves the lock to its parent.
        if self.pid == std::process::id() {
            let _ = self.lock.unlock();
        }
    }
}

/// A file that is being made; dropped before it is published, it is deleted.
pub(super) struct NewFile {
    // Before the lock, so that it is deleted while it is locked.
    new: TemporaryName,
    owned: OwnedFile,
    path: PathBuf,
}

impl NewFile {
    /// Takes the right to make the file at `path`.
    ///
    /// # Errors
    /// `BUSY` when somebody else is making it; `IO`.
    pub(super) fn take(path: &Path) -> Result<NewFile> {
        let mut new = OsString::from(path);
        new.push(".damo-new");
        let new = PathBuf::from(new);
        let how = || File::options().read(true).write(true).create(true).truncate(false).to_owned();
        let Some(owned) = OwnedFile::take(&new, path, &how())? else {
            return Err(Error::io(format!(
                "path '{}' cannot be created: there is no such folder",
                path.display()
            )));
        };
        Ok(NewFile { new: TemporaryName::new(new), owned, path: path.to_owned() })
    }

    /// Writes a header with no counts behind it. With `reserved`, takes all the room on disk that
    /// the file will need.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn begin(&self, header: &Header, reserved: bool) -> Result<()> {
        let len = header.file_len().ok_or_else(|| too_large(&self.path))?;
        self.attempt(len, |file| {
            // A killed process may have left bytes.
            file.set_len(0)?;
            if reserved {
                reserve_new(file, len)?
            } else {
                file.set_len(len)?
            }
            file.write_all_at(&header.to_bytes(), 0)
        })
    }

    /// Writes the counters piece by piece. `next` gets a piece's offset and fills it. Pieces of
    /// zeros are not written: the file has zeros already.
    ///
    /// # Errors
    /// `IO`, and those of `next`.
    pub(super) fn fill(
        &self,
        len: u64,
        mut next: impl FnMut(u64, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let mut piece = filled(0u8, PIECE)?;
        let mut offset = HEADER_LEN as u64;
        while offset < len {
            let piece = &mut piece[..PIECE.min((len - offset) as usize)];
            next(offset, piece)?;
            if piece.iter().any(|byte| *byte != 0) {
                self.attempt(len, |file| file.write_all_at(piece, offset))?;
            }
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Gives the file its name, replacing any file there, once all of it is on disk. The name
    /// itself may not be on disk yet.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn publish(self) -> Result<OwnedFile> {
        self.attempt(0, |file| file.sync_all())?;
        let NewFile { new, owned, path } = self;
        new.rename(&path).map_err(|error| failed(&path, "cannot be put in its place", &error))?;
        // An error here must not undo the rename; `sync` reports it.
        let _ = sync_parent(&path);
        Ok(owned)
    }

    /// As `publish`, and the name is on disk, too.
    ///
    /// # Errors
    /// `IO`. The file before has its name again, unless the message says otherwise.
    pub(super) fn publish_for_good(self) -> Result<()> {
        self.attempt(0, |file| file.sync_all())?;
        let shown = self.path.display();
        self.new.publish(&self.path).map_err(|error| {
            Error::io(format!("path '{shown}' cannot be put in its place: {error}"))
        })
    }

    pub(super) fn file(&self) -> &File {
        self.owned.file()
    }

    fn attempt(&self, len: u64, work: impl FnOnce(&File) -> io::Result<()>) -> Result<()> {
        work(self.file()).map_err(|error| {
            let what = if len > 0 {
                format!("cannot be made, {len} bytes")
            } else {
                "cannot be made".into()
            };
            failed(&self.path, &what, &error)
        })
    }
}

/// Opens a file; None when nothing is there.
fn open_with(how: &fs::OpenOptions, path: &Path) -> Result<Option<File>> {
    match how.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, "cannot be opened", &error)),
    }
}

/// The smallest piece of room that is taken at once, between two signals.
const MIN_PIECE: u64 = 256 << 10;

/// Takes room on the disk for an empty file.
fn reserve_new(file: &File, len: u64) -> io::Result<()> {
    // Otherwise file systems take what there is before they fail, and the disk would be full for
    // others meanwhile.
    if let Ok(found) = fstatvfs(file) {
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < len {
            let what = format!("the disk has room for {free}");
            return Err(io::Error::new(ErrorKind::StorageFull, what));
        }
    }
    if reserve(file, len)? {
        return Ok(());
    }
    // A file system without fallocate needs real zeros.
    let zeros = filled(0u8, PIECE).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
    let mut offset = 0;
    while offset < len {
        let piece = PIECE.min((len - offset) as usize);
        file.write_all_at(&zeros[..piece], offset)?;
        offset += piece as u64;
    }
    Ok(())
}

/// Makes sure that all of a file has room on the disk, since copying may have made holes; false
/// where the file system cannot say.
pub(super) fn reserve(file: &File, len: u64) -> io::Result<bool> {
    // At a signal some file systems give up the room that they had taken. Signals may come faster
    // than all of it can be taken at once.
    let (mut offset, mut piece) = (0, len);
    while offset < len {
        let next = piece.min(len - offset);
        match fallocate(file, FallocateFlags::empty(), offset, next) {
            Ok(()) => offset += next,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(false),
            Err(Errno::INTR) => piece = (piece / 2).max(MIN_PIECE),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Replaces the header of a filter's file by one that differs in its first sector only.
///
/// # Errors
/// `IO`.
pub(super) fn write_header(file: &File, header: &Header, path: &Path) -> Result<()> {
    file.write_all_at(&header.to_bytes()[..SECTOR], 0)
        .map_err(|error| failed(path, "cannot be written", &error))
}

/// Brings a file's content to disk.
///
/// # Errors
/// `IO`.
pub(super) fn synchronise(file: &File, path: &Path) -> Result<()> {
    file.sync_data().map_err(|error| failed(path, "cannot be written", &error))
}

/// Reads the header of a filter's file.
///
/// # Errors
/// `IO`, and those of [`Header::from_bytes`].
pub(super) fn read_header(file: &File, path: &Path) -> Result<Header> {
    let unreadable = |error: io::Error| failed(path, "cannot be read", &error);
    let len = file.metadata().map_err(unreadable)?.len();
    let mut bytes = filled(0u8, (HEADER_LEN as u64).min(len) as usize)?;
    file.read_exact_at(&mut bytes, 0).map_err(unreadable)?;
    let named = |error: Error| {
        Error::new(error.status(), format!("path '{}' {}", path.display(), error.message()))
    };
    Header::from_bytes(&bytes, len).map_err(named)
}

pub(super) fn failed(path: &Path, what: &str, error: &io::Error) -> Error {
    Error::io(format!("path '{}' {what}: {error}", path.display()))
}

pub(super) fn too_large(path: &Path) -> Error {
    Error::io(format!("path '{}' cannot be made: no file can be that large", path.display()))
}

fn busy(path: &Path) -> Error {
    Error::busy(format!(
        "path '{}' is in use by another filter handle, here or in another process; free that one \
         first",
        path.display()
    ))
}
