//! Filter: a Bloom filter that RocksDB has put into a file, which knows most keys that are not in
//! the file. The format is that of RocksDB's FastLocalBloomImpl (util/bloom_impl.h): of each key
//! some bits in one cache line.

use super::MAX_INDEX;
use super::head::Head;
use super::source::{Source, read_block};
use crate::memory::filled;
use crate::prefetch::prefetch;
use crate::rocks::key::KEY_LEN;

const NAME: &str = "fullfilter.rocksdb.BuiltinBloomFilter";
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
    /// The lines, from `start` on, where a cache line begins.
    bytes: Vec<u8>,
    start: usize,
    lines: u32,
    probes: u8,
}

impl Filter {
    /// Reads a file's filter. None when it has none of the known form.
    ///
    /// # Errors
    /// Where in the file, and what about it, is damaged.
    pub(super) fn read(source: &dyn Source, head: &Head) -> Result<Option<Filter>, (u64, String)> {
        let Some(handle) = head.block(NAME) else { return Ok(None) };
        let failed = |what: String| (handle.offset, format!("its filter {what}"));
        let block = read_block(source, head.base, handle, MAX_INDEX).map_err(failed)?;
        Filter::new(&block).map_err(|what| failed(what.to_owned()))
    }

    fn new(block: &[u8]) -> Result<Option<Filter>, &'static str> {
        let Some((data, &[MARK, KIND, probes @ 1..=MAX_PROBES, 0, 0])) =
            block.split_last_chunk::<META>()
        else {
            return Ok(None);
        };
        let lines = u32::try_from(data.len() / LINE).unwrap_or(0);
        if lines == 0 || !data.len().is_multiple_of(LINE) {
            return Err("is damaged");
        }
        let mut bytes = filled(0u8, data.len() + LINE).map_err(|_| "does not fit into memory")?;
        let start = bytes.as_ptr().align_offset(LINE).min(LINE);
        bytes[start..start + data.len()].copy_from_slice(data);
        Ok(Some(Filter { bytes, start, lines, probes }))
    }

    /// The line of a key, by the key's hash.
    #[inline]
    fn line(&self, hash: u64) -> &[u8] {
        let line = ((hash & u64::from(u32::MAX)) * u64::from(self.lines)) >> 32;
        &self.bytes[self.start + line as usize * LINE..][..LINE]
    }

    /// Fetches what [`Filter::may_have`] will need.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(&self.line(hash)[0]);
    }

    /// False for a key that is not in the file, mostly. `hash` is the key's.
    #[inline]
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let line = self.line(hash);
        let mut bits = (hash >> 32) as u32;
        (0..self.probes).all(|_| {
            let bit = bits >> (u32::BITS - LINE_BITS);
            bits = bits.wrapping_mul(GOLDEN);
            line[bit as usize / 8] >> (bit % 8) & 1 == 1
        })
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }
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
