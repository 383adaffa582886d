//! Directories, and the system's errors about paths.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::Error;

/// Whether an error says that a path does not exist. False when the system cannot tell.
pub(crate) fn is_absence(error: &std::io::Error) -> bool {
    [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind())
}

/// Removes a directory with its content, if it exists.
pub(crate) fn remove(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The directory that a path is in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Syncs a directory, so that the names in it are on disk.
///
/// # Errors
/// The system's error.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Opens the folder of a path; None when this user may write to it but not read it, and so cannot
/// synchronise it.
///
/// # Errors
/// What the system says.
pub(super) fn open_parent(path: &Path) -> io::Result<Option<File>> {
    match File::open(parent(path)) {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
    }
}

/// Brings the name at a path to disk, except in a folder that this user may not read.
///
/// # Errors
/// What the system says.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    open_parent(path)?.map_or(Ok(()), |folder| folder.sync_all())
}

/// Device and inode: what a file or directory is, however its path is written.
pub(crate) fn file_id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Whether `found`, what is at a path, is this open file. Absence is not an error. The caller looks
/// with `metadata` to follow links, or with `symlink_metadata`.
///
/// # Errors
/// What the system says.
pub(crate) fn is_same_file(file: &File, found: io::Result<Metadata>) -> io::Result<bool> {
    let opened = file.metadata()?;
    match found {
        Ok(found) => Ok(file_id(&opened) == file_id(&found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The error of the system, with the path that it is about.
pub(crate) fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::io(format!("'{}': {error}", path.display()))
}
