//! Reads one file of rows block by block, so that a damaged block costs its own rows and no others.
//!
//! RocksDB's readers stop at the first damage, and its C interface has no reader for a single file.
//! The format is that of RocksDB's table/format.h, as far as damo's options make it: block-based,
//! version 6, XXH3, no compression or LZ4, an index of one level or two that has each key in full.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

const FOOTER: usize = 53;
const MAGIC: u64 = 0x88e2_41b7_85f4_cff7;
const EXTENDED_MAGIC: [u8; 4] = [0x3e, 0x00, 0x7a, 0x00];
const VERSION: u32 = 6;
const XXH3: u8 = 4;
/// Bytes behind each block: compression and checksum.
const TRAILER: usize = 5;
/// Larger than any block that is whole.
const MAX_BLOCK: u64 = 1 << 30;
const TWO_LEVELS: u32 = 2;

/// A file whose index can be read.
pub(in crate::storage) struct SstFile {
    file: File,
    base: u32,
    pub(in crate::storage) path: PathBuf,
    blocks: Vec<IndexEntry>,
    /// The column family that it belongs to, where that can be read.
    pub(in crate::storage) family: Option<String>,
    /// Its entries, where that can be read.
    pub(in crate::storage) entries: Option<u64>,
    /// The file was ingested: all its entries have the sequence number that the MANIFEST gives it.
    pub(in crate::storage) is_external: bool,
}

/// A block, and a key between it and the next: at least its last key, at most the next one's first.
struct IndexEntry {
    handle: Option<Handle>,
    last: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Handle {
    offset: u64,
    size: u64,
}

/// An entry of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage) struct Entry {
    pub(in crate::storage) key: Vec<u8>,
    pub(in crate::storage) seqno: u64,
    /// None for a deletion.
    pub(in crate::storage) value: Option<Vec<u8>>,
}

impl SstFile {
    /// # Errors
    /// In words, why nothing of the file can be read.
    pub(in crate::storage) fn open(path: &Path) -> Result<SstFile, String> {
        let unreadable = |error: io::Error| format!("it cannot be read: {error}");
        let file = File::open(path).map_err(unreadable)?;
        let len = file.metadata().map_err(unreadable)?.len();
        let start = len.checked_sub(FOOTER as u64).ok_or("it is cut off")?;
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, start).map_err(unreadable)?;
        let (base, meta) = read_footer(&footer, start)?;
        let mut sst = SstFile {
            file,
            base,
            path: path.to_owned(),
            blocks: Vec::new(),
            family: None,
            entries: None,
            is_external: false,
        };
        let meta = sst.block(meta).ok_or("its list of blocks is damaged")?;
        let meta = pairs(&meta).ok_or("its list of blocks is damaged")?;
        let find = |name: &str| {
            let found = meta.iter().find(|(key, _)| key == name.as_bytes());
            found.and_then(|(_, value)| Handle::decode(&mut value.as_slice()))
        };
        let properties = find("rocksdb.properties").and_then(|handle| sst.block(handle));
        let properties = properties.and_then(|block| pairs(&block)).unwrap_or_default();
        let property =
            |name: &str| properties.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value);
        let number = |name: &str| property(name).and_then(|value| varint(&mut value.as_slice()));
        sst.family =
            property("rocksdb.column.family.name").and_then(|name| String::from_utf8(name.clone()).ok());
        sst.entries = number("rocksdb.num.entries");
        sst.is_external = property("rocksdb.external_sst_file.version").is_some();
        let is_user_key = number("rocksdb.index.key.is.user.key").is_none_or(|yes| yes == 1);
        let has_two_levels = property("rocksdb.block.based.table.index.type")
            .and_then(|value| value.first_chunk())
            .is_some_and(|kind| u32::from_le_bytes(*kind) == TWO_LEVELS);
        let index = find("rocksdb.index").and_then(|handle| sst.block(handle));
        let top = index.and_then(|block| index_entries(&block, is_user_key)).ok_or("its index is damaged")?;
        if !has_two_levels {
            sst.blocks = top;
            return Ok(sst);
        }
        for part in top {
            let entries = part.handle.and_then(|handle| sst.block(handle));
            match entries.and_then(|block| index_entries(&block, is_user_key)) {
                Some(entries) => sst.blocks.extend(entries),
                None => sst.blocks.push(IndexEntry { handle: None, last: part.last }),
            }
        }
        Ok(sst)
    }

    pub(in crate::storage) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The entries of a block, ascending; None when it is damaged.
    pub(in crate::storage) fn entries_of(&self, block: usize) -> Option<Vec<Entry>> {
        let bytes = self.block(self.blocks.get(block)?.handle?)?;
        let entries = pairs(&bytes)?.into_iter().map(|(mut key, value)| {
            let packed = u64::from_le_bytes(*key.last_chunk()?);
            key.truncate(key.len() - 8);
            let value = match packed as u8 {
                0 | 7 => None,
                1 => Some(value),
                _ => return None,
            };
            Some(Entry { key, seqno: packed >> 8, value })
        });
        entries.collect()
    }

    /// The keys that a block may have: above the first that is returned, up to the second.
    pub(in crate::storage) fn keys_of(&self, block: usize) -> (Vec<u8>, Vec<u8>) {
        let last = |index: usize| self.blocks.get(index).map(|entry| entry.last.clone());
        (block.checked_sub(1).and_then(last).unwrap_or_default(), last(block).unwrap_or_default())
    }

    /// The content of a block whose checksum fits.
    fn block(&self, handle: Handle) -> Option<Vec<u8>> {
        if handle.size > MAX_BLOCK {
            return None;
        }
        let mut bytes = vec![0; handle.size as usize + TRAILER];
        self.file.read_exact_at(&mut bytes, handle.offset).ok()?;
        let stored = u32::from_le_bytes(*bytes.last_chunk()?);
        bytes.truncate(handle.size as usize + 1);
        if checksum(&bytes)?.wrapping_add(modifier(self.base, handle.offset)) != stored {
            return None;
        }
        match bytes.pop()? {
            0 => Some(bytes),
            4 => {
                let mut rest = bytes.as_slice();
                let len = varint(&mut rest).filter(|len| *len <= MAX_BLOCK)?;
                lz4_flex::block::decompress(rest, len as usize).ok()
            }
            _ => None,
        }
    }
}

impl Handle {
    fn decode(bytes: &mut &[u8]) -> Option<Handle> {
        Some(Handle { offset: varint(bytes)?, size: varint(bytes)? })
    }
}

/// The number that this file's checksums are mixed with, and where the list of its blocks is.
fn read_footer(footer: &[u8; FOOTER], start: u64) -> Result<(u32, Handle), String> {
    let u32_at = |at: usize| {
        footer.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |x| u32::from_le_bytes(*x))
    };
    if footer.last_chunk() != Some(&MAGIC.to_le_bytes()) {
        return Err("its end is not that of a file of rows".to_owned());
    }
    let version = u32_at(FOOTER - 12);
    if version != VERSION || footer[0] != XXH3 || footer[1..5] != EXTENDED_MAGIC {
        return Err(format!("its format, {version}, is none that damo writes, or its end is damaged"));
    }
    let (stored, base, size) = (u32_at(5), u32_at(9), u64::from(u32_at(13)));
    let mut without = *footer;
    without[5..9].fill(0);
    if checksum(&without).map(|sum| sum.wrapping_add(modifier(base, start))) != Some(stored) {
        return Err("its end is damaged".to_owned());
    }
    let offset = start.checked_sub(TRAILER as u64 + size).ok_or("its end is damaged")?;
    Ok((base, Handle { offset, size }))
}

/// XXH3 of all bytes but the last, which is mixed in.
fn checksum(bytes: &[u8]) -> Option<u32> {
    let (last, rest) = bytes.split_last()?;
    Some(XxHash3_64::oneshot(rest) as u32 ^ u32::from(*last).wrapping_mul(0x6b90_83d9))
}

/// What a block's checksum is mixed with, so that it does not fit in another file or place.
fn modifier(base: u32, offset: u64) -> u32 {
    let mixed = base ^ (offset as u32).wrapping_add((offset >> 32) as u32);
    if base == 0 { 0 } else { mixed }
}

pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(number);
        }
    }
    None
}

/// The part of a block that has entries, without the list of restart points behind it.
fn entries_part(block: &[u8]) -> Option<&[u8]> {
    let restarts = u32::from_le_bytes(*block.last_chunk()?);
    // Higher bits mark kinds of blocks that damo's options do not make, except for one that is a
    // hint.
    let restarts = restarts & !(1 << 29);
    if restarts >> 28 != 0 {
        return None;
    }
    block.get(..block.len().checked_sub(4 + 4 * restarts as usize)?)
}

/// Keys and values of a block.
fn pairs(block: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut rest = entries_part(block)?;
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    while !rest.is_empty() {
        let [shared, own, len] = [varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?];
        let mut key = match pairs.last() {
            Some((before, _)) => before.get(..usize::try_from(shared).ok()?)?.to_vec(),
            None if shared == 0 => Vec::new(),
            None => return None,
        };
        key.extend(take(&mut rest, own)?);
        pairs.push((key, take(&mut rest, len)?.to_vec()));
    }
    Some(pairs)
}

/// As `pairs`, for an index, whose values have no lengths: they say themselves where they end.
fn index_entries(block: &[u8], is_user_key: bool) -> Option<Vec<IndexEntry>> {
    let mut rest = entries_part(block)?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let [shared, own] = [varint(&mut rest)?, varint(&mut rest)?];
        let key = take(&mut rest, own)?;
        // damo's options make each entry a restart point, so none is written as a difference.
        let handle = Handle::decode(&mut rest).filter(|_| shared == 0)?;
        let len = if is_user_key { key.len() } else { key.len().checked_sub(8)? };
        entries.push(IndexEntry { handle: Some(handle), last: key[..len].to_vec() });
    }
    Some(entries)
}

pub(super) fn take<'a>(bytes: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    *bytes = rest;
    Some(taken)
}
