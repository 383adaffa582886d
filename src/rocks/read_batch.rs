//! The rows of a batch of keys, read in parts.

use std::time::{Duration, Instant};

use super::Rocks;
use super::block_reader::{BlockReader, BlockReads};
use super::key;
use super::lookup_files::LookupFiles;
use super::row::{self, Found, RowHeader};
use crate::error::Result;
use crate::memory::{filled, room_for};
use crate::prefetch::prefetch_floats;

/// The most lines of a row that are fetched at once.
const MOST_LINES: usize = 4;

/// What was read for consecutive keys.
pub(super) struct ReadRows {
    pub(crate) found: Vec<Found>,
    /// `row_len` floats a key; zeros where there is no row.
    pub(crate) floats: Vec<f32>,
    /// How many keys RocksDB was asked for.
    asked: usize,
    /// How many blocks were read. Keys that filters rule out need none.
    blocks: BlockReads,
    /// How long the blocks and RocksDB took.
    pub(super) took: Duration,
}

/// The rows of a batch, in parts of equal length; the last may be shorter.
pub(crate) struct ReadBatch {
    part_len: usize,
    row_len: usize,
    parts: Vec<ReadRows>,
}

/// The files that rows are read from, and what reads their blocks.
#[derive(Clone, Copy)]
pub(super) struct ReadFrom<'a> {
    pub(super) files: &'a LookupFiles,
    pub(super) reader: &'a BlockReader,
}

impl ReadRows {
    /// How many blocks were read, plus how many keys RocksDB was asked for.
    pub(super) fn reads(&self) -> usize {
        self.blocks.all() + self.asked
    }
}

#[cfg(feature = "check-index")]
impl ReadRows {
    /// Whether both have the same under the `index`th key, bit for bit.
    pub(super) fn is_same(&self, other: &ReadRows, index: usize, row_len: usize) -> bool {
        let floats = index * row_len..(index + 1) * row_len;
        let (ours, theirs) = (&self.floats[floats.clone()], &other.floats[floats]);
        let bits = |(ours, theirs): (&f32, &f32)| ours.to_bits() == theirs.to_bits();
        self.found[index] == other.found[index] && ours.iter().zip(theirs).all(bits)
    }
}

impl ReadBatch {
    pub(super) fn new(part_len: usize, row_len: usize, parts: Vec<ReadRows>) -> ReadBatch {
        ReadBatch { part_len, row_len, parts }
    }

    /// How many keys RocksDB was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.parts.iter().map(|part| part.asked).sum()
    }

    /// How many blocks were read.
    pub(crate) fn blocks(&self) -> BlockReads {
        let mut blocks = BlockReads::default();
        self.parts.iter().for_each(|part| blocks += part.blocks);
        blocks
    }

    /// The row of the `index`th key, if there is one.
    pub(crate) fn row(&self, index: usize) -> Option<(RowHeader, &[f32])> {
        let Found::Row(header) = self.found(index) else { return None };
        let (part, row) = (&self.parts[index / self.part_len], index % self.part_len);
        Some((header, &part.floats[row * self.row_len..(row + 1) * self.row_len]))
    }

    /// Fetches the row of the `index`th key, or its first lines.
    #[inline(always)]
    pub(crate) fn prefetch(&self, index: usize) {
        let (part, row) = (&self.parts[index / self.part_len], index % self.part_len);
        prefetch_floats(&part.floats[row * self.row_len..(row + 1) * self.row_len], MOST_LINES);
    }

    /// What was found under the `index`th key.
    pub(crate) fn found(&self, index: usize) -> Found {
        self.parts[index / self.part_len].found[index % self.part_len]
    }
}

/// Reads the rows of ascending keys from files, or asks RocksDB.
pub(super) fn read_part(
    rocks: &Rocks,
    from: Option<ReadFrom<'_>>,
    group: u16,
    keys: &[i64],
    row_len: usize,
) -> Result<ReadRows> {
    let read = read_rows_of(rocks, from, group, keys, row_len)?;
    #[cfg(feature = "check-index")]
    if let Some(from) = from {
        rocks.check_read(from, &read, group, keys, row_len)?;
    }
    Ok(read)
}

/// As [`read_part`], and not checked.
pub(super) fn read_rows_of(
    rocks: &Rocks,
    from: Option<ReadFrom<'_>>,
    group: u16,
    keys: &[i64],
    row_len: usize,
) -> Result<ReadRows> {
    let mut found = filled(Found::Nothing, keys.len())?;
    let mut floats = filled(0.0f32, keys.len() * row_len)?;
    let mut encoded = room_for(keys.len())?;
    encoded.extend(keys.iter().map(|&key| key::encode(group, key)));
    let mut keep = |index: usize, value: Option<&[u8]>| {
        if let Some(value) = value {
            let floats = &mut floats[index * row_len..(index + 1) * row_len];
            found[index] = row::decode(value, row_len, floats)
                .map_err(|error| error.within(&format!("group {group} key {}", keys[index])))?;
        }
        Ok(())
    };
    let began = Instant::now();
    let (asked, blocks, took) = match from {
        None => {
            rocks.read_rows(&encoded, row::max_bytes(row_len), keep)?;
            (keys.len(), BlockReads::default(), began.elapsed())
        }
        Some(ReadFrom { files, reader }) => {
            let rest = files.read(reader, &encoded, &mut keep)?;
            let left = rest.refused;
            let mut asked = room_for(left.len())?;
            asked.extend(left.iter().map(|&index| encoded[index]));
            let keep_asked = |index: usize, value: Option<&[u8]>| keep(left[index], value);
            let began = Instant::now();
            rocks.read_rows(&asked, row::max_bytes(row_len), keep_asked)?;
            (left.len(), rest.reads, rest.took + began.elapsed())
        }
    };
    Ok(ReadRows { found, floats, asked, blocks, took })
}
