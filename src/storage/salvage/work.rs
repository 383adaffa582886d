//! The folder in which the new storage is made, beside its final place.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::files::folder::{is_same_file, remove};
use crate::params::Params;
use crate::storage::Storage;

/// The folder, locked. Dropping this removes it.
pub(super) struct Work {
    path: PathBuf,
    lock: File,
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = remove(&self.path);
        // Closing is not enough: a forked child may still have the descriptor.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

impl Work {
    /// Takes the folder, which a killed salvage may have left, and empties it.
    ///
    /// # Errors
    /// `BUSY` when another salvage has it; `IO`.
    pub(super) fn begin(path: PathBuf) -> Result<Work> {
        let failed = |error: io::Error| Error::io(format!("'{}': {error}", path.display()));
        let lock = loop {
            match fs::create_dir(&path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(failed(error));
                }
                _ => {}
            }
            let is_gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
            let lock = match fs::symlink_metadata(&path) {
                // The salvage that had it has removed it.
                Err(error) if is_gone(&error) => continue,
                Ok(found) if !found.is_dir() => {
                    return Err(failed(io::Error::other("it is not a folder; move it away")));
                }
                found => found.and_then(|_| File::open(&path)),
            };
            let lock = match lock {
                Err(error) if is_gone(&error) => continue,
                lock => lock.map_err(failed)?,
            };
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {
                    return Err(Error::busy("another salvage makes it; wait for that one"));
                }
                // A file system without locks.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failed(error.into())),
            }
            // The salvage that had it may have removed it meanwhile.
            if is_same_file(&lock, fs::symlink_metadata(&path)).map_err(failed)? {
                break lock;
            }
        };
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.file_type().map_err(failed)?.is_dir() {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            }
            .map_err(failed)?;
        }
        let work = Work { path: path.clone(), lock };
        fs::create_dir(work.links()).map_err(failed)?;
        fs::create_dir(work.like_links()).map_err(failed)?;
        Ok(work)
    }

    pub(super) fn storage(&self) -> PathBuf {
        self.path.join("storage")
    }

    /// The folder in which RocksDB is shown the damaged directory's files.
    pub(super) fn links(&self) -> PathBuf {
        self.path.join("links")
    }

    /// As `links`, for the files of the directory `like`, which may describe groups.
    pub(super) fn like_links(&self) -> PathBuf {
        self.path.join("likeness")
    }

    pub(super) fn open(&self) -> Result<Storage> {
        Storage::open(self.storage(), 0, &Params::new().with("durability", "checkpoint")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn one_salvage_at_a_time_has_the_folder() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("work");
        // A killed salvage has left these.
        fs::create_dir_all(path.join("storage/journal")).unwrap();
        fs::write(path.join("links"), "").unwrap();
        let work = Work::begin(path.clone()).unwrap();
        assert!(work.links().is_dir() && !work.storage().exists());
        let refused = Work::begin(path.clone()).err().unwrap();
        assert_eq!(refused.status(), Status::Busy);
        assert!(work.links().is_dir());
        drop(work);
        assert!(!path.exists());
        drop(Work::begin(path.clone()).unwrap());
        fs::write(&path, "a file").unwrap();
        assert_eq!(Work::begin(path.clone()).err().unwrap().status(), Status::Io);
        assert!(path.is_file());
    }
}
