//! A whole table, open for serving. `lookup` finds its rows by key.

use std::path::Path;

use super::contents::Contents;
use super::format::GroupEntry;
use super::group_list::list_groups;
use crate::error::{Error, Result};

/// A whole table, open for lookups.
pub struct Table {
    contents: Contents,
}

impl Table {
    /// Maps the file, reads all of it once and compares its checksums.
    ///
    /// # Errors
    /// As [`Contents::open`]; `INVALID_ARGUMENT` for an increment, which has to be merged first.
    pub fn open(path: &Path) -> Result<Table> {
        let contents = Contents::open(path)?;
        if let Some(since) = contents.since() {
            return Err(Error::invalid(format!(
                "'{}' is an increment, with the changes since number {since}; merge it with the \
                 table of that number (damo_table_merge) and open the result",
                path.display()
            )));
        }
        contents.map().expect_random_reads();
        Ok(Table { contents })
    }

    /// Its contents, in key order.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The number of the dump: the sequence number of its storage's last call.
    pub fn number(&self) -> u64 {
        self.contents.number()
    }

    /// The dim of a group.
    ///
    /// # Errors
    /// `NOT_FOUND` for a group that is not in the table.
    pub fn dim(&self, group: u32) -> Result<usize> {
        Ok(self.entry(group)?.dim)
    }

    /// The number of rows of a group.
    ///
    /// # Errors
    /// As [`Table::dim`].
    pub fn rows(&self, group: u32) -> Result<u64> {
        Ok(self.entry(group)?.rows)
    }

    pub(super) fn entry(&self, group: u32) -> Result<&GroupEntry> {
        let entry = u16::try_from(group).ok().and_then(|group| self.contents.entry(group));
        entry.ok_or_else(|| {
            let groups = list_groups(self.contents.groups().map(|info| info.group));
            let path = self.contents.path().display();
            Error::not_found(format!("group is {group}; the table '{path}' has {groups}"))
        })
    }
}
