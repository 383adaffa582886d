//! Serving tables: files that a dump writes, that are mapped into memory and looked up in where they lie. docs/formats.md
//! has their bytes, docs/design.md the reasons.
//!
//! Plain code with a file of its own: knows nothing of storages, and RocksDB is not needed to serve. `classic` writes the
//! other format of a dump, which only shares the way in which a file is made.

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
pub(crate) use classic::MAX_GROUPS;
pub use contents::{Contents, GroupInfo};
pub(crate) use format::MAX_DIM;
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
    /// Maps the file and reads all of it once, to compare it with its checksums.
    ///
    /// # Errors
    /// As [`Contents::open`]; `INVALID_ARGUMENT` for an increment, which has to be merged first.
    pub fn open(path: &Path) -> Result<Table> {
        let contents = Contents::open(path)?;
        if let Some(since) = contents.since() {
            return Err(Error::invalid(format!(
                "'{}' is an increment, with the changes since number {since}; merge it with the table of that number \
                 (damo_table_merge) and open the result",
                path.display()
            )));
        }
        contents.map().expect_random_reads();
        Ok(Table { contents })
    }

    /// What is in it, in key order.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Where in the life of the storage it was taken.
    pub fn number(&self) -> u64 {
        self.contents.number()
    }

    /// # Errors
    /// `NOT_FOUND` for a group that is not there.
    pub fn dim(&self, group: u32) -> Result<usize> {
        Ok(self.entry(group)?.dim)
    }

    /// # Errors
    /// As [`Table::dim`].
    pub fn rows(&self, group: u32) -> Result<u64> {
        Ok(self.entry(group)?.rows)
    }
}

/// The groups there are, for messages.
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
