//! Opening with `read_only`: a look at a storage, which changes not one byte of its directory.
//!
//! RocksDB's own read-only opening sees neither a journal nor what a killed process left half done,
//! and cannot make checkpoints. So damo opens a likeness of the storage: a private directory with
//! links to the files that opening only reads, and copies of the few small files that opening may
//! change. Opening does everything there. Closing removes the likeness.

mod folder;
mod held;
mod likeness;
mod listing;
mod messages;
mod refusals;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

pub(super) use likeness::Likeness;

use super::checkpoint::{self, swap};
use super::directory::Directory;
use super::{Storage, directory, first_opening, open};
use crate::engine::expiry::Expiry;
use crate::engine::options::StorageOptions;
use crate::error::{Error, Result, Status};
use crate::files::regular;
use crate::process;
use crate::rocks::{Inventory, check_regular};

/// For so long looks are tried again while another process makes or changes the storage.
const PATIENCE: Duration = Duration::from_secs(5);
/// For so long a look waits for a first opening whose process is not seen: it may have just begun,
/// or have been killed.
const BEGINNING: Duration = Duration::from_millis(300);
/// The longest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The outcome of one look.
enum Look {
    Opened(Storage),
    /// Another process changes the storage, so what looks like damage need not be any.
    Changing(Error),
}

/// Opens a likeness of `dir`.
///
/// # Errors
/// `NOT_FOUND` when there is no storage; `BUSY` when another process has been making it, or
/// changing it too fast, for as long as `PATIENCE`; `IO` when there is no room for the likeness; as
/// [`Storage::open`], with the names of the files in `dir`.
pub(super) fn open(dir: &Path, expiry: Arc<Expiry>, options: StorageOptions) -> Result<Storage> {
    process::check_not_forked()?;
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    let mut has_seen_damage = false;
    loop {
        let error = match look(dir, begun, &expiry, options) {
            Ok(Look::Opened(storage)) => return Ok(storage),
            Ok(Look::Changing(error)) => error,
            // A listing is not of one moment: it may miss a file that takes another's place. So the
            // first look that finds damage is repeated.
            Err(error) if error.status() == Status::Corruption && !has_seen_damage => {
                has_seen_damage = true;
                error
            }
            Err(error) => return Err(error),
        };
        if begun.elapsed() >= PATIENCE {
            return Err(error);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn look(dir: &Path, begun: Instant, expiry: &Arc<Expiry>, options: StorageOptions) -> Result<Look> {
    if is_being_made(dir, begun)? {
        return Ok(Look::Changing(being_made()));
    }
    // A missing directory has no files.
    let before = listing::list(dir).unwrap_or_default();
    if let Err(error) = check_is_storage(dir) {
        let is_changing =
            is_being_made(dir, begun)? || listing::list(dir).unwrap_or_default() != before;
        return if is_changing { Ok(Look::Changing(being_made())) } else { Err(error) };
    }
    if let Err(error) = check_files(dir) {
        if is_being_made(dir, begun)? {
            return Ok(Look::Changing(being_made()));
        }
        let has_changed = || listing::list(dir).unwrap_or_default() != before;
        return if is_shortage(&error) || !has_changed() {
            Err(error)
        } else {
            Ok(Look::Changing(changing(error)))
        };
    }
    let Some(likeness) = Likeness::make(dir)?.map(Arc::new) else {
        return Ok(Look::Changing(changes_fast("its files did not fit together")));
    };
    if is_being_made(dir, begun)? {
        return Ok(Look::Changing(being_made()));
    }
    let taken = Directory::take(likeness.path());
    let opened = taken.and_then(|taken| {
        Storage::open_taken(taken, Some(Arc::clone(&likeness)), options, Arc::clone(expiry))
    });
    let error = match opened {
        Ok(storage) => return Ok(Look::Opened(storage)),
        Err(error) => error,
    };
    let error = likeness.in_original(error);
    if is_shortage(&error) || !likeness.has_original_changed()? {
        return Err(error);
    }
    Ok(Look::Changing(changing(error)))
}

/// The error for what a look has found while the storage changes. It need not be damage, so it is
/// BUSY, unless it is an IO error other than a missing file.
fn changing(error: Error) -> Error {
    let is_systems = error.status() == Status::Io && !messages::is_gone(error.message());
    if is_systems { error } else { changes_fast(error.message()) }
}

/// Whether a first opening by another process is under way.
fn is_being_made(dir: &Path, begun: Instant) -> Result<bool> {
    Ok(first_opening::is_under_way(dir)?
        && (directory::is_in_use(dir) || begun.elapsed() < BEGINNING))
}

/// Whether an error is for want of memory, room or descriptors: it says nothing about the storage.
fn is_shortage(error: &Error) -> bool {
    let message = error.message();
    error.status() == Status::OutOfMemory
        || messages::is_refused_write(message)
        || regular::check_no_shortage(message).is_err()
}

fn being_made() -> Error {
    Error::busy(format!(
        "is being made by another process, and was not finished in {} s; open it again in a moment",
        PATIENCE.as_secs()
    ))
}

fn changes_fast(found: &str) -> Error {
    Error::busy(format!(
        "another process has changed it during each look for {} s, so that it could not be seen \
         whole; open \
             it again in a moment, or look at a checkpoint of it (the last look found: {found})",
        PATIENCE.as_secs()
    ))
}

/// Refuses a path without a storage: a look makes none.
fn check_is_storage(dir: &Path) -> Result<()> {
    if dir.metadata().is_ok_and(|found| !found.is_dir()) {
        return Err(Error::invalid("is a file; the directory of a storage is needed"));
    }
    // A storage whose process was killed while it loaded a checkpoint may have no database.
    let is_one = swap::is_committed(dir)?
        || directory::may_hold_storage(dir)? && directory::has_database(dir)?;
    if is_one {
        return Ok(());
    }
    let what = if dir.exists() { "holds no damo storage" } else { "does not exist" };
    Err(Error::not_found(format!(
        "{what}; the directory of a storage is needed, since it is opened with read_only"
    )))
}

/// Checks the small files of a storage before any is copied: a directory that is no storage, or is
/// damaged, may have large ones. Changes nothing.
fn check_files(dir: &Path) -> Result<()> {
    let dir =
        fs::canonicalize(dir).map_err(|error| Error::io(format!("cannot be read: {error}")))?;
    // Opening will first put the loaded checkpoint's files in their places.
    if swap::is_committed(&dir)? {
        return Ok(());
    }
    check_regular(&dir)?;
    let inventory = Inventory::read(&dir)?;
    checkpoint::FileList::check(&dir)?;
    match inventory {
        Some(inventory) => inventory.compare(&dir),
        None => open::is_earlier(&dir, "the directory of a damo storage").map(drop),
    }
}
