//! What keeps a checkpoint's files from their places in a storage's directory.
//!
//! Somebody may have put something else there. The check comes before the point of no return of a
//! load.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access};

use super::content::is_content;
use crate::error::{Error, Result};
use crate::files::folder::{failed, is_absence};

/// Refuses a directory in which files of these names cannot be put.
///
/// # Errors
/// `IO` naming what is in the way.
pub(in crate::storage) fn check_ways(dir: &Path, names: &[String]) -> Result<()> {
    let mut folders: Vec<_> =
        names.iter().filter_map(|name| Some(name.split_once('/')?.0)).collect();
    folders.push(crate::engine::replay::FOLDER);
    folders.sort_unstable();
    folders.dedup();
    folders.into_iter().try_for_each(|folder| check_folder(dir, folder))?;
    for path in names.iter().map(|name| dir.join(name)) {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {
                return Err(in_the_way(
                    &path,
                    "is a folder, and a file of the checkpoint belongs there",
                ));
            }
            Err(error) if !is_absence(&error) => return Err(failed(&path, &error)),
            _ => {}
        }
    }
    // A folder with the name of a content file would keep the storage from being opened.
    let unreadable = |error: std::io::Error| failed(dir, &error);
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let is_folder = entry.file_type().map_err(unreadable)?.is_dir();
        if is_folder && is_content(&entry.file_name().to_string_lossy()) {
            return Err(in_the_way(
                &entry.path(),
                "is a folder, and only files are called so here",
            ));
        }
    }
    Ok(())
}

/// Refuses a folder of `dir` that no file can be moved into. It need not exist.
fn check_folder(dir: &Path, folder: &str) -> Result<()> {
    let path = dir.join(folder);
    let found = match fs::symlink_metadata(&path) {
        Err(error) if is_absence(&error) => return Ok(()),
        found => found.map_err(|error| failed(&path, &error))?,
    };
    let own = dir.metadata().map_err(|error| failed(dir, &error))?;
    match fs::metadata(&path) {
        Ok(target) if target.is_dir() && target.dev() == own.dev() => {}
        Ok(target) if target.is_dir() => {
            return Err(in_the_way(&path, "is on another file system than the storage"));
        }
        _ if found.is_symlink() => {
            return Err(in_the_way(&path, "is a link that leads to no folder"));
        }
        _ => {
            return Err(in_the_way(
                &path,
                "is no folder, and the checkpoint has files for that folder",
            ));
        }
    }
    access(&path, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| failed(&path, &error.into()))
}

/// The error for something in the way of a checkpoint's files.
pub(in crate::storage) fn in_the_way(path: &Path, what: &str) -> Error {
    Error::io(format!("'{}' {what}; move it elsewhere", path.display()))
}
