//! The rows of one block, read in place.

use std::cmp::Reverse;
use std::ops::Range;

use super::block::{MAX_FILLED, entries_part, take, varint};
use super::{ROW_KEY, SUFFIX};
use crate::rocks::key::{self, KEY_LEN, Ordinal};

/// The types of entries that damo makes.
const DELETION: u8 = 0;
const VALUE: u8 = 1;
/// RocksDB's sequence numbers have 56 bits.
pub(super) const MAX_SEQNO: u64 = (1 << 56) - 1;
const DAMAGED: &str = "is damaged";

/// A version of a row, or its deletion. Versions are in the order of files: by ascending keys, and
/// of a key the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::rocks) struct Version {
    pub(in crate::rocks) key: Ordinal,
    /// RocksDB's sequence number and, in the last byte, the type.
    packed: Reverse<u64>,
}

impl Version {
    pub(in crate::rocks) fn is_deletion(self) -> bool {
        self.packed.0 as u8 == DELETION
    }

    pub(in crate::rocks) fn seqno(self) -> u64 {
        self.packed.0 >> 8
    }

    #[cfg(test)]
    pub(super) fn value(key: Ordinal, seqno: u64) -> Version {
        Version { key, packed: Reverse(seqno << 8 | u64::from(VALUE)) }
    }
}

/// An entry of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowEntry {
    pub(super) version: Version,
    /// Where the value is in the block.
    start: u32,
    len: u32,
}

impl RowEntry {
    /// The entry's value, out of its block.
    pub(super) fn value<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        &block[self.range()]
    }

    /// Where the value is in the block.
    pub(super) fn range(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// The entries of a block, read one after the other. They are ascending, and few: only the last
/// value may lie beyond what RocksDB fills a block with.
pub(super) struct Entries<'a> {
    all: &'a [u8],
    rest: &'a [u8],
    /// The sequence number of all entries of an ingested file.
    seqno: Option<u64>,
    /// The last entry's key, with RocksDB's suffix.
    full: [u8; ROW_KEY],
    before: Option<Version>,
}

impl<'a> Entries<'a> {
    /// # Errors
    /// What is wrong with the block, in words that follow its name.
    pub(super) fn new(block: &'a [u8], seqno: Option<u64>) -> Result<Entries<'a>, &'static str> {
        let all = entries_part(block).ok_or(DAMAGED)?;
        Ok(Entries { all, rest: all, seqno, full: [0; ROW_KEY], before: None })
    }

    /// The next entry; None at the end.
    ///
    /// # Errors
    /// As [`Entries::new`].
    #[inline]
    pub(super) fn advance(&mut self) -> Result<Option<RowEntry>, &'static str> {
        let rest = &mut self.rest;
        if rest.is_empty() {
            return if self.before.is_some() { Ok(None) } else { Err("has no entry") };
        }
        if self.all.len() - rest.len() > MAX_FILLED {
            return Err("has more rows than damo's options make");
        }
        let mut lengths = || Some((varint(rest)?, varint(rest)?, varint(rest)?));
        let (shared, own, len) = lengths().ok_or(DAMAGED)?;
        let is_known = shared == 0 || self.before.is_some();
        if shared.checked_add(own) != Some(ROW_KEY as u64) || !is_known {
            return Err("has a key that is not a row's");
        }
        let own = take(rest, own).ok_or(DAMAGED)?;
        self.full[shared as usize..].copy_from_slice(own);
        let start = self.all.len() - rest.len();
        take(rest, len).ok_or(DAMAGED)?;
        let Some((user_key, suffix)) = self.full.split_first_chunk::<KEY_LEN>() else {
            return Err(DAMAGED);
        };
        let mut packed = suffix.first_chunk::<SUFFIX>().map_or(0, |x| u64::from_le_bytes(*x));
        if ![DELETION, VALUE].contains(&(packed as u8)) {
            return Err("has an entry of a type that damo does not make");
        }
        if let Some(seqno) = self.seqno {
            if packed >> 8 != 0 {
                return Err("has a sequence number of its own, in an ingested file");
            }
            packed |= seqno << 8;
        }
        let version = Version { key: key::ordinal(user_key), packed: Reverse(packed) };
        if self.before.is_some_and(|before| before >= version) {
            return Err("has entries that are not ascending");
        }
        self.before = Some(version);
        // Blocks have at most `MAX_DATA` bytes.
        Ok(Some(RowEntry { version, start: start as u32, len: len as u32 }))
    }
}

/// Puts the entries of a block into `rows`, replacing its content. `seqno` is the sequence number
/// of all entries of an ingested file.
///
/// # Errors
/// What is wrong with the block, in words that follow its name.
pub(super) fn read(
    block: &[u8],
    seqno: Option<u64>,
    rows: &mut Vec<RowEntry>,
) -> Result<(), &'static str> {
    rows.clear();
    let mut entries = Entries::new(block, seqno)?;
    while let Some(entry) = entries.advance()? {
        rows.push(entry);
    }
    Ok(())
}
