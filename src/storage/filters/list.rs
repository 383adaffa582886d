//! The list of the copies of filters in a folder `filters`: of a checkpoint, or of a storage where
//! they wait.

use std::fmt::Display;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::filter::{Filter, verify_file};
use crate::publish::publish;
use crate::regular;
use crate::storage::begin::is_numbered;
use crate::storage::checkpoint::is_absence;

/// The folder in a checkpoint or a storage, and the list in it.
pub(in crate::storage) const FOLDER: &str = "filters";
const LIST: &str = "filters.json";
/// The list while it is written.
const NEW_LIST: &str = "filters.json.new";
/// The most bytes that a list is read of. That of 65,536 groups with a filter each has a third.
const MAX_LIST: u64 = 64 << 20;

/// The copy of a filter.
#[derive(Serialize, Deserialize)]
pub(super) struct Copy {
    pub(super) file: String,
    /// Where the filter was.
    path: String,
    /// The groups that had it; in a storage those that it waits for.
    pub(super) groups: Vec<u16>,
    /// Filters that have its counts already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    taken_by: Vec<String>,
    /// Filters that have counts of another copy, which this one's would replace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    withheld_from: Vec<String>,
}

impl Copy {
    pub(super) fn new(file: String, filter: &Filter, groups: Vec<u16>) -> Copy {
        Copy { file, path: path_of(filter), groups, taken_by: Vec::new(), withheld_from: Vec::new() }
    }

    pub(super) fn renamed(self, file: String) -> Copy {
        Copy { file, ..self }
    }

    pub(super) fn is_taken_by(&self, filter: &Filter) -> bool {
        self.taken_by.contains(&path_of(filter))
    }

    pub(super) fn is_withheld_from(&self, filter: &Filter) -> bool {
        self.withheld_from.contains(&path_of(filter))
    }

    /// Notes that `filter`, of `groups`, has taken the counts: they wait for these groups no
    /// longer.
    fn note_taken(&mut self, filter: &Filter, groups: &[u16]) {
        if !self.is_taken_by(filter) {
            self.taken_by.push(path_of(filter));
        }
        self.groups.retain(|group| !groups.contains(group));
    }
}

/// The copy that a filter of these groups gets its counts from: that of the same file, or else one
/// that a common group had.
pub(super) fn find(copies: &[Copy], filter: &Filter, groups: &[u16]) -> Option<usize> {
    let path = path_of(filter);
    let has_common_group = |copy: &Copy| copy.groups.iter().any(|group| groups.contains(group));
    let same_path = copies.iter().position(|copy| copy.path == path);
    same_path.or_else(|| copies.iter().position(has_common_group))
}

/// `filter`, of `groups`, has the counts of this copy now, and must not lose them to another's.
pub(super) fn note_taken(copies: &mut [Copy], taken: usize, filter: &Filter, groups: &[u16]) {
    for (index, copy) in copies.iter_mut().enumerate() {
        if index == taken {
            copy.note_taken(filter, groups);
        } else if !copy.is_taken_by(filter) && !copy.is_withheld_from(filter) {
            copy.withheld_from.push(path_of(filter));
        }
    }
}

/// Whether a file of a checkpoint, by its name there, is one of these.
pub(in crate::storage) fn is_of_filters(name: &str) -> bool {
    name.split_once('/').is_some_and(|(folder, file)| folder == FOLDER && (file == LIST || is_copy(file)))
}

/// Whether a name is one that copies have. Others are somebody's, and neither copied nor deleted.
fn is_copy(name: &str) -> bool {
    is_numbered(name, "", ".filter")
}

/// The list of the copies in a folder; empty where there is none.
///
/// # Errors
/// `CORRUPTION` when it is damaged; `IO`.
pub(super) fn read_list(folder: &Path) -> Result<Vec<Copy>> {
    let list = folder.join(LIST);
    let damaged = |why: &dyn Display| {
        Error::corruption(format!("its list of filters '{}' is damaged: {why}", list.display()))
    };
    let json = match regular::read_small(&list, MAX_LIST) {
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::InvalidData => return Err(damaged(&error)),
        Err(error) => return Err(Error::io(format!("'{}': {error}", list.display()))),
        Ok(json) => json,
    };
    let copies: Vec<Copy> = serde_json::from_slice(&json).map_err(|error| damaged(&error))?;
    // What is listed is read, copied and deleted.
    match copies.iter().find(|copy| !is_copy(&copy.file)) {
        Some(copy) => Err(damaged(&format_args!("it names '{}', which no copy is called", copy.file))),
        None => Ok(copies),
    }
}

/// Writes the list, in place of the one that may be there; it is on disk when this returns.
pub(super) fn write_list(folder: &Path, copies: &[Copy]) -> io::Result<()> {
    let (new, list) = (folder.join(NEW_LIST), folder.join(LIST));
    // Whatever has that name is not written to: a pipe would wait for a reader.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::create_new(&new)?;
    file.write_all(&serde_json::to_vec_pretty(copies)?)?;
    file.sync_all()?;
    publish(&new, &list).map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

/// Removes the list, so that nothing waits.
pub(super) fn remove_list(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join(LIST))?;
    File::open(folder)?.sync_all()
}

/// Removes copies that the list does not name, as far as that works: they were taken, now or before
/// a kill. One that somebody has opened as a filter stays, and so does the folder while it has
/// anything else.
pub(super) fn sweep(folder: &Path, listed: &[Copy]) {
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

/// Reads the copies through.
///
/// # Errors
/// `CORRUPTION` naming the file; `IO`.
pub(super) fn verify(folder: &Path, copies: &[Copy]) -> Result<()> {
    copies.iter().try_for_each(|copy| verify_file(&folder.join(&copy.file)))
}

fn path_of(filter: &Filter) -> String {
    filter.path().display().to_string()
}
