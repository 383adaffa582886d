//! The private folder of a likeness.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::{Error, Result};
use crate::files::folder::{is_same_file, remove};

/// How the names of these folders begin; the id of the process that made it and a number follow.
const PREFIX: &str = "damo-read-only-";
/// The directory in such a folder in which the storage is opened.
const STORAGE: &str = "storage";

/// A folder in the system's folder for temporary files; removed when dropped.
pub(super) struct Folder {
    path: PathBuf,
    pid: u32,
    /// The folder itself, locked. A look that finds a folder unlocked removes it. systemd-tmpfiles,
    /// which removes old files, leaves a locked folder alone with everything in it.
    _locked: File,
}

impl Folder {
    /// Makes a folder that only this user may read, and removes those that killed processes have
    /// left.
    ///
    /// # Errors
    /// `IO`, naming what cannot be made.
    pub(super) fn make() -> Result<Folder> {
        let parent = std::env::temp_dir();
        let make = || {
            let parent = fs::canonicalize(&parent)?;
            remove_stale(&parent);
            let folder = make_in(&parent)?;
            DirBuilder::new().mode(0o700).create(folder.storage())?;
            Ok(folder)
        };
        make().map_err(|error| unusable(&parent, &error))
    }

    /// The directory in which the storage is opened.
    pub(super) fn storage(&self) -> PathBuf {
        self.path.join(STORAGE)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // In a forked child the folder is the parent's.
        if self.pid == std::process::id() {
            let _ = remove(&self.path);
        }
    }
}

/// Makes a folder with a name that no other has, and locks it.
fn make_in(parent: &Path) -> io::Result<Folder> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{pid}-{number}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            made => made?,
        }
        match lock_new(&path) {
            Ok(Some(locked)) => return Ok(Folder { path, pid, _locked: locked }),
            Ok(None) => {}
            Err(error) => {
                let _ = fs::remove_dir(&path);
                return Err(error);
            }
        }
    }
}

/// Locks a folder that was just made; None if another process has found it unlocked and removes it.
fn lock_new(path: &Path) -> io::Result<Option<File>> {
    let folder = match open_folder(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    // On a file system without locks flock returns another error, and no process removes folders.
    if flock(&folder, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Ok(None);
    }
    Ok(is_at(&folder, path).then_some(folder))
}

/// Whether the folder still has this name.
fn is_at(folder: &File, path: &Path) -> bool {
    is_same_file(folder, fs::symlink_metadata(path)).unwrap_or(false)
}

/// Removes the folders of killed processes: no process has them locked.
fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            remove_if_stale(&entry.path());
        }
    }
}

/// Removes a folder that is not locked, if it is this user's: other users' folders are theirs to
/// remove.
fn remove_if_stale(path: &Path) {
    let Ok(folder) = open_folder(path) else { return };
    let is_ours = folder.metadata().is_ok_and(|found| found.uid() == geteuid().as_raw());
    let is_locked = || flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok();
    if is_ours && is_locked() && is_at(&folder, path) {
        // The folder stays locked until it is gone. A kill meanwhile leaves it unlocked.
        let _ = remove(path);
    }
}

/// Opens a folder, and nothing else: this waits for no pipe, and follows no link.
fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    File::options().read(true).custom_flags(flags.bits() as i32).open(path)
}

fn unusable(parent: &Path, error: &io::Error) -> Error {
    Error::io(format!(
        "a folder for links to its files cannot be made in '{}': {error}; set TMPDIR to a folder \
         that can be written",
        parent.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_left_is_removed() {
        let ours = Folder::make().unwrap();
        let mut left = Folder::make().unwrap();
        let path = left.path.clone();
        // A killed process leaves its folder so: not removed, and unlocked.
        left.pid = 0;
        drop(left);
        let other = Folder::make().unwrap();
        assert!(ours.storage().exists() && other.storage().exists() && !path.exists());
        let path = ours.path.clone();
        drop(ours);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_another_process_removes_is_given_up() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("folder");
        assert!(lock_new(&path).unwrap().is_none(), "it is gone");
        fs::create_dir(&path).unwrap();
        let other = open_folder(&path).unwrap();
        flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(lock_new(&path).unwrap().is_none(), "it is being removed");
        drop(other);
        assert!(lock_new(&path).unwrap().is_some());
    }
}
