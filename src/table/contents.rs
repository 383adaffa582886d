//! A table or an increment, mapped and verified: its contents in key order. `lookup` finds rows by
//! key.

use std::path::{Path, PathBuf};

use super::format::{ALIGN, GroupEntry, TableHeader, key_of, read_head};
use super::rows::TableRows;
use super::system::MappedFile;
use super::values::ValueType;
use super::verify::verify;
use crate::error::{Error, Result};
use crate::files::regular;

/// An open file: a table or an increment.
pub struct Contents {
    map: MappedFile,
    path: PathBuf,
    header: TableHeader,
    entries: Vec<GroupEntry>,
}

/// One group of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its number.
    pub group: u16,
    /// The number of weights of a row.
    pub dim: usize,
    /// The number of rows.
    pub rows: u64,
    /// How many keys an increment removes.
    pub removed: u64,
}

impl Contents {
    /// Maps the file, reads all of it once and compares its checksums.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID_ARGUMENT` for a directory and for a file that is no table;
    /// `NOT_SUPPORTED` for one of a later version; `CORRUPTION` saying what is damaged; `IO`,
    /// `OUT_OF_MEMORY`.
    pub fn open(path: &Path) -> Result<Contents> {
        if path.as_os_str().is_empty() {
            return Err(Error::invalid("path is empty; the path of a table is needed"));
        }
        let shown = format!("'{}'", path.display());
        let (file, _) = regular::open_argument(path, &shown, "a table is a file")?;
        let map = MappedFile::new(&file)
            .map_err(|error| Error::io(format!("{shown} cannot be read: {error}")))?;
        map.prefer_huge_pages();
        let within = |error: Error| error.within(&shown);
        let (header, entries) = read_head(&map).map_err(within)?;
        verify(&map, &header, &entries).map_err(within)?;
        Ok(Contents { map, path: path.to_owned(), header, entries })
    }

    /// The path that it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The type of its weights.
    pub fn value_type(&self) -> ValueType {
        self.header.value_type
    }

    /// The number of the dump: the sequence number of its storage's last call.
    pub fn number(&self) -> u64 {
        self.header.number
    }

    /// For an increment: the number of the table that it continues.
    pub fn since(&self) -> Option<u64> {
        self.header.since
    }

    /// All groups, ascending.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = GroupInfo> {
        self.entries.iter().map(|entry| GroupInfo {
            group: entry.group,
            dim: entry.dim,
            rows: entry.rows,
            removed: if self.header.since.is_some() { entry.more } else { 0 },
        })
    }

    /// The rows of a group in key order; empty for a group that is not in the file.
    pub fn rows(&self, group: u16) -> TableRows<'_> {
        let entry = self.entry(group);
        let (bytes, dim) = entry.map_or((&[][..], 1), |entry| (self.row_bytes(entry), entry.dim));
        TableRows::new(bytes, self.header.value_type, dim)
    }

    /// The keys that an increment removes from a group, ascending.
    pub fn removed(&self, group: u16) -> impl ExactSizeIterator<Item = i64> + Clone {
        let is_increment = self.header.since.is_some();
        let entry = self.entry(group).filter(|_| is_increment);
        let bytes = entry.map_or(&[][..], |entry| self.part(entry.more_offset, entry.more * 8));
        bytes.chunks_exact(8).map(key_of)
    }

    pub(super) fn map(&self) -> &MappedFile {
        &self.map
    }

    pub(super) fn entry(&self, group: u16) -> Option<&GroupEntry> {
        let place = self.entries.binary_search_by_key(&group, |entry| entry.group).ok()?;
        Some(&self.entries[place])
    }

    pub(super) fn row_bytes(&self, entry: &GroupEntry) -> &[u8] {
        self.part(entry.rows_offset, entry.rows * entry.stride(self.header.value_type) as u64)
    }

    /// The index, with the empty slots that fill up its last cache line.
    pub(super) fn slot_bytes(&self, entry: &GroupEntry) -> &[u8] {
        self.part(entry.more_offset, (entry.more * 4).next_multiple_of(ALIGN))
    }

    /// A section, which lies within the file: `read_head` has checked that.
    fn part(&self, offset: u64, len: u64) -> &[u8] {
        &self.map[offset as usize..(offset + len) as usize]
    }
}
