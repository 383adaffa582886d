//! The errors of calls that a storage refuses because it is open with `read_only`.

use super::Engine;
use super::names::GroupRef;
use crate::error::{Error, Result, Status};

impl Engine {
    /// # Errors
    /// `NOT_SUPPORTED` when the storage was opened with `read_only`.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if !self.options.read_only {
            return Ok(());
        }
        Err(Error::new(
            Status::NotSupported,
            "the storage is open with read_only, and this call changes it; open it without \
             read_only",
        ))
    }

    /// Whether lookups make no rows, and nothing else changes either.
    pub(crate) fn is_read_only(&self) -> bool {
        self.options.read_only
    }
}

/// The error for a group that does not exist. `id` is the number that a new group would get.
pub(super) fn no_new_group(id: u16, wanted: GroupRef) -> Error {
    let what = match (wanted.number, wanted.name) {
        (None, Some(name)) => format!("no group is called '{name}'"),
        _ => format!("group {id} is not there"),
    };
    let message = format!("{what}, and a storage that is open with read_only gets no new one");
    Error::not_found(message)
}

/// Refuses a name that a group does not have.
///
/// # Errors
/// `NOT_SUPPORTED`.
pub(super) fn check_name(id: u16, known: Option<&str>, wanted: GroupRef) -> Result<()> {
    match wanted.name {
        Some(name) if known != Some(name) => Err(Error::new(
            Status::NotSupported,
            format!(
                "group {id} has no name, and a storage that is open with read_only does not give \
                 it '{name}'; leave the name out, or open the storage without read_only"
            ),
        )),
        _ => Ok(()),
    }
}
