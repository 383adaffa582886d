//! The documents that describe a storage: small values under readable keys in RocksDB's column
//! family `damo`. docs/formats.md says what each holds. No other file of src spells their keys.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The column family of the documents.
pub(super) const FAMILY: &str = "damo";

/// The format, which says which damo wrote the directory.
pub(crate) const FORMAT: &str = "format";
/// How far the journal's calls are on disk as rows.
pub(crate) const JOURNAL: &str = "journal";
/// The base dumps: those that increments may follow.
pub(crate) const BASE_DUMPS: &str = "exports";
/// The id of the checkpoint last made, loaded, or opened as this storage.
pub(crate) const CHECKPOINT_ID: &str = "checkpoint";

/// How the keys of groups' configurations begin; see [`of_group`].
pub(crate) const GROUP: &str = "group:";
/// How the keys of groups' names begin.
pub(crate) const NAME: &str = "name:";
/// How the keys of groups' global steps begin.
pub(crate) const STEP: &str = "step:";
/// How the keys of groups' clears begin. Each has the sequence number of the latest clear.
pub(crate) const CLEARED: &str = "cleared:";

/// The key of a group's document.
pub(crate) fn of_group(prefix: &str, group: u16) -> String {
    format!("{prefix}{group:05}")
}

/// Reads a JSON document.
///
/// # Errors
/// `CORRUPTION` saying that the record of `what` is damaged.
pub(crate) fn from_json<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| damaged(what, &error.to_string()))
}

/// Writes a document as JSON.
///
/// # Errors
/// `INVALID_ARGUMENT` for what JSON cannot hold.
pub(crate) fn to_json<T: Serialize + ?Sized>(document: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(document).map_err(|error| Error::invalid(error.to_string()))
}

/// The error for a document that does not hold what it should.
pub(crate) fn damaged(what: &str, why: &str) -> Error {
    Error::corruption(format!("the record of {what} is damaged: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_key() {
        let formats = include_str!("../../docs/formats.md");
        for key in [FORMAT, JOURNAL, BASE_DUMPS, CHECKPOINT_ID] {
            assert!(formats.contains(&format!("`{key}`")), "docs/formats.md does not have `{key}`");
        }
        for prefix in [GROUP, NAME, STEP, CLEARED] {
            let key = format!("`{prefix}NNNNN`");
            assert!(formats.contains(&key), "docs/formats.md does not have {key}");
        }
        assert_eq!(of_group(STEP, 7), "step:00007");
    }
}
