//! Serving tables: files that a dump writes and that serving maps into memory and reads in place.
//! docs/formats.md has their bytes, docs/design/table.md the reasons.
//!
//! Knows nothing of storages: serving needs no RocksDB. `classic` writes the other formats of a
//! dump, which share only the way in which a file is made.

mod classic;
mod contents;
mod file;
mod format;
mod half;
mod hash;
mod index;
mod lookup;
mod merge;
mod output;
mod removed;
mod rows;
mod system;
mod values;
mod verify;
mod writer;

use std::path::Path;

pub use classic::ClassicWriter;
pub use contents::{Contents, GroupInfo};
pub use merge::merge;
pub use rows::Rows;
pub use values::ValueType;
pub use writer::{Options, Summary, Writer};

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
}

/// A list of groups, for messages.
fn list_groups(groups: impl ExactSizeIterator<Item = u16>) -> String {
    /// More would make the message unreadable.
    const SHOWN: usize = 20;
    let more = groups.len().saturating_sub(SHOWN);
    let list: Vec<String> = groups.take(SHOWN).map(|group| group.to_string()).collect();
    match (list.is_empty(), more) {
        (true, _) => "no groups".to_owned(),
        (_, 0) => format!("groups {}", list.join(", ")),
        _ => format!("groups {} and {more} more", list.join(", ")),
    }
}
