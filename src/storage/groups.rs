//! The groups of a storage, and opening one.

use std::sync::Arc;

use super::Storage;
use crate::engine::group::Group;
use crate::engine::names::GroupRef;
use crate::engine::row_rules::RowRules;
use crate::engine::rows::OpenGroup;
use crate::error::{Error, Result};

impl Storage {
    /// Opens a group. A new group is registered first.
    ///
    /// # Errors
    /// As [`OpenGroup::open`]; `FORKED`, `EXITING`.
    pub(crate) fn open_group(&self, group: GroupRef, rules: RowRules) -> Result<OpenGroup> {
        self.call(|engine| OpenGroup::open(engine, group, rules))
    }

    /// The group called `name`.
    ///
    /// # Errors
    /// `NOT_FOUND`, listing the existing names.
    pub fn group_named(&self, name: &str) -> Result<Arc<Group>> {
        let groups = self.groups();
        let found = groups.iter().find(|group| group.name().as_deref() == Some(name));
        found.cloned().ok_or_else(|| {
            let names: Vec<_> = groups
                .iter()
                .filter_map(|group| group.name())
                .map(|name| format!("'{name}'"))
                .collect();
            let known =
                if names.is_empty() { "no group has one".to_owned() } else { names.join(", ") };
            Error::not_found(format!("no group is called '{name}'; names are: {known}"))
        })
    }

    /// # Errors
    /// `NOT_FOUND`, naming the registered groups.
    pub(super) fn check_group(&self, group: Option<u16>) -> Result<()> {
        let Some(group) = group else { return Ok(()) };
        self.engine().find_group(group).map(drop)
    }
}
