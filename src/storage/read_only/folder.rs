//! The private folder that a likeness is in.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::geteuid;

use crate::error::{Error, Result};
use crate::storage::checkpoint::remove;

/// How the names of these folders begin; the process that made it and a number follow.
const PREFIX: &str = "damo-read-only-";
/// The file in each that is locked for as long as its process has it.
const ALIVE: &str = "alive";
const UNLOCKED: &str = "alive.new";
/// The directory in each in which the storage is opened.
const STORAGE: &str = "storage";
/// A folder without `ALIVE` that is older than this was left: its process was killed while it made
/// or removed the folder.
const HALF_MADE: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder in the system's folder for temporary files; removed when dropped.
pub(super) struct Folder {
    path: PathBuf,
    pid: u32,
    /// Locked, so that no other process takes the folder for one that was left.
    _alive: File,
}

impl Folder {
    /// Makes a folder that only this user may look into, and removes those that killed processes
    /// have left.
    ///
    /// # Errors
    /// `IO`, naming what cannot be made.
    pub(super) fn make() -> Result<Folder> {
        let parent = std::env::temp_dir();
        remove_stale(&parent);
        let path = make_in(&parent)?;
        let lock = || {
            let (unlocked, alive) = (path.join(UNLOCKED), path.join(ALIVE));
            let file = File::create_new(&unlocked)?;
            // It gets its name once it is locked: another process that finds it unlocked removes
            // the folder. Where the file system has no locks, nobody removes any.
            let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
            fs::rename(&unlocked, &alive)?;
            DirBuilder::new().mode(0o700).create(path.join(STORAGE))?;
            Ok(file)
        };
        match lock() {
            Ok(alive) => Ok(Folder { path, pid: std::process::id(), _alive: alive }),
            Err(error) => {
                let _ = remove(&path);
                Err(unusable(&parent, &error))
            }
        }
    }

    /// The directory in which the storage is opened.
    pub(super) fn storage(&self) -> PathBuf {
        self.path.join(STORAGE)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // In a forked child it is the parent's.
        if self.pid == std::process::id() {
            let _ = remove_alive_last(&self.path);
        }
    }
}

fn make_in(parent: &Path) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path).and_then(|()| fs::canonicalize(&path)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map_err(|error| unusable(parent, &error)),
        }
    }
}

/// Removes the folders of processes that were killed: nobody has them locked.
fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            remove_if_stale(&entry.path());
        }
    }
}

/// Only this user's: anybody may put anything into the parent, and what others left is theirs.
fn remove_if_stale(path: &Path) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        return;
    }
    match open_alive(&path.join(ALIVE)) {
        Ok(alive) => {
            if flock(&alive, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let _ = remove_alive_last(path);
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let age = found.modified().ok().and_then(|changed| changed.elapsed().ok());
            if age.is_some_and(|age| age > HALF_MADE) {
                let _ = remove(path);
            }
        }
        Err(_) => {}
    }
}

/// Opens a regular file. A pipe is not waited for, and no link is followed.
fn open_alive(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Removes a folder. A process that is killed meanwhile leaves `ALIVE`, unlocked, as long as it
/// can.
fn remove_alive_last(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false if entry.file_name() != ALIVE => fs::remove_file(entry.path())?,
            false => {}
        }
    }
    remove(path)
}

fn unusable(parent: &Path, error: &io::Error) -> Error {
    Error::io(format!(
        "a folder for links to its files cannot be made in '{}': {error}; set TMPDIR to a folder that can be \
         written",
        parent.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_left_is_removed() {
        let ours = Folder::make().unwrap();
        let left = Folder::make().unwrap();
        let path = left.path.clone();
        flock(&left._alive, FlockOperation::Unlock).unwrap();
        std::mem::forget(left);
        let other = Folder::make().unwrap();
        assert!(ours.storage().exists() && other.storage().exists() && !path.exists());
        let path = ours.path.clone();
        drop(ours);
        assert!(!path.exists());
    }
}
