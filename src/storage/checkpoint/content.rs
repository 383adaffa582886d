//! Which files of a directory are a storage's content.

use std::fs;
use std::io;
use std::path::Path;

use crate::engine::replay::FOLDER as JOURNAL;
use crate::error::Result;
use crate::files::folder::{failed, is_absence};
use crate::rocks::{INVENTORY, file_names};
use crate::storage::filters::{FOLDER as FILTERS, is_of_filters};

/// Whether a file is a storage's content: one of RocksDB's (but its lock, its id and its logs for
/// people), of the journal's, or of the copies of filters.
pub(in crate::storage) fn is_content(name: &str) -> bool {
    match name.split_once('/') {
        Some((folder, _)) => folder == JOURNAL || is_of_filters(name),
        None => name == INVENTORY || file_names::is_content(name),
    }
}

/// Lists the files of a directory that are content. A folder's place with something else in it
/// counts as empty.
pub(super) fn content_of(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in ["", JOURNAL, FILTERS] {
        let path = dir.join(folder);
        let unreadable = |error: io::Error| failed(&path, &error);
        let entries = match fs::read_dir(&path) {
            Err(error) if is_absence(&error) => continue,
            entries => entries.map_err(unreadable)?,
        };
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if is_content(&name) && !entry.file_type().map_err(unreadable)?.is_dir() {
                names.push(name);
            }
        }
    }
    Ok(names)
}
