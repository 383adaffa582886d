//! Refuses a directory in which something that RocksDB would open is not a file: RocksDB waits for
//! a pipe for ever.

use std::fs;
use std::path::Path;

use super::file_names::{CURRENT, IDENTITY, is_manifest, is_options, is_sst, is_wal};
use crate::error::{Error, Result};

/// Checks everything that has a name of RocksDB's files. Folders, and links that lead nowhere, are
/// left to RocksDB, which refuses them.
///
/// # Errors
/// `CORRUPTION` naming what is a pipe, a socket or a device; `IO`.
pub(crate) fn check_regular(dir: &Path) -> Result<()> {
    let failed =
        |error: std::io::Error| Error::io(format!("'{}' cannot be read: {error}", dir.display()));
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let name = entry.file_name();
        if kind.is_file() || kind.is_dir() || !is_rocksdbs(&name.to_string_lossy()) {
            continue;
        }
        let found = fs::metadata(entry.path());
        if found.is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let path = entry.path();
            return Err(Error::corruption(format!(
                "'{}' is a pipe, a socket or a device; a file is needed",
                path.display()
            )));
        }
    }
    Ok(())
}

fn is_rocksdbs(name: &str) -> bool {
    is_sst(name)
        || is_wal(name)
        || is_manifest(name)
        || is_options(name)
        || [CURRENT, IDENTITY, super::INVENTORY].contains(&name)
}
