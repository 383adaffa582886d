//! A file that appears under its name only when it is whole: it is written beside that name,
//! synchronised, then renamed.
//!
//! The temporary file `.<name>.partial` is deleted when the writer is dropped. The next writer of
//! the same name takes over one that a killed process has left; a lock on it tells the two cases
//! apart.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::files::folder::is_same_file;
use crate::files::temporary::TemporaryName;
use crate::reserved::is_in_storage;

pub(super) struct PartialFile {
    // Before the file, so that it is deleted while it is locked.
    temporary: TemporaryName,
    file: File,
    target: PathBuf,
    /// The path as the caller wrote it, for messages.
    shown: PathBuf,
}

impl PartialFile {
    /// Creates the temporary file.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a path that cannot be a file's, `BUSY` when it is being written
    /// already, `IO`.
    pub(super) fn create(path: &Path) -> Result<PartialFile> {
        let target = check_path(path)?;
        let temporary = beside(&target, "partial");
        let uncreatable = |error: io::Error| {
            Error::io(format!("'{}' cannot be created: {error}", path.display()))
        };
        // Its owner may delete or rename it between opening and locking; nobody does that for long.
        for _ in 0..100 {
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&temporary)
                .map_err(uncreatable)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Err(busy(path)),
                // A file system without locks: callers must then write a file once at a time.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            let found = fs::symlink_metadata(&temporary);
            if is_same_file(&file, found).map_err(uncreatable)? {
                // It may be an old file that was just exchanged and that somebody has mapped: such
                // a file must not be truncated.
                if file.metadata().map_err(uncreatable)?.len() > 0 {
                    fs::remove_file(&temporary).map_err(uncreatable)?;
                    continue;
                }
                let temporary = TemporaryName::new(temporary);
                return Ok(PartialFile { temporary, file, target, shown: path.to_owned() });
            }
        }
        Err(busy(path))
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// A nameless file in the same folder, gone when it is closed, even if the process is killed.
    pub(super) fn scratch(&self) -> Result<File> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let path = beside(&self.target, &format!("scratch-{pid}-{number}"));
        let created = File::options().read(true).write(true).create_new(true).open(&path);
        let file = created.map_err(|error| self.failed("index file be made", &error))?;
        fs::remove_file(&path).map_err(|error| self.failed("index file be made", &error))?;
        Ok(file)
    }

    pub(super) fn failed(&self, what: &str, error: &io::Error) -> Error {
        Error::io(format!("'{}' cannot {what}: {error}", self.shown.display()))
    }

    /// Brings the file to disk and gives it its name.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn finish(self) -> Result<()> {
        self.file.sync_all().map_err(|error| self.failed("be written", &error))?;
        let shown = self.shown.display();
        self.temporary
            .publish(&self.target)
            .map_err(|error| Error::io(format!("'{shown}' cannot get its name: {error}")))
    }
}

/// `.<name>.<suffix>` in the same folder.
fn beside(target: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".");
    name.push(suffix);
    target.with_file_name(name)
}

/// Checks the path and makes it absolute, so that a chdir meanwhile does no harm.
fn check_path(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    let invalid =
        |what: &str| Error::invalid(format!("path '{shown}' {what}; the path of a file is needed"));
    if path.as_os_str().is_empty() {
        return Err(Error::invalid("path is empty; the path of a file is needed"));
    }
    if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(invalid("has no file name"));
    }
    let uncreatable = |error: io::Error| Error::io(format!("'{shown}' cannot be created: {error}"));
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(invalid("is a directory")),
        // Renaming over a device would replace it.
        Ok(found) if !found.is_file() => return Err(invalid("is a device, pipe or socket")),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(uncreatable(error)),
        _ => {}
    }
    let target = follow_links(path).map_err(uncreatable)?;
    if is_in_storage(&target).map_err(uncreatable)? {
        return Err(invalid("is in the directory of a storage"));
    }
    Ok(target)
}

/// The largest number of links that are followed.
const MAX_LINKS: usize = 40;

/// The absolute path of the file to be made or replaced: the target of a symbolic link, not the
/// link.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut target = std::path::absolute(path)?;
    for _ in 0..MAX_LINKS {
        match fs::symlink_metadata(&target) {
            Ok(found) if found.is_symlink() => {
                let to = fs::read_link(&target)?;
                target = target.parent().unwrap_or(Path::new("/")).join(to);
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => return Ok(target),
        }
    }
    Err(io::Error::other("it leads through too many links"))
}

fn busy(path: &Path) -> Error {
    Error::busy(format!(
        "'{}' is being written, here or in another process; wait for it to end",
        path.display()
    ))
}
