//! Lists the files of a storage's directory that opening looks at.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::journal::content_len;
use crate::rocks::INVENTORY;
use crate::rocks::file_names::{BLOB, CURRENT, IDENTITY, SST, is_manifest, is_options, is_wal};
use crate::storage::checkpoint::LIST;

/// The folders of a storage's directory.
const FOLDERS: [&str; 5] = ["journal", "incoming", "filters", ".damo-restoring", ".damo-restored"];

/// A file at the time of its listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListedFile {
    /// Its path inside the directory.
    pub(super) name: PathBuf,
    /// Bytes of its content: a file of the journal may have room behind that.
    pub(super) bytes: u64,
    /// When it changed last: seconds and nanoseconds since 1970.
    pub(super) changed: (i64, i64),
}

/// Lists the files of a storage, sorted by name.
///
/// # Errors
/// `IO`.
pub(super) fn list(dir: &Path) -> Result<Vec<ListedFile>> {
    let mut seen = Vec::new();
    list_folder(dir, Path::new(""), &mut seen)
        .map_err(|error| Error::io(format!("'{}' cannot be read: {error}", dir.display())))?;
    seen.sort();
    Ok(seen)
}

fn list_folder(dir: &Path, folder: &Path, seen: &mut Vec<ListedFile>) -> io::Result<()> {
    let entries = match fs::read_dir(dir.join(folder)) {
        // It was removed meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound && folder != Path::new("") => {
            return Ok(());
        }
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
            let changed = (found.mtime(), found.mtime_nsec());
            let bytes = match content_len(&entry.path()) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                bytes => bytes?,
            };
            seen.push(ListedFile { name, bytes, changed });
        }
    }
    Ok(())
}

/// Whether opening reads a file of this name, or refuses it.
fn is_needed(name: &str) -> bool {
    is_copied(Path::new(name))
        || is_rows(Path::new(name))
        || [BLOB, ".journal", ".filter"].iter().any(|end| name.ends_with(end))
}

/// Whether it is an SST file.
pub(super) fn is_rows(name: &Path) -> bool {
    name.extension().is_some_and(|suffix| suffix == &SST[1..])
}

/// Whether opening may write to the file, or cut it off. Such files are copied.
pub(super) fn is_copied(name: &Path) -> bool {
    let Some(name) = name.file_name().map(|name| name.to_string_lossy()) else { return false };
    is_wal(&name)
        || is_manifest(&name)
        || is_options(&name)
        || [CURRENT, IDENTITY, INVENTORY, "filters.json", LIST].contains(&&*name)
}

/// Whether opening looks at the file's name alone. `current` is the content of `CURRENT`.
pub(super) fn is_unread(name: &Path, current: Option<&[u8]>) -> bool {
    let Some(name) = name.file_name().map(|name| name.to_string_lossy()) else { return false };
    let is_current = || current.is_none_or(|current| current.trim_ascii_end() == name.as_bytes());
    is_options(&name) || is_manifest(&name) && !is_current()
}
