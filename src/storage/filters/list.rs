//! The list of copies of filters in a folder `filters`. The folder is a checkpoint's, or a
//! storage's, where copies wait for their filters.

use std::fmt::Display;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result, Status};
use crate::files::folder::{is_absence, parent, sync_dir};
use crate::files::regular;
use crate::files::temporary::TemporaryName;
use crate::filter::{Filter, verify_file};
use crate::rocks::file_names::is_numbered;

/// The folder in a checkpoint or a storage. The list is in it.
pub(crate) const FOLDER: &str = "filters";
const LIST: &str = "filters.json";
/// The list's name while it is written.
const NEW_LIST: &str = "filters.json.new";
/// The most bytes that a list has. A list of 65,536 groups with a filter each has a third of that.
const MAX_LIST: u64 = 64 << 20;

const FORMAT: &str = "damo filters 1";

/// What the list says.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CopyList {
    format: String,
    /// A random id, given when counts are first taken from this list. None in a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) copies: Vec<FilterCopy>,
    /// The groups that took each copy's counts, also of copies that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) taken: Vec<Taken>,
}

/// A copy of a filter.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct FilterCopy {
    pub(super) file: String,
    /// The filter's path when it was copied.
    pub(super) path: String,
    /// The groups that had the filter; in a storage, those that the copy waits for.
    pub(super) groups: Vec<u16>,
    /// Copies of the same list whose counts include these: their filter had taken them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) part_of: Vec<String>,
}

/// A copy and the groups that took its counts.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) file: String,
    pub(super) groups: Vec<u16>,
}

impl CopyList {
    pub(super) fn new(copies: Vec<FilterCopy>) -> CopyList {
        CopyList { format: FORMAT.to_owned(), id: None, copies, taken: Vec::new() }
    }

    /// Reads the list in a folder; an empty one if there is none. Lists of builds before the first
    /// release are an array of copies.
    ///
    /// # Errors
    /// `CORRUPTION` when it is damaged; `NOT_SUPPORTED` for a later format; `IO`.
    pub(super) fn read(folder: &Path) -> Result<CopyList> {
        let list = folder.join(LIST);
        let damaged = |why: &dyn Display| {
            Error::corruption(format!("its list of filters '{}' is damaged: {why}", list.display()))
        };
        let json = match regular::read_small(&list, MAX_LIST) {
            Err(error) if is_absence(&error) => return Ok(CopyList::new(Vec::new())),
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(damaged(&error)),
            Err(error) => return Err(Error::io(format!("'{}': {error}", list.display()))),
            Ok(json) => json,
        };
        let value: Value = serde_json::from_slice(&json).map_err(|error| damaged(&error))?;
        let read = match value.get("format").and_then(Value::as_str) {
            None if value.is_array() => serde_json::from_value(value).map(CopyList::new),
            Some(format) if format != FORMAT => {
                return Err(Error::new(
                    Status::NotSupported,
                    format!(
                        "the format of '{}' is '{format}'; this damo reads '{FORMAT}'",
                        list.display()
                    ),
                ));
            }
            _ => serde_json::from_value(value),
        };
        let read: CopyList = read.map_err(|error| damaged(&error))?;
        // Files in the list are read, copied and deleted, so they must have names of copies.
        match read.copies.iter().find(|copy| !is_copy(&copy.file)) {
            Some(copy) => {
                Err(damaged(&format_args!("it names '{}', which no copy is called", copy.file)))
            }
            None => Ok(read),
        }
    }

    /// Writes the list beside the one that may be there; [`Draft::publish`] puts it in its place.
    /// What can fail for want of room is done here.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn draft(&self, folder: &Path) -> io::Result<Draft> {
        let (new, list) = (folder.join(NEW_LIST), folder.join(LIST));
        // Whatever has that name is removed, not written to: a pipe would wait for a reader.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if self.copies.is_empty() {
            return Ok(Draft { new: None, list });
        }
        let json = serde_json::to_vec_pretty(self)?;
        if json.len() as u64 > MAX_LIST {
            return Err(io::Error::other(format!(
                "the list of filters has more than {MAX_LIST} bytes"
            )));
        }
        let mut file = File::create_new(&new)?;
        let draft = Draft { new: Some(TemporaryName::new(new)), list };
        file.write_all(&json)?;
        file.sync_all()?;
        Ok(draft)
    }

    /// Writes the list in place of the one that may be there. It is on disk when this returns.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        self.draft(folder)?.publish()
    }

    /// Reads the copies through.
    ///
    /// # Errors
    /// `CORRUPTION` naming the file; `IO`.
    pub(super) fn verify(&self, folder: &Path) -> Result<()> {
        self.copies.iter().try_for_each(|copy| verify_file(&folder.join(&copy.file)))
    }
}

impl FilterCopy {
    pub(super) fn new(file: String, filter: &Filter, groups: Vec<u16>) -> FilterCopy {
        FilterCopy { file, path: path_of(filter), groups, part_of: Vec::new() }
    }
}

/// A list that is written and does not have its name yet. Dropping it unpublished removes it.
pub(super) struct Draft {
    /// None when no copy waits any more.
    new: Option<TemporaryName>,
    list: PathBuf,
}

impl Draft {
    /// Gives the list its name; without copies, removes the list that is there. Either is on disk
    /// when this returns.
    ///
    /// # Errors
    /// What the system says. The previous list is still there, unless the error says otherwise.
    pub(super) fn publish(self) -> io::Result<()> {
        match self.new {
            Some(new) => new
                .publish(&self.list)
                .map_err(|error| io::Error::new(error.kind(), error.to_string())),
            None => {
                match fs::remove_file(&self.list) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                match sync_dir(parent(&self.list)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Whether a file of a checkpoint, by its name there, is one of these.
pub(in crate::storage) fn is_of_filters(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(folder, file)| folder == FOLDER && (file == LIST || is_copy(file)))
}

/// Whether a file name is one that copies have. Other files are not damo's: they are neither copied
/// nor deleted.
fn is_copy(name: &str) -> bool {
    is_numbered(name, "", ".filter")
}

/// Removes copies that the list does not name, as far as that works: their counts were taken, now
/// or before a kill. A copy that somebody has open as a filter stays. The folder stays while it has
/// anything else.
pub(super) fn sweep(folder: &Path, listed: &[FilterCopy]) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_taken = |name: &str| is_copy(name) && listed.iter().all(|copy| copy.file != name);
        if name.to_str().is_some_and(is_taken) {
            let path = entry.path();
            let is_locked = |file: File| matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            if !regular::open(&path).map_or(true, is_locked) {
                let _ = fs::remove_file(&path);
            }
        }
    }
    if listed.is_empty() {
        let _ = fs::remove_file(folder.join(NEW_LIST));
        let _ = fs::remove_dir(folder);
    }
}

pub(super) fn path_of(filter: &Filter) -> String {
    filter.path().display().to_string()
}
