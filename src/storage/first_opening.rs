//! The marker of a first opening that is under way. If a first opening is killed, the next one
//! finds the marker and begins anew.
//!
//! RocksDB makes a database in several steps, and cannot open what is there after some of them.
//! Nothing has been stored by then. The marker is removed once the inventory is written, before the
//! first opening returns.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::engine::replay::FOLDER as JOURNAL;
use crate::error::{Error, Result};
use crate::files::folder::{is_absence, sync_dir};
use crate::journal;
use crate::rocks::file_names::{is_of_empty_database, is_sst};
use crate::rocks::incoming::FOLDER as INCOMING;
use crate::rocks::{INVENTORY, NEW_INVENTORY};

/// The marker's name.
pub(super) const MARKER: &str = ".damo-first-opening";

/// Makes the marker. It is on disk before anything else is made.
///
/// # Errors
/// `IO`.
pub(super) fn mark(dir: &Path) -> Result<()> {
    let path = dir.join(MARKER);
    let make = || File::create(&path)?.sync_all().and_then(|()| sync_dir(dir));
    make().map_err(|error| failed("made", &path, &error))
}

/// Removes the marker. Call it once the inventory lists what the first opening has made.
///
/// # Errors
/// `IO`.
pub(super) fn unmark(dir: &Path) -> Result<()> {
    let path = dir.join(MARKER);
    match fs::remove_file(&path).and_then(|()| sync_dir(dir)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("removed", &path, &error)),
        _ => Ok(()),
    }
}

/// Whether a first opening was killed here, or is under way.
///
/// # Errors
/// `IO`.
pub(super) fn is_under_way(dir: &Path) -> Result<bool> {
    let there = |name: &str| {
        let path = dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(error) if is_absence(&error) => Ok(false),
            Err(error) => Err(failed("looked at", &path, &error)),
        }
    };
    Ok(there(MARKER)? && !there(INVENTORY)?)
}

/// Removes what a killed first opening has made.
///
/// # Errors
/// `IO`; `CORRUPTION` when there are rows or calls, which no first opening leaves.
pub(super) fn undo(dir: &Path) -> Result<()> {
    let unreadable = |error: io::Error| failed("read", dir, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        names.push(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
    }
    let has_calls =
        names.iter().any(|name| name == JOURNAL) && !journal::is_empty(&dir.join(JOURNAL))?;
    if let Some(name) = names.iter().find(|name| is_sst(name) || has_calls && *name == JOURNAL) {
        return Err(Error::damage(format_args!(
            "'{}' says that nothing was stored here, and '{name}' is there without '{INVENTORY}'",
            dir.join(MARKER).display()
        )));
    }
    for name in names.iter().filter(|name| is_made_first(name)) {
        let path = dir.join(name);
        let removed = match name.as_str() {
            JOURNAL | INCOMING => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        removed.map_err(|error| failed("removed", &path, &error))?;
    }
    Ok(())
}

/// Removes what a first opening has made before it failed, as far as that works.
pub(super) fn give_up(dir: &Path) {
    if is_under_way(dir).is_ok_and(|is_under_way| is_under_way) && undo(dir).is_ok() {
        let _ = unmark(dir);
    }
}

/// What a first opening makes beside the marker and the lock.
fn is_made_first(name: &str) -> bool {
    [JOURNAL, INCOMING, NEW_INVENTORY].contains(&name) || is_of_empty_database(name)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::io(format!("'{}' cannot be {what}: {error}", path.display()))
}
