//! Gives RocksDB back an SST file that it has deleted although its MANIFEST may name it.
//!
//! When the MANIFEST cannot be synced while RocksDB takes a file over, RocksDB deletes its link to
//! that file. The MANIFEST may have reached the disk nevertheless. The writer keeps a link of its
//! own until a round has succeeded, so the file still exists. Its rows are those of acknowledged
//! calls.

use std::fs;
use std::path::{Path, PathBuf};

use super::file_names::SST;

/// Opens the database by `open`. When its error says that a file is missing, links the kept files
/// to the missing name, one after the other, until `open` succeeds.
pub(super) fn open_with_kept<T, E: ToString>(
    dir: &Path,
    kept: &[PathBuf],
    mut open: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut outcome = open();
    for file in kept {
        let Err(error) = &outcome else { break };
        let Some(missing) = missing_table(dir, &error.to_string()) else { break };
        if fs::hard_link(file, &missing).is_err() {
            continue;
        }
        outcome = open();
        // RocksDB compares the file's size and unique id with its MANIFEST, so it refuses a wrong
        // file.
        if outcome.is_err() {
            let _ = fs::remove_file(&missing);
        }
    }
    outcome
}

/// The SST file that an error names and that does not exist.
fn missing_table(dir: &Path, text: &str) -> Option<PathBuf> {
    // A folder's name may end so, too.
    let ends =
        text.match_indices(SST).filter(|(at, suffix)| !text[at + suffix.len()..].starts_with('/'));
    let named = ends.map(|(end, suffix)| {
        let digits = text[..end].bytes().rev().take_while(u8::is_ascii_digit).count();
        (digits, dir.join(&text[end - digits..end + suffix.len()]))
    });
    named.filter(|(digits, _)| *digits > 0).map(|(_, path)| path).find(|path| {
        fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_takes_the_missing_name_when_that_opens() {
        let dir = tempfile::tempdir().unwrap();
        let kept: Vec<_> = ["a", "b"].iter().map(|name| dir.path().join(name)).collect();
        kept.iter().for_each(|path| {
            fs::write(path, path.file_name().unwrap().as_encoded_bytes()).unwrap()
        });
        let missing = dir.path().join("000012.sst");
        let open = || match fs::read_to_string(&missing) {
            Ok(text) if text == "b" => Ok(()),
            _ => Err(format!(
                "Corruption: Can't access /000012.sst: IO error: '{}'",
                missing.display()
            )),
        };
        assert_eq!(open_with_kept(dir.path(), &kept, open), Ok(()));
        fs::remove_file(&missing).unwrap();
        assert!(open_with_kept(dir.path(), &kept[..1], open).is_err() && !missing.exists());
        assert!(open_with_kept(dir.path(), &kept, || Err::<(), _>("no name")).is_err());
    }

    #[test]
    fn a_folder_whose_name_ends_as_a_table_files_does_is_not_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("000012.sst");
        let text =
            format!("IO error: No such file: While open: /data/rows7.sst/{}", missing.display());
        assert_eq!(missing_table(dir.path(), &text), Some(missing));
    }
}
