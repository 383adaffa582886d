//! Directories, and the system's errors about paths.

use std::fs::{self, File};
use std::io::ErrorKind;
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

/// The system's error with its path, as damo's.
pub(crate) fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::io(format!("'{}': {error}", path.display()))
}
