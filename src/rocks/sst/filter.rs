//! Filter: the Bloom filters that RocksDB has put into a file. They rule out most keys that are not
//! in the file. The format is that of RocksDB's FastLocalBloomImpl (util/bloom_impl.h): each key
//! sets some bits in one cache line. A file has one filter for all keys, or one for each range.

use super::MAX_INDEX;
use super::block::{Handle, entries_part, index_entry};
use super::fences::{first_not, last_key};
use super::head::{Head, MAX_SMALL};
use super::source::{Source, read_block};
use crate::memory::{filled, reserve};
use crate::prefetch::prefetch;
use crate::rocks::key::{self, KEY_LEN, Ordinal};

const WHOLE: &str = "fullfilter.rocksdb.BuiltinBloomFilter";
const PARTS: &str = "partitionedfilter.rocksdb.BuiltinBloomFilter";
const LINE: usize = 64;
const LINE_BITS: u32 = 9;
/// Bytes behind the lines: a mark, a kind, the bits of a key, and two zeros.
const META: usize = 5;
const MARK: u8 = 0xff;
const KIND: u8 = 0;
const MAX_PROBES: u8 = 30;
const GOLDEN: u32 = 0x9e37_79b9;
/// The first bytes of the secret of XXH3, and its third prime.
const SECRET: [u64; 2] = [0xbe4b_a423_396c_feb8, 0x1cad_21f7_2c81_017c];
const PRIME: u64 = 0x1656_67b1_9e37_79f9;

/// The filter of a file, in memory.
pub(super) struct Filter {
    /// The lines of all parts. They begin at `start`, where a cache line of the processor begins.
    bytes: Vec<u8>,
    start: usize,
    parts: Vec<Part>,
}

/// The filter of a range of keys.
struct Part {
    /// The last key of the range.
    last: Ordinal,
    first_line: u32,
    lines: u32,
    /// Bits of a key. A small part may have another number of them.
    probes: u8,
}

/// Where the bits of a key are.
#[derive(Clone, Copy)]
pub(in crate::rocks) struct Line {
    at: usize,
    probes: u8,
}

impl Filter {
    /// Reads a file's filter of at most `most` bytes. None when it has none of the known form.
    /// `has_suffix` is whether keys in the list of parts have RocksDB's suffix.
    ///
    /// # Errors
    /// Where in the file, and what about it, is damaged.
    pub(super) fn read(
        source: &dyn Source,
        head: &Head,
        has_suffix: bool,
        most: u64,
    ) -> Result<Option<Filter>, (u64, String)> {
        let (handle, handles) = match (head.block(WHOLE), head.block(PARTS)) {
            (Some(handle), _) => (handle, vec![(key::ABOVE_ALL, handle)]),
            (None, None) => return Ok(None),
            (None, Some(list)) => {
                let failed =
                    |what: String| (list.offset, format!("the list of its filters {what}"));
                let block = read_block(source, head.base, list, MAX_SMALL).map_err(failed)?;
                let handles = parts(&block, has_suffix);
                (list, handles.ok_or_else(|| failed("is damaged".to_owned()))?)
            }
        };
        let failed = |what: &str| (handle.offset, format!("its filter {what}"));
        let limit = if handles.len() == 1 { MAX_INDEX } else { MAX_SMALL };
        let len = handles.iter().fold(0, |sum: u64, (_, handle)| sum.saturating_add(handle.size));
        if len > most.min(source.len()) {
            return Err(failed("is larger than the file says"));
        }
        let no_room = |error: crate::error::Error| {
            source.note_passing();
            failed(error.message())
        };
        let bytes = filled(0u8, len as usize + LINE).map_err(no_room)?;
        let start = bytes.as_ptr().align_offset(LINE).min(LINE);
        let mut filter = Filter { bytes, start, parts: Vec::new() };
        reserve(&mut filter.parts, handles.len()).map_err(no_room)?;
        for (last, handle) in handles {
            // RocksDB never compresses filters: a block that unfolds to more is an error here.
            let block = read_block(source, head.base, handle, limit.min(handle.size))
                .map_err(|what| (handle.offset, format!("its filter {what}")))?;
            if !filter.add(last, &block).map_err(failed)? {
                return Ok(None);
            }
        }
        Ok(Some(filter).filter(|filter| !filter.parts.is_empty()))
    }

    /// Adds the filter of the next range. False when its form is not known.
    fn add(&mut self, last: Ordinal, block: &[u8]) -> Result<bool, &'static str> {
        let Some((data, &[MARK, KIND, probes @ 1..=MAX_PROBES, 0, 0])) =
            block.split_last_chunk::<META>()
        else {
            return Ok(false);
        };
        let before = self.parts.last();
        let first_line = before.map_or(Some(0), |part| part.first_line.checked_add(part.lines));
        let first_line = first_line.ok_or("is too large")?;
        let lines = u32::try_from(data.len() / LINE).unwrap_or(0);
        if lines == 0 || !data.len().is_multiple_of(LINE) {
            return Err("is damaged");
        }
        let begin = self.start + first_line as usize * LINE;
        let place = self.bytes.get_mut(begin..begin + data.len()).ok_or("is damaged")?;
        place.copy_from_slice(data);
        self.parts.push(Part { last, first_line, lines, probes });
        Ok(true)
    }

    /// The line of a key, by the key and its hash. `near` is as in `Fences::find_key`.
    #[inline]
    pub(super) fn line(&self, key: Ordinal, hash: u64, near: &mut usize) -> Line {
        let part = first_not(self.parts.len(), *near, |part| self.parts[part].last < key);
        // A key beyond all parts is in none: any part may answer.
        *near = part.min(self.parts.len() - 1);
        let part = &self.parts[*near];
        let line = ((hash & u64::from(u32::MAX)) * u64::from(part.lines)) >> 32;
        let at = self.start + (part.first_line as usize + line as usize) * LINE;
        prefetch(&self.bytes[at]);
        Line { at, probes: part.probes }
    }

    /// False for most keys that are not in the file. `place` and `hash` are the key's.
    #[inline]
    pub(super) fn may_have(&self, place: Line, hash: u64) -> bool {
        let (words, _) = self.bytes[place.at..][..LINE].as_chunks::<8>();
        let mut bits = (hash >> 32) as u32;
        // All bits are looked at: a branch at each is mispredicted at every other.
        let mut all = 1;
        for _ in 0..place.probes {
            let bit = bits >> (u32::BITS - LINE_BITS);
            bits = bits.wrapping_mul(GOLDEN);
            all &= u64::from_le_bytes(words[bit as usize / 64]) >> (bit % 64);
        }
        all == 1
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + self.parts.len() * size_of::<Part>()
    }

    /// About the bytes of memory of filters that have so many bytes in a file.
    pub(super) fn bytes_of(in_file: u64) -> u64 {
        in_file.saturating_add(in_file / 64 + (LINE + size_of::<Part>()) as u64)
    }
}

/// The ranges of a file's filters: the last key of each, and where its filter is.
fn parts(list: &[u8], has_suffix: bool) -> Option<Vec<(Ordinal, Handle)>> {
    let mut rest = entries_part(list)?;
    let mut parts: Vec<(Ordinal, Handle)> = Vec::new();
    while !rest.is_empty() {
        let (key, handle) = index_entry(&mut rest)?;
        let last = last_key(key, has_suffix)?;
        if parts.last().is_some_and(|(before, _)| *before > last) {
            return None;
        }
        parts.push((last, handle));
    }
    Some(parts)
}

/// The hash of a key in filters. RocksDB has kept it as a preview of XXH3 had it.
#[inline]
pub(in crate::rocks) fn hash(key: &[u8; KEY_LEN]) -> u64 {
    let low = key.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) ^ SECRET[0];
    let high = key.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) ^ SECRET[1];
    let product = u128::from(low) * u128::from(high);
    let folded = product as u64 ^ (product >> 64) as u64;
    let sum = (KEY_LEN as u64).wrapping_add(low).wrapping_add(high).wrapping_add(folded);
    let mixed = (sum ^ sum >> 37).wrapping_mul(PRIME);
    mixed ^ mixed >> 32
}
