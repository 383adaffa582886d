//! Checkpoint: a directory with everything as it is at one moment: rows, optimizer state, groups, steps, filters.
//!
//! Files of rows are hard links, so it takes no longer for a large table, and no space until rows change. It is a storage
//! like any other, as if closed at that moment, with a list of its files by which a copy can be told to be whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::replay::FOLDER as JOURNAL;
use super::{Core, Storage};
use crate::error::{Error, Result, Status};
use crate::journal;

/// The list of a checkpoint's files, written last. Opening the directory as a storage removes it, since files then change.
pub(super) const LIST: &str = "checkpoint.json";
const FORMAT: &str = "damo checkpoint 1";

/// What the list says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct List {
    pub(super) format: String,
    /// The number of the last call that the checkpoint has.
    pub(super) number: u64,
    /// Milliseconds since 1970.
    pub(super) time: u64,
    /// Every other file, by its path inside the directory, and its bytes.
    pub(super) files: Vec<(String, u64)>,
}

impl Storage {
    /// Writes a checkpoint to `path`, which must not exist yet, in a directory that does. Calls go on meanwhile; the checkpoint has
    /// all of those that returned before, and appears under its name only when it is whole.
    ///
    /// # Errors
    /// `ALREADY_EXISTS`; `INVALID_ARGUMENT` for a path without a name; `IO`, `OUT_OF_MEMORY`, `POISONED`.
    pub fn checkpoint(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let _call = self.begin_call()?;
        let named = |error: Error| error.within(&format!("path '{}'", path.display()));
        let temporary = temporary_name(path)?;
        let unfinished = Unfinished(&temporary);
        // What a killed process has left.
        remove(&temporary).map_err(|error| named(failed(&temporary, &error)))?;
        self.core().write_checkpoint(&temporary).map_err(named)?;
        // Never over something that appeared meanwhile: only an empty directory would be replaced.
        if fs::symlink_metadata(path).is_ok() {
            return Err(already_exists(path));
        }
        fs::rename(&temporary, path).map_err(|error| named(failed(path, &error)))?;
        std::mem::forget(unfinished);
        sync_dir(parent(path)).map_err(|error| named(failed(path, &error)))
    }
}

impl Core {
    fn write_checkpoint(&self, dir: &Path) -> Result<()> {
        let rocks = self.rocks()?;
        let cut = self.with_cut(&rocks, |cut| {
            rocks.checkpoint(dir)?;
            self.save_filters(dir)?;
            Ok(cut)
        })?;
        if self.journal().is_some() {
            // The documents say that there is a journal, and this is it: nothing has been called since.
            journal::write_empty(&dir.join(JOURNAL), cut.number)?;
        }
        let mut list =
            List { format: FORMAT.to_owned(), number: cut.number, time: cut.time, files: Vec::new() };
        list_files(dir, "", &mut list.files).map_err(|error| failed(dir, &error))?;
        list.files.sort();
        let write = || -> std::io::Result<()> {
            let mut file = File::create_new(dir.join(LIST))?;
            file.write_all(&serde_json::to_vec_pretty(&list)?)?;
            file.sync_all()?;
            sync_dir(dir)
        };
        write().map_err(|error| failed(dir, &error))
    }
}

/// A directory that is removed when it is not needed any more.
struct Unfinished<'a>(&'a Path);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let _ = remove(self.0);
    }
}

/// Removes a directory, if it is there.
pub(super) fn remove(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where the checkpoint is made: beside its place, so that a rename puts it there.
fn temporary_name(path: &Path) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Error::invalid(format!(
            "path '{}' does not end in a name; a path that does not exist yet is needed",
            path.display()
        )));
    };
    if fs::symlink_metadata(path).is_ok() {
        return Err(already_exists(path));
    }
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".unfinished");
    Ok(parent(path).join(hidden))
}

fn already_exists(path: &Path) -> Error {
    Error::new(
        Status::AlreadyExists,
        format!("path '{}' exists; a path that does not exist yet is needed", path.display()),
    )
}

/// The directory that a path is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(super) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Every file below a directory, by its path in it, with its bytes.
pub(super) fn list_files(dir: &Path, prefix: &str, files: &mut Vec<(String, u64)>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            list_files(&entry.path(), &format!("{name}/"), files)?;
        } else if name != LIST {
            files.push((name, metadata.len()));
        }
    }
    Ok(())
}

pub(super) fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::io(format!("'{}': {error}", path.display()))
}

impl List {
    /// Compares a checkpoint with its list; None when it has none, as a storage has not.
    ///
    /// # Errors
    /// `CORRUPTION` naming the file that is missing or has another length; `NOT_SUPPORTED` for a later format.
    pub(super) fn check(dir: &Path) -> Result<Option<List>> {
        let json = match fs::read(dir.join(LIST)) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&dir.join(LIST), &error)),
        };
        let list: List = serde_json::from_slice(&json)
            .map_err(|error| Error::corruption(format!("its list of files, {LIST}, is damaged: {error}")))?;
        if list.format != FORMAT {
            return Err(Error::new(
                Status::NotSupported,
                format!("its format is '{}'; this damo reads '{FORMAT}'", list.format),
            ));
        }
        for (name, bytes) in &list.files {
            match fs::metadata(dir.join(name)) {
                Ok(found) if found.len() == *bytes => {}
                Ok(found) => {
                    let found = found.len();
                    return Err(Error::corruption(format!(
                        "its file '{name}' has {found} bytes and had {bytes} when the checkpoint was made"
                    )));
                }
                Err(error) => {
                    return Err(Error::corruption(format!("its file '{name}' cannot be read: {error}")));
                }
            }
        }
        Ok(Some(list))
    }
}
