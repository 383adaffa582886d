//! Names of groups. A name belongs to one group for good. It is stored beside the group's
//! configuration, so whatever carries groups carries their names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::group::Group;
use crate::error::{Error, Result};

/// The longest name, in bytes.
pub(super) const MAX_NAME: usize = 255;

/// A reference to a group, by number, name or both. With both, the group gets the name, unless it
/// has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupRef<'a> {
    /// None: the group of that name, or else the lowest number that is free.
    pub number: Option<u16>,
    pub name: Option<&'a str>,
}

/// Finds the number of the group that is wanted, which need not be registered yet.
///
/// # Errors
/// `INVALID_ARGUMENT` for a name that cannot be one, and for neither name nor number;
/// `ALREADY_EXISTS` for a name that belongs to another group, for a group with another name, and
/// when all groups are taken.
pub(crate) fn find(groups: &BTreeMap<u16, Arc<Group>>, wanted: GroupRef) -> Result<u16> {
    let Some(name) = wanted.name else {
        return wanted
            .number
            .ok_or_else(|| Error::invalid("a group is needed, by its number or its name"));
    };
    check(name)?;
    let holder =
        groups.values().find(|group| group.name().as_deref() == Some(name)).map(|group| group.id());
    match (wanted.number, holder) {
        (Some(number), Some(holder)) if holder != number => Err(is_another(name, holder, number)),
        (Some(number), None) => match groups.get(&number).and_then(|group| group.name()) {
            Some(other) => Err(has_another(number, &other, name)),
            None => Ok(number),
        },
        (Some(number), Some(_)) => Ok(number),
        (None, Some(holder)) => Ok(holder),
        (None, None) => {
            (0..=u16::MAX).find(|number| !groups.contains_key(number)).ok_or_else(|| {
                Error::already_exists(format!(
                    "all 65536 groups are taken; none can be called '{name}'"
                ))
            })
        }
    }
}

/// Refuses groups of a checkpoint whose names do not fit an open group: its embedding would go on
/// with the rows of another group.
///
/// # Errors
/// `ALREADY_EXISTS`.
pub(crate) fn check_same(ours: &Group, theirs: &BTreeMap<u16, Arc<Group>>) -> Result<()> {
    let Some(name) = ours.name() else { return Ok(()) };
    match find(theirs, GroupRef { number: Some(ours.id()), name: Some(&name) }) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.within("a group that is open here is another one there")),
    }
}

fn check(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) {
        return Err(Error::invalid(format!(
            "the group's name is {name:?}; 1 to {MAX_NAME} bytes without control characters are \
             needed"
        )));
    }
    Ok(())
}

fn is_another(name: &str, holder: u16, number: u16) -> Error {
    Error::already_exists(format!(
        "'{name}' is group {holder} and was asked for as group {number}; use group {holder}, or \
         another name"
    ))
}

fn has_another(number: u16, name: &str, wanted: &str) -> Error {
    Error::already_exists(format!(
        "group {number} is called '{name}' and was asked for as '{wanted}'; use its name, or \
         another group"
    ))
}
