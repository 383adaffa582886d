//! Reads the blocks and the end of an SST file. Nothing here trusts the bytes: a file may have been
//! made to unfold without bound, with checksums that fit.

use twox_hash::XxHash3_64;

use crate::error::Error;
use crate::memory::filled;

pub(super) const FOOTER: usize = 53;
const MAGIC: u64 = 0x88e2_41b7_85f4_cff7;
const EXTENDED_MAGIC: [u8; 4] = [0x3e, 0x00, 0x7a, 0x00];
const VERSION: u32 = 6;
const XXH3: u8 = 4;
/// Bytes behind each block: its compression and checksum.
pub(super) const TRAILER: usize = 5;
/// Bytes of the smallest block with an entry, with its trailer.
pub(super) const MIN_BLOCK: u64 = 16;
/// Longer than any key that damo or RocksDB writes. A row's key has 10 bytes, and 8 of RocksDB's.
const MAX_KEY: usize = 256;
/// RocksDB ends a block once it has 2 KiB, or 4 KiB in the documents' family. Only the last value
/// of a block may lie beyond this.
pub(super) const MAX_FILLED: usize = 64 << 10;
/// The numbers of compressions.
pub(super) const UNCOMPRESSED: u8 = 0;
pub(super) const LZ4: u8 = 4;
/// How many bytes one byte of LZ4 unfolds to at most.
const MAX_RATIO: usize = 255;

/// Where a block is, without its trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl Handle {
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Handle> {
        Some(Handle { offset: varint(bytes)?, size: varint(bytes)? })
    }

    /// The first byte behind the block and its trailer.
    pub(super) fn end(self) -> Option<u64> {
        self.offset.checked_add(self.size)?.checked_add(TRAILER as u64)
    }
}

/// Reads the footer: the number that the file's checksums are mixed with, and where the list of its
/// blocks is.
pub(super) fn read_footer(footer: &[u8; FOOTER], start: u64) -> Result<(u32, Handle), String> {
    let u32_at = |at: usize| {
        footer.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |x| u32::from_le_bytes(*x))
    };
    if footer.last_chunk() != Some(&MAGIC.to_le_bytes()) {
        return Err("its end is not that of a file of rows".to_owned());
    }
    let version = u32_at(FOOTER - 12);
    if version != VERSION || footer[0] != XXH3 || footer[1..5] != EXTENDED_MAGIC {
        return Err(format!(
            "its format, {version}, is none that damo writes, or its end is damaged"
        ));
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

/// A block without its trailer, and its compression. None when its checksum does not fit. `bytes`
/// has the trailer.
pub(super) fn checked(bytes: &[u8], base: u32, offset: u64) -> Option<(&[u8], u8)> {
    let (bytes, stored) = bytes.split_last_chunk()?;
    if checksum(bytes)?.wrapping_add(modifier(base, offset)) != u32::from_le_bytes(*stored) {
        return None;
    }
    bytes.split_last().map(|(kind, content)| (content, *kind))
}

/// The content of a block that was compressed with LZ4. None when it would have more than `limit`
/// bytes.
///
/// # Errors
/// `OUT_OF_MEMORY`.
pub(super) fn unpacked(mut packed: &[u8], limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let len = varint(&mut packed).filter(|len| *len <= limit);
    let is_possible = |len: &usize| *len <= packed.len().saturating_mul(MAX_RATIO);
    let Some(len) = len.map(|len| len as usize).filter(is_possible) else { return Ok(None) };
    let mut content = filled(0, len)?;
    let written = lz4_flex::block::decompress_into(packed, &mut content);
    Ok(written.is_ok_and(|written| written == len).then_some(content))
}

/// The content of a block that was read with its trailer. None when its checksum does not fit, or
/// it has more than `limit` bytes.
///
/// # Errors
/// `OUT_OF_MEMORY`.
pub(super) fn content(
    mut bytes: Vec<u8>,
    base: u32,
    offset: u64,
    limit: u64,
) -> Result<Option<Vec<u8>>, Error> {
    let Some((block, compression)) = checked(&bytes, base, offset) else { return Ok(None) };
    match compression {
        UNCOMPRESSED => {
            bytes.truncate(bytes.len() - TRAILER);
            Ok(Some(bytes))
        }
        LZ4 => unpacked(block, limit),
        _ => Ok(None),
    }
}

/// XXH3 of all bytes but the last, mixed with the last.
fn checksum(bytes: &[u8]) -> Option<u32> {
    let (last, rest) = bytes.split_last()?;
    Some(XxHash3_64::oneshot(rest) as u32 ^ u32::from(*last).wrapping_mul(0x6b90_83d9))
}

/// Gives a block with its trailer a right checksum.
#[cfg(test)]
pub(super) fn seal(bytes: &mut [u8], base: u32, offset: u64) {
    let (content, stored) = bytes.split_last_chunk_mut().unwrap();
    *stored = checksum(content).unwrap().wrapping_add(modifier(base, offset)).to_le_bytes();
}

/// The number that a block's checksum is mixed with, so that it does not fit in another file or
/// place.
fn modifier(base: u32, offset: u64) -> u32 {
    let mixed = base ^ (offset as u32).wrapping_add((offset >> 32) as u32);
    if base == 0 { 0 } else { mixed }
}

pub(in crate::rocks) fn varint(bytes: &mut &[u8]) -> Option<u64> {
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

pub(in crate::rocks) fn take<'a>(bytes: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    *bytes = rest;
    Some(taken)
}

/// The entries' part of a block, without the list of restart points behind it.
pub(super) fn entries_part(block: &[u8]) -> Option<&[u8]> {
    let restarts = u32::from_le_bytes(*block.last_chunk()?);
    // Higher bits mark kinds of blocks that damo's options do not make. One bit is only a hint.
    let restarts = restarts & !(1 << 29);
    if restarts >> 28 != 0 {
        return None;
    }
    block.get(..block.len().checked_sub(4 + 4 * restarts as usize)?)
}

/// The keys and values of a block. The result is bounded: keys are short, and only the last value
/// may lie beyond what RocksDB fills a block with.
pub(super) fn pairs(block: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let all = entries_part(block)?;
    let mut rest = all;
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    while !rest.is_empty() {
        if all.len() - rest.len() > MAX_FILLED {
            return None;
        }
        let [shared, own, len] = [varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?];
        let mut key = match pairs.last() {
            Some((before, _)) => before.get(..usize::try_from(shared).ok()?)?.to_vec(),
            None if shared == 0 => Vec::new(),
            None => return None,
        };
        let own = take(&mut rest, own)?;
        if key.len() + own.len() > MAX_KEY {
            return None;
        }
        key.extend(own);
        pairs.push((key, take(&mut rest, len)?.to_vec()));
    }
    Some(pairs)
}

/// A block, and a key that is at least its last key and at most the next block's first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// None when no block can be there: such a block is damaged.
    pub(super) handle: Option<Handle>,
    pub(super) last: Vec<u8>,
}

/// The next entry of an index: its key, and where its block is. The values have no lengths: each
/// ends by itself.
pub(super) fn index_entry<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Handle)> {
    let [shared, own] = [varint(rest)?, varint(rest)?];
    let key = take(rest, own)?;
    // With damo's options each entry is a restart point, so none is written as a difference.
    let handle = Handle::decode(rest).filter(|_| shared == 0)?;
    (key.len() <= MAX_KEY).then_some((key, handle))
}

/// The entries of an index. The blocks follow each other from `begin` on and end before `end`.
/// There are at most `most`.
pub(super) fn index_entries(
    block: &[u8],
    begin: u64,
    end: u64,
    most: u64,
) -> Option<Vec<IndexEntry>> {
    let mut rest = entries_part(block)?;
    let mut entries = Vec::new();
    let mut free = begin;
    while !rest.is_empty() {
        let (key, handle) = index_entry(&mut rest)?;
        if entries.len() as u64 == most {
            return None;
        }
        let is_possible = handle.offset >= free && handle.end().is_some_and(|behind| behind <= end);
        let handle = Some(handle).filter(|_| is_possible);
        free = handle.and_then(Handle::end).unwrap_or(free);
        entries.push(IndexEntry { handle, last: key.to_vec() });
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;
    use crate::memory::shortage;

    /// A block of entries, each a shared length, an own part and a value.
    fn block(entries: &[(u8, &[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (shared, own, value) in entries {
            bytes.push(*shared);
            put(&mut bytes, own.len());
            put(&mut bytes, value.len());
            bytes.extend_from_slice(own);
            bytes.extend_from_slice(value);
        }
        bytes.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        bytes
    }

    fn put(bytes: &mut Vec<u8>, mut number: usize) {
        while number >= 128 {
            bytes.push(number as u8 | 128);
            number >>= 7;
        }
        bytes.push(number as u8);
    }

    #[test]
    fn only_the_last_value_is_large() {
        let large = vec![7; MAX_FILLED + 1];
        let found = pairs(&block(&[(0, b"one", b"1"), (2, b"to", &large)])).unwrap();
        assert_eq!(found, [(b"one".to_vec(), b"1".to_vec()), (b"onto".to_vec(), large.clone())]);
        assert!(pairs(&block(&[(0, b"one", &large), (0, b"two", b"")])).is_none());
        assert!(pairs(&block(&[(0, &[b'k'; MAX_KEY], b"")])).is_some());
        assert!(pairs(&block(&[(0, &[b'k'; MAX_KEY + 1], b"")])).is_none());
        // A prefix that all entries share unfolds without bound.
        let many = vec![(200, &b"k"[..], &b""[..]); 30_000];
        let entries = [&[(0, &[b'k'; 200][..], &b""[..])], many.as_slice()].concat();
        assert!(pairs(&block(&entries)).is_none());
    }

    #[test]
    fn what_is_compressed_unfolds_to_what_it_can_at_most() {
        let compressed = |len: usize, data: &[u8]| {
            let mut bytes = Vec::new();
            put(&mut bytes, len);
            bytes.extend_from_slice(data);
            bytes.push(4);
            let sum = checksum(&bytes).unwrap();
            bytes.extend(sum.to_le_bytes());
            bytes
        };
        let zeros = vec![0; 4000];
        let data = lz4_flex::block::compress(&zeros);
        let content = |len: usize, limit: u64| content(compressed(len, &data), 0, 0, limit);
        assert_eq!(content(4000, 4000), Ok(Some(zeros)));
        assert_eq!(content(4000, 3999), Ok(None));
        assert_eq!(content(1 << 29, 1 << 30), Ok(None));
        let refused = shortage::from(4000, || content(4000, 4000)).unwrap_err();
        assert_eq!(refused.status(), Status::OutOfMemory);
    }

    #[test]
    fn blocks_of_an_index_follow_each_other_within_the_file() {
        let index = |handles: &[(u8, u8)]| {
            let mut bytes = Vec::new();
            for (offset, size) in handles {
                bytes.extend([0, 1, b'k', *offset, *size]);
            }
            bytes.extend([0, 0, 0, 0, 1, 0, 0, 0]);
            bytes
        };
        let found = |handles: &[(u8, u8)]| -> Vec<bool> {
            let entries = index_entries(&index(handles), 0, 100, 3).unwrap();
            entries.into_iter().map(|entry| entry.handle.is_some()).collect()
        };
        assert_eq!(found(&[(0, 20), (25, 20), (50, 45)]), [true, true, true]);
        assert_eq!(found(&[(0, 20), (0, 20), (24, 20)]), [true, false, false]);
        assert_eq!(found(&[(0, 96), (0, 95)]), [false, true]);
        assert!(index_entries(&index(&[(0, 1); 4]), 0, 100, 3).is_none());
    }
}
