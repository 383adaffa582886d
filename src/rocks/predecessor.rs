//! Tells whether a database that damo did not write is one of damo-embedding.
//!
//! There a key has 12 bytes, group and key, and a value begins with the same 12. RocksDB cannot
//! always read a value. It may be compressed in a way that this build does not know, or be an
//! operand of a merge operator that only damo-embedding has. So the bytes of the files are looked
//! at, too.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::INVENTORY;
use crate::error::{Error, Result};
use crate::files::regular;

/// How the error begins; what is needed instead of the directory follows.
pub(crate) const PREDECESSOR: &str = concat!(
    "it holds the rows of damo-embedding, which damo does not read in place: make a ",
    "checkpoint there and bring that in here with `damo import` or damo_storage_import, as ",
    "docs/migrating.md says",
);

const KEY: usize = 12;
/// Bytes that are read of each file.
const PART: u64 = 64 << 10;
/// How the properties of SST files name the merge operator of databases with a TTL, in the two
/// releases of RocksDB that damo-embedding has used.
const MERGES: [&[u8]; 2] = [b"Merge By TTL", b"TtlMergeOperator"];

/// Refuses a directory whose files show that it is one of damo-embedding. `needed` ends the
/// message. The directory is only read, and not by RocksDB.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(crate) fn check_not_predecessor(dir: &Path, needed: &str) -> Result<()> {
    if dir.join(INVENTORY).exists() || !has_traces(dir) {
        return Ok(());
    }
    Err(Error::invalid(format!("{PREDECESSOR}; {needed} is needed")))
}

/// Whether a row is one of damo-embedding's.
pub(super) fn is_row(key: &[u8], value: &[u8]) -> bool {
    key.len() == KEY && value.starts_with(key)
}

/// Whether a file in `dir` shows that damo-embedding wrote it.
pub(super) fn has_traces(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        match path.extension().and_then(|end| end.to_str()) {
            // The properties are at the end.
            Some("sst") => part(&path, true).is_some_and(|bytes| {
                MERGES.iter().any(|name| bytes.windows(name.len()).any(|window| window == *name))
            }),
            Some("log") => part(&path, false).is_some_and(|bytes| has_record(&bytes)),
            _ => false,
        }
    })
}

/// The first or the last bytes of a file.
fn part(path: &Path, is_last: bool) -> Option<Vec<u8>> {
    let file = regular::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    let mut bytes = vec![0; len.min(PART) as usize];
    let start = if is_last { len - bytes.len() as u64 } else { 0 };
    file.read_exact_at(&mut bytes, start).ok()?;
    Some(bytes)
}

/// Whether a log has a key of 12 bytes with its length before it, and behind it a value that begins
/// with the key. Between the two is the value's length, of one or two bytes.
fn has_record(bytes: &[u8]) -> bool {
    bytes.windows(1 + 2 * KEY + 2).any(|window| {
        let (Some(key), Some(after)) = (window.get(1..=KEY), window.get(KEY + 1..)) else {
            return false;
        };
        let is_record = |skip: usize| after.get(skip..skip + KEY) == Some(key);
        // Files are filled with zeros, which are no record.
        window.first() == Some(&(KEY as u8))
            && key.iter().any(|byte| *byte != 0)
            && (is_record(1) || is_record(2))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_log_are_found() {
        let key = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        for len in [[0x2c].as_slice(), &[0x84, 1]] {
            let record = [b"head".as_slice(), &[12], &key, len, &key, b"and more"].concat();
            assert!(has_record(&record), "{len:?}");
            let mut other = record.clone();
            other[4] = 11;
            assert!(!has_record(&other), "a key of another length");
            let mut other = record.clone();
            other[4 + 1 + 12 + len.len() + 4] = 2;
            assert!(!has_record(&other), "a value that begins otherwise");
            assert!(!has_record(&record[..20]));
        }
        assert!(!has_record(&[12; 20]) && !has_record(&[0; 200]) && !has_record(&[]));
        assert!(is_row(&key, &[key.as_slice(), &[1]].concat()) && !is_row(&key, &key[..11]));
    }
}
