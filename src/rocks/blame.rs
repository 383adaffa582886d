//! Names the damaged file when RocksDB refuses to open. RocksDB's own texts often name none, or
//! another one.

use std::fs;
use std::path::Path;

use super::file_names::{SST, WAL};
use super::sst::SstFile;
use crate::error::{Error, Status};

/// Puts the name of the first damaged SST file in front of a CORRUPTION's text. If no SST file is
/// damaged, and the text names no file, puts the names of the logs there.
pub(super) fn name_files(dir: &Path, error: Error) -> Error {
    if error.status() != Status::Corruption {
        return error;
    }
    let mut paths: Vec<_> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    // The files that RocksDB names come first. Another one may be damaged, too, without being the
    // cause.
    let is_named = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| error.message().contains(&*name.to_string_lossy()))
    };
    paths.sort_by_cached_key(|path| (!is_named(path), path.clone()));
    let has_suffix = |path: &&std::path::PathBuf, suffix: &str| {
        path.extension().is_some_and(|found| found == suffix)
    };
    for path in paths.iter().filter(|path| has_suffix(path, "sst")) {
        let why = match SstFile::open(path) {
            Ok(file) if file.properties.is_some() => continue,
            Ok(_) => "its properties".to_owned(),
            Err(unreadable) if unreadable.is_shortage => continue,
            Err(unreadable) => unreadable.what,
        };
        let place = format!("'{}' is damaged ({why})", path.display());
        return Error::damage(without_manifest(error.without_remedy())).within(&place);
    }
    if let Some(number) = number_of_table(error.message()) {
        let path = dir.join(format!("{number:06}{SST}"));
        return error.within(&format!("'{}' is not the file that it was", path.display()));
    }
    if [SST, WAL].iter().any(|suffix| error.message().contains(suffix)) {
        return error;
    }
    let logs: Vec<_> = paths
        .iter()
        .filter(|path| has_suffix(path, "log"))
        .map(|path| format!("'{}'", path.display()))
        .collect();
    match logs.is_empty() {
        // The log's number is lost with it.
        true if error.message().contains("no WAL files") => error
            .within(&format!("RocksDB's log, '{}', is missing", dir.join("NNNNNN.log").display())),
        true => error,
        false => error.within(&format!("RocksDB's logs, {}, or its MANIFEST", logs.join(", "))),
    }
}

/// RocksDB's text without "  The file …/MANIFEST-000005 may be corrupted.". RocksDB appends that to
/// every damage that it meets while reading the MANIFEST.
fn without_manifest(text: &str) -> &str {
    match text.rsplit_once("  The file ") {
        Some((rest, blamed)) if blamed.ends_with(" may be corrupted.") => rest,
        _ => text,
    }
}

/// The number in "table file 9". RocksDB says that of an SST file that is whole, but not the one
/// that the MANIFEST lists.
fn number_of_table(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("table file ")?;
    rest[..rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len()]
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_rocksdb_calls_by_its_number_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("000021.log"), "").unwrap();
        let named = |text: &str| {
            name_files(dir.path(), Error::corruption(text.to_owned())).message().to_owned()
        };
        let swapped = named("Corruption: Mismatch in unique ID on table file 9. Expected: {1,2}");
        assert!(swapped.contains("/000009.sst' is not the file that it was"), "{swapped}");
        let other = named("Corruption: Sequence number is being set backwards");
        assert!(other.contains("/000021.log'"), "{other}");
    }

    #[test]
    fn a_damaged_file_of_rows_is_blamed_and_not_the_manifest_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("000009.sst"), "no table").unwrap();
        let text =
            "Corruption: file is too short  The file /there/MANIFEST-000005 may be corrupted.";
        let named = name_files(dir.path(), Error::damage(text)).message().to_owned();
        assert!(
            named.contains("/000009.sst' is damaged") && named.contains("too short"),
            "{named}"
        );
        assert!(!named.contains("MANIFEST") && named.ends_with("damo salvage"), "{named}");
    }
}
