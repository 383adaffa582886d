//! The rows of a batch of keys, read in parts.

use std::time::{Duration, Instant};

use super::Rocks;
use super::block_reader::{BlockReader, BlockReads};
use super::key;
use super::lookup_files::LookupFiles;
use super::row::{self, Found, RowHeader};
use crate::error::Result;
use crate::memory::{filled, reserve, room_for};
use crate::prefetch::{prefetch, prefetch_floats};

/// The number of what was not found.
const NOTHING: u32 = u32::MAX;
/// The most lines of a row that are fetched at once.
const MOST_LINES: usize = 4;

/// What was read for consecutive keys.
pub(super) struct ReadRows {
    /// For each key the number of what was found, or `NOTHING`. In training beyond memory many keys
    /// are new, so these take neither room nor time for floats.
    numbers: Vec<u32>,
    found: Vec<Found>,
    /// `row_len` floats for each that was found; zeros for a tombstone.
    floats: Vec<f32>,
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

    /// What was found under the `index`th key, and its floats.
    fn get(&self, index: usize, row_len: usize) -> Option<(Found, &[f32])> {
        let number = self.numbers[index] as usize;
        let found = self.found.get(number)?;
        Some((*found, &self.floats[number * row_len..(number + 1) * row_len]))
    }

    /// What was found under the `index`th key.
    pub(super) fn found(&self, index: usize) -> Found {
        self.found.get(self.numbers[index] as usize).copied().unwrap_or_default()
    }

    /// Adds what RocksDB or a file has under the `index`th key.
    fn add(&mut self, index: usize, value: &[u8], row_len: usize) -> Result<()> {
        let number = self.found.len();
        reserve(&mut self.found, 1)?;
        reserve(&mut self.floats, row_len)?;
        self.floats.resize((number + 1) * row_len, 0.0);
        let found = row::decode(value, row_len, &mut self.floats[number * row_len..])?;
        if found == Found::Nothing {
            // Something that has expired.
            self.floats.truncate(number * row_len);
            return Ok(());
        }
        self.found.push(found);
        self.numbers[index] = number as u32;
        Ok(())
    }
}

#[cfg(feature = "check-index")]
impl ReadRows {
    /// Whether both have the same under the `index`th key, bit for bit.
    pub(super) fn is_same(&self, other: &ReadRows, index: usize, row_len: usize) -> bool {
        let bits = |floats: &[f32]| floats.iter().map(|float| float.to_bits()).collect::<Vec<_>>();
        let get =
            |rows: &ReadRows| rows.get(index, row_len).map(|(found, floats)| (found, bits(floats)));
        get(self) == get(other)
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
        let part = &self.parts[index / self.part_len];
        match part.get(index % self.part_len, self.row_len)? {
            (Found::Row(header), floats) => Some((header, floats)),
            _ => None,
        }
    }

    /// Fetches the row of the `index`th key, or its first lines.
    #[inline(always)]
    pub(crate) fn prefetch(&self, index: usize) {
        let part = &self.parts[index / self.part_len];
        let number = part.numbers[index % self.part_len] as usize;
        let Some(found) = part.found.get(number) else { return };
        prefetch(found);
        prefetch_floats(&part.floats[number * self.row_len..], MOST_LINES);
    }

    /// What was found under the `index`th key.
    pub(crate) fn found(&self, index: usize) -> Found {
        self.parts[index / self.part_len].found(index % self.part_len)
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
    let mut rows = ReadRows {
        numbers: filled(NOTHING, keys.len())?,
        // Nothing is written there before a row is found.
        found: room_for(keys.len())?,
        floats: room_for(keys.len() * row_len)?,
        asked: 0,
        blocks: BlockReads::default(),
        took: Duration::ZERO,
    };
    let mut encoded = room_for(keys.len())?;
    encoded.extend(keys.iter().map(|&key| key::encode(group, key)));
    let mut keep = |index: usize, value: Option<&[u8]>| match value {
        Some(value) => rows
            .add(index, value, row_len)
            .map_err(|error| error.within(&format!("group {group} key {}", keys[index]))),
        None => Ok(()),
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
    Ok(ReadRows { asked, blocks, took, ..rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seqno::Seqno;

    const ROW_LEN: usize = 2;

    #[test]
    fn what_was_found_has_floats_and_what_has_expired_was_not_found() {
        let header = RowHeader { update_time: 7, update_num: 3, seqno: Seqno::new(9) };
        let (mut row, mut deleted) = (Vec::new(), Vec::new());
        row::encode(&mut row, header, &[1.0, 2.0]);
        row::encode_deleted(&mut deleted, 5, Seqno::new(4));
        let mut rows = ReadRows {
            numbers: vec![NOTHING; 5],
            found: Vec::new(),
            floats: Vec::new(),
            asked: 0,
            blocks: BlockReads::default(),
            took: Duration::ZERO,
        };
        for (index, value) in [(3, row::expired_on(1)), (2, &deleted), (0, &row)] {
            rows.add(index, value, ROW_LEN).unwrap();
        }
        assert!(rows.add(4, &row[..row.len() - 1], ROW_LEN).is_err());
        let batch = ReadBatch::new(5, ROW_LEN, vec![rows]);
        assert_eq!(batch.row(0), Some((header, &[1.0, 2.0][..])));
        assert!((1..5).all(|index| batch.row(index).is_none()));
        let found = [1, 2, 3, 4].map(|index| batch.found(index));
        let deleted = Found::Deleted { time: 5, seqno: Seqno::new(4) };
        assert_eq!(found, [Found::Nothing, deleted, Found::Nothing, Found::Nothing]);
        (0..5).for_each(|index| batch.prefetch(index));
        assert_eq!(batch.parts[0].get(3, ROW_LEN), None);
    }
}
