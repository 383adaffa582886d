//! SST files on their way into the database. Each has a name of its own. A file is kept until
//! RocksDB certainly does not need it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::file_names::SST;
use crate::error::{Error, Result};
use crate::locks::Mutex;

/// The folder's name.
pub(crate) const FOLDER: &str = "incoming";

/// The folder `incoming` of a storage.
pub(crate) struct Incoming {
    folder: PathBuf,
    /// How many files were made; the next one's name.
    made: AtomicU64,
    /// Files that RocksDB failed to take over. Its MANIFEST may name them all the same.
    kept: Mutex<Vec<PathBuf>>,
    /// Files that nobody needs, and that could not be removed yet.
    useless: Mutex<Vec<PathBuf>>,
}

impl Incoming {
    /// Makes the folder, and removes what a killed process has left in it. The database must be
    /// open already, since opening it may need these files.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn open(dir: &Path) -> Result<Incoming> {
        let folder = dir.join(FOLDER);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(failed("made", &folder, &error));
            }
            _ => {}
        }
        for path in list(dir)? {
            fs::remove_file(&path).map_err(|error| failed("removed", &path, &error))?;
        }
        Ok(Incoming {
            folder,
            made: AtomicU64::new(0),
            kept: Mutex::default(),
            useless: Mutex::default(),
        })
    }

    /// Makes a new file. Its name is never used again: RocksDB may have a link to the file that had
    /// it, and writing would change that.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn make(&self) -> Result<PathBuf> {
        let path =
            self.folder.join(format!("{:06}{SST}", self.made.fetch_add(1, Ordering::Relaxed)));
        File::create_new(&path).map_err(|error| failed("made", &path, &error))?;
        Ok(path)
    }

    /// Notes that RocksDB has taken a file over, under another name, and that the MANIFEST is
    /// whole.
    pub(crate) fn is_taken(&self, path: PathBuf) {
        self.useless.lock().push(path);
        self.forget_kept();
    }

    /// Notes that RocksDB failed to take a file over.
    pub(crate) fn keep(&self, path: PathBuf) {
        self.kept.lock().push(path);
    }

    /// Removes a file that RocksDB has never seen.
    pub(crate) fn discard(&self, path: PathBuf) {
        self.useless.lock().push(path);
        self.remove_useless();
    }

    /// Removes the files that RocksDB failed to take over. Call it once RocksDB has begun a new
    /// MANIFEST, which names none of them.
    pub(crate) fn forget_kept(&self) {
        self.useless.lock().append(&mut self.kept.lock());
        self.remove_useless();
    }

    /// Removes files that nobody needs. A file that cannot be removed only takes space; the next
    /// call tries again.
    fn remove_useless(&self) {
        let removed = |path: &PathBuf| match fs::remove_file(path) {
            Err(error) => error.kind() == ErrorKind::NotFound,
            Ok(()) => true,
        };
        self.useless.lock().retain(|path| !removed(path));
    }
}

/// The files in the folder of a directory, oldest first.
///
/// # Errors
/// `IO`.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let folder = dir.join(FOLDER);
    let unreadable = |error: io::Error| failed("read", &folder, &error);
    let mut paths = Vec::new();
    match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        entries => {
            for entry in entries.map_err(unreadable)? {
                paths.push(entry.map_err(unreadable)?.path());
            }
        }
    }
    paths.sort();
    Ok(paths)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::io(format!("'{}' cannot be {what}: {error}", path.display()))
}
