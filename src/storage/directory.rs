//! A storage's directory: made, recognised by what it is and not by how its path is written, and used by one storage
//! at a time.
//!
//! RocksDB tells databases apart by path, so that "t", "t/" and a symbolic link to it would open one database twice and
//! destroy it. Here a directory is its device and inode.

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
    /// Locked for as long as this is there: RocksDB's own lock is let go of while a checkpoint is loaded.
    lock: Option<File>,
    /// The lock's file was made here, and goes again unless the directory turns out to be a storage.
    is_new: AtomicBool,
    /// To be removed with everything in it when it is given back, while the lock is still held.
    is_unwanted: AtomicBool,
}

/// The file that is locked.
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
        // Before anything is created: RocksDB would write to the path of a storage that was moved while open.
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
        // From here on dropping gives it back.
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

    /// Refuses a directory that another process has open, before RocksDB would rotate that process's logs.
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
                // Somebody else has just made it.
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
        // It may have been removed meanwhile by somebody who found that this is no storage.
        match is_same_file(&file, fs::metadata(&path)) {
            Ok(true) => Ok(Some(file)),
            Ok(false) => Err(busy(given, "in another process")),
            Err(error) => Err(unusable(given, LOCK, "looked at", &error)),
        }
    }

    /// The directory is a storage: its lock's file stays.
    pub(super) fn keep(&self) {
        self.is_new.store(false, Ordering::Relaxed);
    }

    /// Nobody wants what is in it: it is removed before it is given back, so that nobody opens it
    /// before.
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

/// Tells whether there is a database. Without `CURRENT` there is none, but then only what a first
/// opening leaves when it is killed may be there: anything else is somebody's.
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
                "the file CURRENT is missing, and '{name}' is there; restore CURRENT from a copy, or move the \
                 directory away"
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

/// The files by which a directory is held.
pub(super) struct Unchanged(Vec<File>);

impl Drop for Unchanged {
    fn drop(&mut self) {
        // Not by closing alone: a child that was forked meanwhile may still have the files.
        for file in &self.0 {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

/// Holds a directory that only is read: nobody opens it meanwhile, and nothing in it changes.
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
    // Then the file of RocksDB's lock is not opened here: closing it would release the lock. Nobody
    // opens the storage until it is closed again.
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

/// Something that damo did not make.
pub(super) fn foreign(what: &str) -> Error {
    Error::invalid(format!("{what}; an empty directory, a new path or a damo storage is needed"))
}

/// False where opening would make a new storage, or make the directory first. Whatever else there is, opening judges it.
///
/// # Errors
/// `IO`.
pub(super) fn may_hold_storage(dir: &Path) -> Result<bool> {
    if first_opening::is_under_way(dir)? {
        return Ok(false);
    }
    match fs::read_dir(dir) {
        Err(error) => Ok(error.kind() != ErrorKind::NotFound),
        // What cannot be read is not taken for what is not there.
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

/// A lock's file that the system refuses. That is not somebody else's lock.
fn unusable(dir: &Path, file: &str, what: &str, error: &std::io::Error) -> Error {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; a storage is opened for reading and writing: let this user write the directory and the files in it, or \
             open a copy"
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

/// Creates the directory and its parents, each entry on disk before the next: after a power cut a storage must not be
/// missing because its directory's name was never written.
fn create(dir: &Path) -> Result<()> {
    let shown = dir.display();
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() && dir.join(INVENTORY).exists() => return Ok(()),
        // One that is no storage yet may be another storage's.
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
            // Somebody else was faster, which is as good.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        sync_parent(path)
    });
    if result.is_err() {
        // What was made on the way to an error goes again, unless others have put something there meanwhile.
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
        "data_dir '{shown}' is one of the places that the storage in '{}' has for its own files; a path elsewhere is \
         needed",
        storage.display()
    )))
}

/// Files of a database that has lived.
fn is_table_or_log(name: &str) -> bool {
    name == JOURNAL || is_of_database(name)
}

/// Files that RocksDB makes before the first `CURRENT`, and what a file system puts into its root.
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
        // As a child has it that is forked before and lives on.
        let inherited = held.0[0].try_clone().unwrap();
        drop(held);
        hold_unchanged(scratch.path()).unwrap();
        drop(inherited);
    }
}
