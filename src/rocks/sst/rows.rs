//! The rows of one block, read in place.

use std::cmp::Reverse;

use super::block::{MAX_FILLED, entries_part, take, varint};
use super::{ROW_KEY, SUFFIX};
use crate::rocks::key::{self, KEY_LEN, Ordinal};

/// The types of entries that damo makes.
const DELETION: u8 = 0;
const VALUE: u8 = 1;
/// RocksDB's sequence numbers have 56 bits.
pub(super) const MAX_SEQNO: u64 = (1 << 56) - 1;

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
        &block[self.start as usize..][..self.len as usize]
    }
}

/// Puts the entries of a block into `rows`, replacing its content. `seqno` is the sequence number
/// of all entries of an ingested file. The entries are ascending, and few: only the last value may
/// lie beyond what RocksDB fills a block with.
///
/// # Errors
/// What is wrong with the block, in words that follow its name.
pub(super) fn read(
    block: &[u8],
    seqno: Option<u64>,
    rows: &mut Vec<RowEntry>,
) -> Result<(), &'static str> {
    const DAMAGED: &str = "is damaged";
    rows.clear();
    let all = entries_part(block).ok_or(DAMAGED)?;
    let mut rest = all;
    let mut full = [0; ROW_KEY];
    while !rest.is_empty() {
        if all.len() - rest.len() > MAX_FILLED {
            return Err("has more rows than damo's options make");
        }
        let mut lengths = || Some((varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?));
        let (shared, own, len) = lengths().ok_or(DAMAGED)?;
        let is_known = shared == 0 || !rows.is_empty();
        if shared.checked_add(own) != Some(ROW_KEY as u64) || !is_known {
            return Err("has a key that is not a row's");
        }
        let own = take(&mut rest, own).ok_or(DAMAGED)?;
        full[shared as usize..].copy_from_slice(own);
        let start = all.len() - rest.len();
        take(&mut rest, len).ok_or(DAMAGED)?;
        let Some((user_key, suffix)) = full.split_first_chunk::<KEY_LEN>() else {
            return Err(DAMAGED);
        };
        let mut packed = suffix.first_chunk::<SUFFIX>().map_or(0, |x| u64::from_le_bytes(*x));
        if ![DELETION, VALUE].contains(&(packed as u8)) {
            return Err("has an entry of a type that damo does not make");
        }
        if let Some(seqno) = seqno {
            if packed >> 8 != 0 {
                return Err("has a sequence number of its own, in an ingested file");
            }
            packed |= seqno << 8;
        }
        let version = Version { key: key::ordinal(user_key), packed: Reverse(packed) };
        if rows.last().is_some_and(|before| before.version >= version) {
            return Err("has entries that are not ascending");
        }
        // Blocks have at most `MAX_DATA` bytes.
        rows.push(RowEntry { version, start: start as u32, len: len as u32 });
    }
    if rows.is_empty() { Err("has no entry") } else { Ok(()) }
}
