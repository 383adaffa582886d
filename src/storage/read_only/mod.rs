//! Opening a storage only to look at it: not one byte of its directory changes.
//!
//! RocksDB's own read-only opening sees neither a journal nor what a process that was killed left
//! half done, and cannot make checkpoints. So the storage that is opened is a likeness: a private
//! directory with links to the files of rows and copies of the few small files that opening may
//! change. Everything that opening has to do is done there, and thrown away at closing.

mod likeness;

use std::path::Path;
use std::sync::Arc;

pub(super) use likeness::Likeness;

use super::directory::Directory;
use super::expiry::Expiry;
use super::{Core, Storage, StorageOptions, directory, restore};
use crate::error::{Error, Result, Status};

/// How often a storage is looked at that another process changes meanwhile.
const ATTEMPTS: usize = 20;

/// Opens a likeness of `dir`.
///
/// # Errors
/// `NOT_FOUND` when there is no storage; as [`Storage::open`], with the names of the files in
/// `dir`; `IO` when there is no room for the likeness.
pub(super) fn open(dir: &Path, expiry: Arc<Expiry>, options: StorageOptions) -> Result<Storage> {
    check_is_storage(dir)?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let likeness = Arc::new(Likeness::make(dir)?);
        let taken = Directory::take(likeness.path());
        let opened = taken.and_then(|taken| {
            Storage::open_taken(taken, Some(Arc::clone(&likeness)), options, Arc::clone(&expiry))
        });
        let Err(error) = opened else { return opened };
        if attempt == ATTEMPTS || !likeness.has_original_changed()? {
            return Err(likeness.in_original(error));
        }
    }
}

/// Refuses a path without a storage: nothing is made.
fn check_is_storage(dir: &Path) -> Result<()> {
    if dir.metadata().is_ok_and(|found| !found.is_dir()) {
        return Err(Error::invalid("is a file; the directory of a storage is needed"));
    }
    // One that was killed while a checkpoint was loaded has no database for a moment.
    let is_one =
        restore::is_committed(dir)? || directory::may_hold_storage(dir)? && directory::has_database(dir)?;
    if is_one {
        return Ok(());
    }
    let what = if dir.exists() { "holds no damo storage" } else { "does not exist" };
    Err(Error::new(
        Status::NotFound,
        format!("{what}; the directory of a storage is needed, since it is opened with read_only"),
    ))
}

impl Core {
    /// # Errors
    /// `NOT_SUPPORTED` when the storage was opened with `read_only`.
    pub fn check_writable(&self) -> Result<()> {
        if !self.options.read_only {
            return Ok(());
        }
        Err(Error::new(
            Status::NotSupported,
            "the storage is open with read_only, and this call changes it; open it without read_only",
        ))
    }

    /// Whether lookups make no rows, and nothing else changes either.
    pub fn is_read_only(&self) -> bool {
        self.options.read_only
    }
}
