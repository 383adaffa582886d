//! Reads one SST file block by block, so that a damaged block costs its own rows and no others.
//!
//! RocksDB's readers stop at the first damage, and its C interface has no reader for a single file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::block::{Handle, IndexEntry, MIN_BLOCK, index_entries, pairs};
use super::head::{Head, MAX_SMALL, Properties};
use super::source::{OpenFile, read_block};
use super::{MAX_DATA, MAX_INDEX, ROW_KEY, SUFFIX};
use crate::files::regular;
use crate::rocks::documents::FAMILY;

/// An SST file whose index can be read.
pub(crate) struct SstFile {
    /// Open while it is held. Otherwise each block opens the file.
    file: Option<OpenFile>,
    base: u32,
    pub(crate) path: PathBuf,
    /// The file's bytes.
    pub(crate) len: u64,
    blocks: Vec<IndexEntry>,
    /// What the file says about itself; None when that is damaged.
    pub(crate) properties: Option<Properties>,
}

/// Why nothing of a file can be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) what: String,
    /// How many entries it has, if at least that can be read.
    pub(crate) entries: Option<u64>,
    /// There was no memory for its blocks: it need not be damaged.
    pub(crate) is_shortage: bool,
}

/// An entry of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) seqno: u64,
    /// None for a deletion.
    pub(crate) value: Option<Vec<u8>>,
}

impl SstFile {
    /// Reads the index. The file is not held afterwards.
    ///
    /// # Errors
    /// In words, why nothing of the file can be read.
    pub(crate) fn open(path: &Path) -> Result<SstFile, Unreadable> {
        let mut sst = SstFile {
            file: None,
            base: 0,
            path: path.to_owned(),
            len: 0,
            blocks: Vec::new(),
            properties: None,
        };
        let read = sst.read();
        let is_shortage = sst.is_short();
        sst.release();
        let entries = sst.properties.as_ref().and_then(|properties| properties.entries);
        let what = match read {
            Ok(()) if !is_shortage => return Ok(sst),
            Ok(()) => "there is no memory for its index".to_owned(),
            Err(what) => what,
        };
        Err(Unreadable { what, entries, is_shortage })
    }

    fn read(&mut self) -> Result<(), String> {
        let unreadable = |error: io::Error| format!("it cannot be read: {error}");
        let file = regular::open(&self.path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        self.len = found.len();
        let file = self.file.insert(OpenFile::new(file).map_err(unreadable)?);
        let head = Head::read(file)?;
        let index = head.block("rocksdb.index");
        (self.base, self.properties) = (head.base, head.properties);
        let index = index.ok_or("its index is damaged")?;
        // A file with holes is longer than its content. Some file systems do not say how much is
        // stored.
        let stored = match found.blocks() {
            0 => self.len,
            blocks => self.len.min(blocks.saturating_mul(512).saturating_add(MAX_SMALL)),
        };
        self.read_index(index, stored)
    }

    /// Reads the index of a file with this many stored bytes.
    fn read_index(&mut self, handle: Handle, stored: u64) -> Result<(), String> {
        let damaged = || "its index is damaged".to_owned();
        // An entry of the index is small, and has a block.
        let limit = MAX_INDEX.min(stored.saturating_mul(4).saturating_add(MAX_SMALL));
        let mut left = stored / MIN_BLOCK;
        let bytes = self.block(handle, limit).map_err(|what| format!("its index {what}"))?;
        let top = index_entries(&bytes, 0, handle.offset, left).ok_or_else(damaged)?;
        // The last key is in full, so its length tells whether RocksDB's suffix is on keys.
        let is_user_key = || top.last().is_none_or(|entry| entry.last.len() < ROW_KEY);
        let is_user_key =
            self.properties.as_ref().map_or_else(is_user_key, |found| found.is_user_key);
        let has_two_levels = match &self.properties {
            Some(properties) => properties.has_two_levels,
            None => self.is_index_of_indexes(&top),
        };
        let mut blocks = Vec::new();
        if has_two_levels {
            let mut begin = 0;
            for part in top {
                let read = part.handle.and_then(|handle| {
                    let bytes = self.block(handle, MAX_SMALL).ok()?;
                    index_entries(&bytes, begin, handle.offset, left)
                });
                let Some(entries) = read else {
                    blocks.push(IndexEntry { handle: None, last: part.last });
                    continue;
                };
                left -= entries.len() as u64;
                begin = entries.iter().rev().find_map(|entry| entry.handle?.end()).unwrap_or(begin);
                blocks.extend(entries);
            }
        } else {
            blocks = top;
        }
        if !is_user_key {
            for block in &mut blocks {
                block.last.truncate(block.last.len().checked_sub(SUFFIX).ok_or_else(damaged)?);
            }
        }
        if !blocks.is_sorted_by(|one, next| one.last <= next.last) {
            return Err(damaged());
        }
        self.blocks = blocks;
        Ok(())
    }

    /// Whether an index leads to further indexes. The first block that can be read tells: rows do
    /// not look like a list of blocks that follow each other without gaps.
    fn is_index_of_indexes(&self, top: &[IndexEntry]) -> bool {
        let first = top.iter().filter_map(|entry| entry.handle).find_map(|handle| {
            let bytes = self.block(handle, MAX_DATA).ok()?;
            Some(index_entries(&bytes, 0, handle.offset, self.len / MIN_BLOCK))
        });
        let Some(Some(entries)) = first else { return false };
        let handles: Option<Vec<Handle>> = entries.iter().map(|entry| entry.handle).collect();
        handles.is_some_and(|handles| {
            !handles.is_empty() && handles.is_sorted_by(|one, next| one.end() == Some(next.offset))
        })
    }

    /// Keeps the file open until [`SstFile::release`], for a caller that reads its blocks soon.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn hold(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(OpenFile::new(regular::open(&self.path)?)?);
        }
        Ok(())
    }

    /// Closes the file. From now on each block opens it.
    pub(crate) fn release(&mut self) {
        self.file = None;
    }

    pub(crate) fn is_held(&self) -> bool {
        self.file.is_some()
    }

    /// Whether there was no memory for a block while the file was held.
    pub(crate) fn is_short(&self) -> bool {
        self.file.as_ref().is_some_and(OpenFile::is_short)
    }

    pub(crate) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The entries of a block, ascending, and checked to lie between those of its neighbours.
    ///
    /// # Errors
    /// What is wrong with the block, in words that follow its name.
    pub(crate) fn entries_of(&self, block: usize) -> Result<Vec<Entry>, String> {
        let damaged = || "is damaged".to_owned();
        let index = self.blocks.get(block).ok_or_else(damaged)?;
        let bytes = self.block(index.handle.ok_or_else(damaged)?, MAX_DATA)?;
        let entries = pairs(&bytes).ok_or_else(damaged)?.into_iter().map(|(mut key, value)| {
            let packed = u64::from_le_bytes(*key.last_chunk()?);
            key.truncate(key.len() - SUFFIX);
            let value = match packed as u8 {
                0 | 7 => None,
                1 => Some(value),
                _ => return None,
            };
            Some(Entry { key, seqno: packed >> 8, value })
        });
        let entries: Vec<Entry> = entries.collect::<Option<_>>().ok_or_else(damaged)?;
        let is_next = |one: &Entry, next: &Entry| {
            one.key < next.key || (one.key == next.key && one.seqno > next.seqno)
        };
        let above = block.checked_sub(1).and_then(|before| self.blocks.get(before));
        let is_above = |entry: &Entry| above.is_none_or(|above| entry.key >= above.last);
        let is_in_place = entries.is_sorted_by(is_next)
            && entries.first().is_none_or(is_above)
            && entries.last().is_none_or(|entry| entry.key <= index.last);
        if is_in_place { Ok(entries) } else { Err(damaged()) }
    }

    /// The keys that a block may have: above the first returned key, and up to the second.
    pub(crate) fn keys_of(&self, block: usize) -> (Vec<u8>, Vec<u8>) {
        let last = |index: usize| self.blocks[index].last.clone();
        (block.checked_sub(1).map(last).unwrap_or_default(), last(block))
    }

    /// The first and the last key, if both can be read.
    pub(crate) fn ends(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let first = self.entries_of(0).ok()?.into_iter().next()?;
        let last = self.entries_of(self.blocks.len().checked_sub(1)?).ok()?.pop()?;
        Some((first.key, last.key))
    }

    /// Whether it has documents and no rows. If its properties do not say, its keys do: those of
    /// documents are words.
    pub(crate) fn has_documents(&self) -> bool {
        if let Some(properties) = &self.properties {
            return properties.family.as_deref() == Some(FAMILY);
        }
        let first = (0..self.blocks.len()).find_map(|block| self.entries_of(block).ok());
        let is_word = |entry: &Entry| entry.key.iter().all(|byte| (b' '..=b'~').contains(byte));
        first.is_some_and(|entries| entries.iter().all(is_word))
    }

    /// The content of a block of at most `limit` bytes whose checksum fits.
    fn block(&self, handle: Handle, limit: u64) -> Result<Vec<u8>, String> {
        if let Some(file) = &self.file {
            return read_block(file, self.base, handle, limit);
        }
        let file = regular::open(&self.path).and_then(OpenFile::new);
        let file = file.map_err(|error| format!("cannot be read: {error}"))?;
        read_block(&file, self.base, handle, limit)
    }
}
