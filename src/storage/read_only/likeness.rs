//! The private directory in which a storage is opened that is only looked at.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};
use crate::regular;
use crate::storage::checkpoint::{LIST, remove};
use crate::storage::directory::{LOCK, is_in_use};

/// How the names of likenesses begin; the process that made it and a number follow.
const PREFIX: &str = "damo-read-only-";

/// Folders of a storage's directory.
const FOLDERS: [&str; 5] = ["journal", "incoming", "filters", ".damo-restoring", ".damo-restored"];

/// A file of the original, as it was when the likeness was made: its path, its bytes, and when it
/// changed last.
type Seen = (PathBuf, u64, (i64, i64));

/// The directory; removed when dropped.
pub(in crate::storage) struct Likeness {
    path: PathBuf,
    original: PathBuf,
    pid: u32,
    seen: Vec<Seen>,
    is_in_use: bool,
}

impl Likeness {
    /// Makes a likeness of the storage in `dir`, in the system's folder for temporary files.
    ///
    /// # Errors
    /// `IO`, naming what cannot be read or made.
    pub(super) fn make(dir: &Path) -> Result<Likeness> {
        let original = fs::canonicalize(dir).map_err(|error| failed(dir, "read", &error))?;
        let folder = std::env::temp_dir();
        remove_stale(&folder);
        let path = make_folder(&folder)?;
        let mut likeness =
            Likeness { path, original, pid: std::process::id(), seen: Vec::new(), is_in_use: false };
        let path = likeness.path.clone();
        likeness.is_in_use = is_in_use(&likeness.original);
        likeness.seen = list(&likeness.original)?;
        for (name, ..) in &likeness.seen {
            likeness.add(name).map_err(|error| {
                let shown = likeness.original.join(name);
                Error::io(format!(
                    "'{}' cannot be linked or copied to '{}': {error}",
                    shown.display(),
                    path.display()
                ))
            })?;
        }
        Ok(likeness)
    }

    pub(in crate::storage) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it is a likeness of.
    pub(in crate::storage) fn original(&self) -> &Path {
        &self.original
    }

    /// Whether a storage had the original open, here or in another process.
    pub(in crate::storage) fn is_in_use(&self) -> bool {
        self.is_in_use
    }

    /// When a file of the original had changed last, milliseconds since 1970.
    pub(in crate::storage) fn changed_ms(&self) -> u64 {
        let latest = self.seen.iter().map(|(_, _, (seconds, nanos))| seconds * 1000 + nanos / 1_000_000);
        latest.max().and_then(|latest| u64::try_from(latest).ok()).unwrap_or(0)
    }

    /// The same error, with the names that the files have in the original.
    pub(in crate::storage) fn in_original(&self, error: Error) -> Error {
        let (ours, theirs) = (self.path.to_string_lossy(), self.original.to_string_lossy());
        Error::new(error.status(), error.message().replace(&*ours, &theirs))
    }

    /// Whether somebody has changed the original since.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn has_original_changed(&self) -> Result<bool> {
        Ok(list(&self.original)? != self.seen)
    }

    fn add(&self, name: &Path) -> io::Result<()> {
        let (from, to) = (self.original.join(name), self.path.join(name));
        if let Some(folder) = to.parent().filter(|folder| *folder != self.path) {
            fs::create_dir_all(folder)?;
        }
        if !may_change(name) {
            return symlink(&from, &to);
        }
        match regular::read(&from) {
            Ok(bytes) => File::create_new(&to)?.write_all(&bytes),
            // Somebody has removed it since it was listed; that will be noticed.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            // No file; whoever opens the likeness refuses it.
            Err(error) if error.kind() == ErrorKind::Other => symlink(&from, &to),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Likeness {
    fn drop(&mut self) {
        // In a forked child it is the parent's.
        if self.pid == std::process::id() {
            let _ = remove(&self.path);
        }
    }
}

/// Makes a folder that only this user may look into.
fn make_folder(folder: &Path) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {
                return fs::canonicalize(&path).map_err(|error| failed(&path, "read", &error));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(Error::io(format!(
                    "a folder for links to its files cannot be made in '{}': {error}; set TMPDIR to a folder \
                     that can be written",
                    folder.display()
                )));
            }
        }
    }
}

/// Removes what processes that were killed have left: their storage's lock is free.
fn remove_stale(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = remove(&entry.path());
        }
    }
}

/// The files of a storage, by their paths inside it, in order.
fn list(dir: &Path) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    list_folder(dir, Path::new(""), &mut seen).map_err(|error| failed(dir, "read", &error))?;
    seen.sort();
    Ok(seen)
}

fn list_folder(dir: &Path, folder: &Path, seen: &mut Vec<Seen>) -> io::Result<()> {
    let entries = match fs::read_dir(dir.join(folder)) {
        // Somebody has removed it meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound && folder != Path::new("") => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = folder.join(entry.file_name());
        let found: Metadata = match fs::metadata(entry.path()) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let shown = entry.file_name().to_string_lossy().into_owned();
        if found.is_dir() {
            if FOLDERS.contains(&shown.as_str()) {
                list_folder(dir, &name, seen)?;
            }
        } else if is_needed(&shown) {
            seen.push((name, found.len(), (found.mtime(), found.mtime_nsec())));
        }
    }
    Ok(())
}

/// Whether a storage's opening reads it, or refuses what has its name.
fn is_needed(name: &str) -> bool {
    may_change(Path::new(name))
        || [".sst", ".blob", ".journal", ".filter"].iter().any(|end| name.ends_with(end))
}

/// Files that opening may write to, or cut off. They are small.
fn may_change(name: &Path) -> bool {
    let Some(name) = name.file_name().map(|name| name.to_string_lossy()) else { return false };
    name.ends_with(".log")
        || ["MANIFEST-", "OPTIONS-"].iter().any(|begin| name.starts_with(begin))
        || ["CURRENT", "IDENTITY", "INVENTORY", "filters.json", LIST].contains(&&*name)
}

fn failed(path: &Path, what: &str, error: &io::Error) -> Error {
    Error::io(format!("'{}' cannot be {what}: {error}", path.display()))
}
