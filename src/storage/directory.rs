//! A storage's directory: makes it, locks it, and keeps it to one storage at a time.
//!
//! A directory is identified by its device and inode, not by how its path is written. RocksDB tells
//! databases apart by path. So it would open one database twice by the paths "t", "t/" and a
//! symbolic link, and destroy it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::first_opening;
use crate::engine::replay::FOLDER as JOURNAL;
use crate::error::{Error, Result};
use crate::files::folder::{file_id, is_same_file, sync_parent};
use crate::files::regular;
use crate::locks::Mutex;
use crate::process::check_not_forked;
use crate::reserved::storage_that_owns;
use crate::rocks::INVENTORY;
use crate::rocks::file_names::{
    CURRENT, FIRST_MANIFEST, LOCK as ROCKSDB_LOCK, is_made_before_current, is_of_database,
};

/// A directory that this process uses; given back when dropped.
pub(super) struct Directory {
    path: PathBuf,
    id: Id,
    pid: u32,
    /// The lock's file, locked while this exists: RocksDB's own lock is released while a checkpoint
    /// is loaded. None where the file system has no locks.
    lock: Option<File>,
    /// The lock's file was made here. Dropping removes it, unless `keep` says that the directory is
    /// a storage.
    is_new: AtomicBool,
    /// Dropping removes the directory with everything in it, while the lock is still held.
    is_unwanted: AtomicBool,
}

/// The lock's file.
pub(super) const LOCK: &str = ".damo-lock";

/// Device and inode.
type Id = (u64, u64);

/// The directories in use, and the paths that RocksDB knows them by.
static OPEN: Mutex<Vec<(Id, PathBuf)>> = Mutex::new(Vec::new());

impl Directory {
    /// Creates `dir` if need be and takes it for one storage.
    ///
    /// # Errors
    /// See `Storage::open`.
    pub(super) fn take(dir: &Path) -> Result<Directory> {
        if dir.as_os_str().is_empty() {
            return Err(Error::invalid("data_dir is empty; the path of a directory is needed"));
        }
        check_not_forked()?;
        // Checked before anything is created: a storage may have been moved while open, and RocksDB
        // would then write to its old path.
        let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        if OPEN.lock().iter().any(|(_, path)| *path == absolute) {
            return Err(busy(dir, "in another storage handle of this process"));
        }
        create(dir)?;
        let unreadable =
            |error: std::io::Error| Error::io(format!("data_dir '{}': {error}", dir.display()));
        let path = fs::canonicalize(dir).map_err(unreadable)?;
        let metadata = fs::metadata(&path).map_err(unreadable)?;
        let id = file_id(&metadata);
        {
            let mut open = OPEN.lock();
            if open.iter().any(|(other, other_path)| *other == id || *other_path == path) {
                return Err(busy(dir, "in another storage handle of this process"));
            }
            open.push((id, path.clone()));
        }
        // From here on dropping gives the directory back.
        let (is_new, is_unwanted) = (AtomicBool::new(false), AtomicBool::new(false));
        let mut taken =
            Directory { path, id, pid: std::process::id(), lock: None, is_new, is_unwanted };
        taken.check_lock(dir)?;
        taken.lock = taken.take_lock(dir)?;
        Ok(taken)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a directory that another process has open, before RocksDB would rotate that
    /// process's logs.
    fn check_lock(&self, given: &Path) -> Result<()> {
        // This process has no lock on the file (it would be in OPEN), so closing it again releases
        // none.
        let path = self.path.join(ROCKSDB_LOCK);
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unusable(given, ROCKSDB_LOCK, "opened for writing", &error)),
        };
        match fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)) {
            Ok(None) => Ok(()),
            Ok(Some(held)) => {
                let pid =
                    held.pid.map_or(String::new(), |pid| format!(" {}", pid.as_raw_nonzero()));
                Err(busy(given, &format!("in another process{pid}")))
            }
            Err(error) if has_no_locks(error) => Ok(()),
            Err(error) => {
                Err(unusable(given, ROCKSDB_LOCK, "asked who has it locked", &error.into()))
            }
        }
    }

    /// Takes the lock; None where the file system has none.
    fn take_lock(&self, given: &Path) -> Result<Option<File>> {
        let path = self.path.join(LOCK);
        let mut options = File::options();
        options.read(true).write(true);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(unusable(given, LOCK, "opened for writing", &error));
            }
            Err(_) => match options.create_new(true).open(&path) {
                Ok(file) => {
                    self.is_new.store(true, Ordering::Relaxed);
                    file
                }
                // Another process has just made it.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    return Err(busy(given, "in another process"));
                }
                Err(error) => return Err(unusable(given, LOCK, "created", &error)),
            },
        };
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Err(busy(given, "in another process")),
                Err(error) if has_no_locks(error) => return Ok(None),
                Err(error) => return Err(unusable(given, LOCK, "locked", &error.into())),
            }
        }
        // Another process that found no storage here may have removed the file meanwhile.
        match is_same_file(&file, fs::metadata(&path)) {
            Ok(true) => Ok(Some(file)),
            Ok(false) => Err(busy(given, "in another process")),
            Err(error) => Err(unusable(given, LOCK, "looked at", &error)),
        }
    }

    /// Notes that the directory is a storage, so that its lock's file stays.
    pub(super) fn keep(&self) {
        self.is_new.store(false, Ordering::Relaxed);
    }

    /// Has dropping remove the directory before it gives the lock back, so that nobody opens it in
    /// between.
    pub(super) fn remove_when_done(&self) {
        self.is_unwanted.store(true, Ordering::Relaxed);
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A forked child owns nothing, and the lock may be held for ever there.
        if self.pid == std::process::id() {
            if self.is_unwanted.load(Ordering::Relaxed) {
                let _ = fs::remove_dir_all(&self.path);
            }
            // Not by closing alone: a forked child may still have the file.
            if self.is_new.load(Ordering::Relaxed) {
                let _ = fs::remove_file(self.path.join(LOCK));
            }
            if let Some(lock) = &self.lock {
                let _ = flock(lock, FlockOperation::Unlock);
            }
            OPEN.lock().retain(|(id, _)| *id != self.id);
        }
    }
}

/// Whether there is a database. Without `CURRENT` there is none. Then only what a killed first
/// opening leaves may be there: anything else is not damo's, and is refused.
pub(super) fn has_database(dir: &Path) -> Result<bool> {
    let unreadable = |error: std::io::Error| Error::io(format!("cannot be read: {error}"));
    // An error here must not pass for a missing file.
    if dir.join(CURRENT).try_exists().map_err(unreadable)? {
        return Ok(true);
    }
    let mut strange: Option<String> = None;
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        if is_table_or_log(&name) {
            return Err(Error::corruption(format!(
                "the file CURRENT is missing, and '{name}' is there; restore CURRENT from a copy, \
                 or move the directory away"
            )));
        }
        if !is_left_by_a_first_opening(&name) {
            strange = Some(name);
        }
    }
    match strange {
        None => Ok(false),
        Some(name) => Err(foreign(&format!("it holds '{name}' and no damo storage"))),
    }
}

/// The open files by which a directory is held. Dropping releases it.
pub(super) struct Unchanged(Vec<File>);

impl Drop for Unchanged {
    fn drop(&mut self) {
        // Not by closing alone: a child that was forked meanwhile may still have the files.
        for file in &self.0 {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

/// Holds a directory that is only read: no storage opens it meanwhile, and nothing in it changes.
///
/// # Errors
/// `NOT_FOUND` when there is no storage; `BUSY` when it is open; `IO`.
pub(super) fn hold_unchanged(dir: &Path) -> Result<Unchanged> {
    check_not_forked()?;
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Error::not_found("does not exist; a storage's directory is needed"),
        _ => Error::io(format!("cannot be read: {error}")),
    };
    let found = fs::metadata(dir).map_err(unreadable)?;
    if !found.is_dir() {
        return Err(Error::invalid("is a file; a storage's directory is needed"));
    }
    if OPEN.lock().iter().any(|(id, _)| *id == file_id(&found)) {
        return Err(busy(dir, "in another storage handle of this process"));
    }
    let mut is_one = false;
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        is_one |= is_table_or_log(&name) || [CURRENT, FIRST_MANIFEST].contains(&name.as_str());
    }
    if !is_one {
        return Err(Error::not_found("holds no damo storage; the directory of one is needed"));
    }
    let mut held = Unchanged(Vec::new());
    for name in [LOCK, ROCKSDB_LOCK] {
        let file = match regular::open(&dir.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            file => file.map_err(|error| unusable(dir, name, "opened", &error))?,
        };
        let is_held = match name {
            LOCK => {
                flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
            }
            _ => matches!(fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)), Ok(Some(_))),
        };
        if is_held {
            return Err(busy(dir, "in another process"));
        }
        held.0.push(file);
    }
    Ok(held)
}

/// Whether a storage has the directory open, here or in another process, as far as can be told.
pub(super) fn is_in_use(dir: &Path) -> bool {
    let Ok(found) = fs::metadata(dir) else { return false };
    // If this process has the storage open, RocksDB's lock file must not be opened here: closing it
    // would release the lock. `OPEN` stays locked, so that no storage is opened until the file is
    // closed again.
    let open = OPEN.lock();
    if open.iter().any(|(id, _)| *id == file_id(&found)) {
        return true;
    }
    let Ok(file) = regular::open(&dir.join(ROCKSDB_LOCK)) else { return false };
    matches!(fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)), Ok(Some(_)))
}

/// Whether no storage is open, nor being opened.
pub(super) fn none_is_open() -> bool {
    OPEN.try_lock().is_some_and(|open| open.is_empty())
}

/// The error for something that damo did not make.
pub(super) fn foreign(what: &str) -> Error {
    Error::invalid(format!("{what}; an empty directory, a new path or a damo storage is needed"))
}

/// False where opening would make a new storage, or the directory first. Otherwise opening decides
/// whether what is there is a storage.
///
/// # Errors
/// `IO`.
pub(super) fn may_hold_storage(dir: &Path) -> Result<bool> {
    if first_opening::is_under_way(dir)? {
        return Ok(false);
    }
    match fs::read_dir(dir) {
        Err(error) => Ok(error.kind() != ErrorKind::NotFound),
        // A name that cannot be read counts as content, not as absent.
        Ok(mut entries) => Ok(entries.any(|entry| {
            entry.map_or(true, |entry| {
                !is_left_by_a_first_opening(&entry.file_name().to_string_lossy())
            })
        })),
    }
}

/// What a file system without locks answers.
fn has_no_locks(error: Errno) -> bool {
    [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL].contains(&error)
}

/// The error for a lock's file that the system refuses. It does not mean that another process has
/// the lock.
fn unusable(dir: &Path, file: &str, what: &str, error: &std::io::Error) -> Error {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; a storage is opened for reading and writing: let this user write the directory and \
             the files in it, or open a copy"
        }
        _ => "",
    };
    Error::io(format!(
        "data_dir '{}': its file '{file}' cannot be {what}: {error}{remedy}",
        dir.display()
    ))
}

fn busy(dir: &Path, where_it_is: &str) -> Error {
    let shown = dir.display();
    Error::busy(format!("data_dir '{shown}' is open {where_it_is}; close that one first"))
}

/// Creates the directory and its parents. Each name is on disk before the next is made, so that
/// after a power cut no storage is missing for want of its directory's name.
fn create(dir: &Path) -> Result<()> {
    let shown = dir.display();
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() && dir.join(INVENTORY).exists() => return Ok(()),
        // A directory that is no storage yet may belong to another storage.
        Ok(found) if found.is_dir() => {
            return fs::canonicalize(dir).map_or(Ok(()), |path| check_owner(&path, dir));
        }
        Ok(_) => {
            return Err(Error::invalid(format!(
                "data_dir '{shown}' is a file; a directory is needed"
            )));
        }
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {}
        Err(error) => return Err(Error::io(format!("data_dir '{shown}': {error}"))),
    }
    let uncreatable =
        |error: std::io::Error| Error::io(format!("data_dir '{shown}' cannot be created: {error}"));
    let absolute = std::path::absolute(dir).map_err(uncreatable)?;
    let mut missing = Vec::new();
    for path in absolute.ancestors() {
        if path.try_exists().map_err(uncreatable)? {
            break;
        }
        missing.push(path);
    }
    missing.last().map_or(Ok(()), |path| check_owner(path, dir))?;
    let mut made = Vec::new();
    let result = missing.into_iter().rev().try_for_each(|path| {
        match fs::create_dir(path) {
            Ok(()) => made.push(path),
            // Another process has just made it, which is as good.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        sync_parent(path)
    });
    if result.is_err() {
        // After an error the directories made above are removed, unless others have put something
        // there meanwhile.
        made.iter().rev().for_each(|path| drop(fs::remove_dir(path)));
    }
    result.map_err(uncreatable)
}

/// Refuses a path at which another storage has, or may make, files of its own.
fn check_owner(path: &Path, given: &Path) -> Result<()> {
    let shown = given.display();
    let owner = storage_that_owns(path)
        .map_err(|error| Error::io(format!("data_dir '{shown}': {error}")))?;
    let Some(storage) = owner else { return Ok(()) };
    Err(Error::invalid(format!(
        "data_dir '{shown}' is one of the places that the storage in '{}' has for its own files; a \
         path elsewhere is needed",
        storage.display()
    )))
}

/// Files of a database that has lived.
fn is_table_or_log(name: &str) -> bool {
    name == JOURNAL || is_of_database(name)
}

/// Whether a killed first opening may leave a file of this name: the lock, the marker, what RocksDB
/// makes before the first `CURRENT`; also a file system's lost+found.
fn is_left_by_a_first_opening(name: &str) -> bool {
    [LOCK, first_opening::MARKER, "lost+found"].contains(&name) || is_made_before_current(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn a_child_keeps_no_directory_held() {
        let scratch = tempfile::tempdir().unwrap();
        for name in [CURRENT, LOCK] {
            fs::write(scratch.path().join(name), "").unwrap();
        }
        let held = hold_unchanged(scratch.path()).unwrap();
        assert!(hold_unchanged(scratch.path()).is_err_and(|error| error.status() == Status::Busy));
        // A forked child that lives on has such a descriptor.
        let inherited = held.0[0].try_clone().unwrap();
        drop(held);
        hold_unchanged(scratch.path()).unwrap();
        drop(inherited);
    }
}
