//! Checks the rows of a database that is not open as a storage.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::reader::not_registered;
use crate::engine::group::Group;
use crate::error::{Error, Result};
use crate::rocks::key;
use crate::rocks::row::{self, Stored};
use crate::rocks::{KeyRange, Rocks};

/// Reads every row of a database that is not open as a storage, and checks that it fits its group.
///
/// # Errors
/// `CORRUPTION` naming the row; `IO`.
pub(crate) fn check_rows(rocks: &Rocks, groups: &BTreeMap<u16, Arc<Group>>) -> Result<()> {
    let mut lens = HashMap::new();
    for (id, group) in groups {
        lens.insert(*id, group.shape()?.1);
    }
    rocks.snapshot().scan(&KeyRange::all(), |key, value| {
        let (group, key) = key::decode(key)?;
        let named = |error: Error| error.within(&format!("group {group} key {key}"));
        match (row::parse(value).map_err(named)?, lens.get(&group)) {
            (_, None) => Err(not_registered(group)),
            (Stored::Row(_, body), Some(row_len)) if body.len() != 4 * row_len => {
                Err(named(row::wrong_length(body, *row_len)))
            }
            _ => Ok(true),
        }
    })
}
