//! Tells whether the MANIFEST says which files count. It must be whole, be the one that the
//! inventory lists, and know of all files.
//!
//! A MANIFEST that lost its end, or an older one that was put back, is whole by its own checksums,
//! and names an older database.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::live::Live;
use crate::files::regular;
use crate::rocks::Inventory;
use crate::rocks::file_names::{CURRENT, MANIFEST, SST, is_manifest};
use crate::rocks::log_file::{self, End};
use crate::rocks::sst::{SstFile, take, varint};

/// The MANIFEST that CURRENT names, if each of its records is whole and it is as listed.
///
/// # Errors
/// In words, why it does not count.
pub(super) fn find(dir: &Path, inventory: Option<&Inventory>) -> Result<String, String> {
    let current = regular::read(&dir.join(CURRENT)).map_err(|error| format!("CURRENT: {error}"))?;
    let current = String::from_utf8_lossy(&current);
    let name = current.strip_suffix('\n').filter(|name| is_manifest(name));
    let name = name.ok_or("CURRENT: it names no MANIFEST")?;
    match log_file::check(&dir.join(name)).map_err(|error| format!("{name}: {error}"))?.end {
        End::Damaged(at, what) => return Err(format!("{name}: damaged at byte {at}: {what}")),
        End::Whole | End::Torn => {}
    }
    let compared = inventory.map_or(Ok(()), |inventory| inventory.compare_manifest(dir));
    compared.map_err(|error| error.without_remedy().to_owned())?;
    Ok(name.to_owned())
}

/// Finds a file that a MANIFEST, copied whole to `copy`, should know of and does not.
///
/// The numbers of files rise, and a MANIFEST has one of them: its own records add the later files.
/// A killed process may leave a merged file that the MANIFEST does not know; the MANIFEST still
/// names the files that it was merged from. Ingested rows are in no other file. Neither are merged
/// rows once the files that they come from are gone.
///
/// # Errors
/// Those of reading the MANIFEST, in words.
pub(super) fn find_unknown(
    dir: &Path,
    names: &[String],
    copy: &Path,
    live: &[Live],
) -> Result<Option<String>, String> {
    let edits = log_file::payloads(copy).map_err(|error| format!("MANIFEST: {error}"))?;
    let mut added = HashSet::new();
    if edits.iter().any(|edit| read_added(edit, &mut added).is_none()) {
        // RocksDB does not write that with damo's options.
        return Ok(None);
    }
    let number = |name: &str, prefix: &str, suffix: &str| {
        name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse::<u64>().ok()
    };
    let name = copy.file_name().unwrap_or_default().to_string_lossy();
    let own = number(&name, MANIFEST, "").unwrap_or(u64::MAX);
    let is_missing =
        |file: &Live| !fs::metadata(dir.join(&file.name)).is_ok_and(|found| found.is_file());
    let some_are_missing = live.iter().any(is_missing);
    for name in names {
        if number(name, "", SST).is_none_or(|number| number < own || added.contains(&number)) {
            continue;
        }
        // A file that a killed process was writing has no end yet.
        let Ok(sst) = SstFile::open(&dir.join(name)) else { continue };
        let was_merged = sst.properties.as_ref().is_some_and(|properties| !properties.is_external);
        if !was_merged || some_are_missing {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}

/// Adds the numbers of the files that a record of a MANIFEST adds. The format is that of RocksDB's
/// db/version_edit.cc. None when the record has something that damo's options do not make.
fn read_added(mut edit: &[u8], added: &mut HashSet<u64>) -> Option<()> {
    /// Fields of later versions from here on may be skipped: each has its length.
    const MAY_BE_SKIPPED: u64 = 1 << 13;
    while !edit.is_empty() {
        let tag = varint(&mut edit)?;
        let mut number = || varint(&mut edit);
        match tag {
            // Numbers: of logs, files, entries, a column family, and records to come.
            2 | 3 | 4 | 9 | 10 | 200 | 203 | 300 => {
                number()?;
            }
            // A dropped column family.
            202 => {}
            // The names of a comparator and of a new column family.
            1 | 201 => skip_text(&mut edit)?,
            // The place where a level was merged last.
            5 => {
                number()?;
                skip_text(&mut edit)?;
            }
            // A file removed from a level.
            6 => {
                number()?;
                number()?;
            }
            // A new file: its level, number, length, first and last key, their sequence numbers,
            // and fields up to a 1.
            103 => {
                number()?;
                added.insert(number()?);
                number()?;
                skip_text(&mut edit)?;
                skip_text(&mut edit)?;
                varint(&mut edit)?;
                varint(&mut edit)?;
                while varint(&mut edit)? != 1 {
                    skip_text(&mut edit)?;
                }
            }
            tag if tag > MAY_BE_SKIPPED => skip_text(&mut edit)?,
            _ => return None,
        }
    }
    Some(())
}

fn skip_text(bytes: &mut &[u8]) -> Option<()> {
    let len = varint(bytes)?;
    take(bytes, len).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_files_are_found_among_all_fields() {
        let mut added = HashSet::new();
        let mut read = |edit: &[u8]| {
            added.clear();
            read_added(edit, &mut added).map(|()| {
                let mut found: Vec<u64> = added.iter().copied().collect();
                found.sort_unstable();
                found
            })
        };
        let file =
            |number: u8| [103, 0, number, 9, 2, b'a', b'b', 1, b'c', 5, 6, 12, 2, b'x', b'y', 1];
        let before = [1, 2, b'a', b'b', 2, 7, 9, 0, 3, 200, 1, 4, 5, 129, 64, 1, b'i', 202, 1];
        assert_eq!(read(&before), Some(vec![]));
        let all = [&before[..], &file(7), &[6, 0, 7, 5, 1, 1, b'z'], &file(9), &[201, 1, 1, b'f']]
            .concat();
        assert_eq!(read(&all), Some(vec![7, 9]));
        assert_eq!(read(&[250, 1, 5]), None);
        assert_eq!(read(&file(7)[..9]), None);
    }
}
