//! Paths that damo reserves in the directory of a storage or checkpoint. A file of somebody else
//! could take the place of one of damo's there, or keep the directory from being opened.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::rocks::INVENTORY;
use crate::rocks::file_names::{
    BLOB, CURRENT, IDENTITY, LOCK, LOG, MANIFEST, OLD_LOG, OPTIONS, SST, TEMPORARY, WAL,
};

/// The folders of a storage's directory in which every file is damo's.
const FOLDERS: [&str; 2] = ["journal", "incoming"];
/// The folder of filter copies. damo leaves other files in it alone.
const FILTERS: &str = "filters";
/// How the names of RocksDB's and damo's files begin and end.
const PREFIXES: [&str; 5] = [MANIFEST, OPTIONS, OLD_LOG, INVENTORY, ".damo-"];
const SUFFIXES: [&str; 4] = [SST, WAL, BLOB, TEMPORARY];
const NAMES: [&str; 8] =
    [CURRENT, IDENTITY, LOCK, LOG, "checkpoint.json", "journal", "incoming", FILTERS];

/// Whether a path is in the directory of a storage or checkpoint. No other file may be put there:
/// it could take the place of one of damo's.
///
/// # Errors
/// The system's error.
pub(crate) fn is_in_storage(path: &Path) -> io::Result<bool> {
    let Some(folder) = folder_of(path)? else { return Ok(false) };
    Ok(is_storage(&folder)?
        || storage_around(&folder, &[FOLDERS[0], FOLDERS[1], FILTERS])?.is_some())
}

/// The storage that reserves a path for damo. Such a path is in one of damo's folders, or has a
/// name like one of its files. None for other files in a storage's directory, and outside of a
/// storage.
///
/// # Errors
/// The system's error.
pub(crate) fn storage_that_owns(path: &Path) -> io::Result<Option<PathBuf>> {
    let Some(folder) = folder_of(path)? else { return Ok(None) };
    if path.file_name().is_some_and(is_reserved) && is_storage(&folder)? {
        return Ok(Some(folder));
    }
    storage_around(&folder, &FOLDERS)
}

/// The canonical folder of a path; None when it does not exist.
fn folder_of(path: &Path) -> io::Result<Option<PathBuf>> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::canonicalize(folder) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            Ok(None)
        }
        folder => folder.map(Some),
    }
}

fn is_storage(folder: &Path) -> io::Result<bool> {
    folder.join(INVENTORY).try_exists()
}

/// The storage that has `folder` below one of its folders with these names, at any depth.
fn storage_around(folder: &Path, names: &[&str]) -> io::Result<Option<PathBuf>> {
    for inner in folder.ancestors() {
        let is_own = inner.file_name().is_some_and(|name| {
            names.iter().any(|own| name == *own) || name.to_string_lossy().starts_with(".damo-")
        });
        if let Some(outer) = inner.parent().filter(|_| is_own)
            && is_storage(outer)?
        {
            return Ok(Some(outer.to_owned()));
        }
    }
    Ok(None)
}

/// Whether the name is that of one of damo's or RocksDB's files.
fn is_reserved(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    NAMES.contains(&&*name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A storage, and folders that are no storages.
    fn scratch() -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        for folder in ["storage/journal/deep", "storage/mine", "storage/filters", "other/journal"] {
            fs::create_dir_all(scratch.path().join(folder)).unwrap();
        }
        fs::write(scratch.path().join("storage/INVENTORY"), "").unwrap();
        std::os::unix::fs::symlink("storage/journal", scratch.path().join("link")).unwrap();
        scratch
    }

    #[test]
    fn a_storages_directory_and_its_folders_are_told_from_others() {
        let scratch = scratch();
        let is_in = |path: &str| is_in_storage(&scratch.path().join(path)).unwrap();
        let inside = [
            "storage/x",
            "storage/journal/x",
            "storage/journal/deep/x",
            "link/x",
            "storage/filters/x",
        ];
        assert!(inside.into_iter().all(is_in));
        assert!(
            !["x", "storage", "storage/mine/x", "other/journal/x", "missing/x"]
                .into_iter()
                .any(is_in)
        );
    }

    #[test]
    fn what_damo_calls_its_own_is_told_from_what_somebody_keeps_beside_it() {
        let scratch = scratch();
        let owner = |path: &str| storage_that_owns(&scratch.path().join(path)).unwrap();
        let own = [
            "storage/journal/x",
            "storage/journal/deep/x",
            "link/x",
            "storage/000012.sst",
            "storage/CURRENT",
            "storage/journal",
            "storage/filters",
            "storage/INVENTORY.new",
            "storage/.damo-lock",
        ];
        for path in own {
            assert_eq!(
                owner(path),
                Some(fs::canonicalize(scratch.path().join("storage")).unwrap()),
                "{path}"
            );
        }
        for path in [
            "x",
            "x.sst",
            "storage/mine.filter",
            "storage/mine/x.sst",
            "storage/filters/x",
            "missing/x",
        ] {
            assert_eq!(owner(path), None, "{path}");
        }
    }
}
