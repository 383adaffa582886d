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
/// How the keys of groups' clients begin; see [`of_client`].
pub(crate) const CLIENT: &str = "client:";

/// The key of a group's document.
pub(crate) fn of_group(prefix: &str, group: u16) -> String {
    format!("{prefix}{group:05}")
}

/// The key of a document of one of a group's clients.
pub(crate) fn of_client(group: u16, client: u64) -> String {
    format!("{}:{client:016x}", of_group(CLIENT, group))
}

/// The group and the client in the key of such a document, of which `rest` is what follows
/// [`CLIENT`]. None for other keys.
pub(crate) fn client_of(rest: &str) -> Option<(u16, u64)> {
    let (group, client) = rest.split_once(':')?;
    let found = (group.parse().ok()?, u64::from_str_radix(client, 16).ok()?);
    (of_client(found.0, found.1).strip_prefix(CLIENT) == Some(rest)).then_some(found)
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
        assert!(formats.contains("`client:NNNNN:XXXXXXXXXXXXXXXX`"));
        assert_eq!(of_client(7, 0xa5), "client:00007:00000000000000a5");
        assert_eq!(client_of("00007:00000000000000a5"), Some((7, 0xa5)));
        for other in ["00007", "7:00000000000000a5", "00007:a5", "00007:00000000000000A5", "x:y"] {
            assert_eq!(client_of(other), None, "{other}");
        }
    }
}
