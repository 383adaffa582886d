//! Spreads the rows of a batch's distinct keys over the caller's buffer, in its order.

use std::iter;
use std::sync::atomic::{AtomicU32, Ordering};

use super::part::Part;
use crate::cache::MAX_SHARDS;
use crate::engine::pool::Pool;
use crate::error::Result;
use crate::memory::{reserve, room_for};
use crate::prefetch::prefetch;

/// A larger lookup is made in pieces of so many keys. So its buffers stay small beside the
/// caller's.
pub(super) const MAX_KEYS: usize = 1 << 20;
/// A source has so many bits for an index, and the others for a part.
const INDEX_BITS: u32 = 26;
const PARTS: usize = 1 << (32 - INDEX_BITS);
const _: () = assert!(MAX_KEYS < 1 << INDEX_BITS && PARTS >= MAX_SHARDS);
/// How many positions ahead of its use a row is prefetched.
const AHEAD: usize = 12;
/// The source of the padding key.
const NONE: u32 = u32::MAX;

/// Where each position of a batch gets its row from: a part, and an index there.
#[derive(Default)]
pub(super) struct Sources(Vec<AtomicU32>);

/// A piece of the caller's buffers.
struct Piece<'a> {
    sources: &'a [AtomicU32],
    weights: &'a mut [f32],
    found: Option<&'a mut [u8]>,
}

impl Sources {
    /// Begins with a batch of `len` keys, which has the padding key.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn begin(&mut self, len: usize) -> Result<()> {
        self.0.clear();
        reserve(&mut self.0, len)?;
        self.0.resize_with(len, || AtomicU32::new(NONE));
        Ok(())
    }

    /// Notes the positions of a part's keys.
    pub(super) fn note(&self, part: &Part) {
        let base = (part.number as u32) << INDEX_BITS;
        for (&position, &index) in part.positions.iter().zip(&part.indexes) {
            self.0[position as usize].store(base | index, Ordering::Relaxed);
        }
    }

    /// Copies the parts' rows to their positions: `dim` floats, and in `found` whether there is a
    /// row.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn spread(
        &self,
        pool: &Pool,
        parts: &[Part],
        dim: usize,
        weights: &mut [f32],
        found: Option<&mut [u8]>,
    ) -> Result<()> {
        let keys = self.0.len();
        let len = keys.div_ceil(pool.threads_for(keys)).max(1);
        let mut pieces = room_for(keys.div_ceil(len))?;
        let mut found = found.map(|found| found.chunks_mut(len));
        for (sources, weights) in self.0.chunks(len).zip(weights.chunks_mut(len * dim)) {
            let found = found.as_mut().and_then(Iterator::next);
            pieces.push(Piece { sources, weights, found });
        }
        pool.each(keys, &mut pieces, |piece| {
            piece.fill(parts, dim);
            Ok(())
        })
    }
}

/// A piece of the caller's buffers, of which only changed rows are written.
struct ChangedPiece<'a> {
    sources: &'a [AtomicU32],
    weights: &'a mut [f32],
    positions: &'a mut [i64],
    /// The position of its first key.
    first: usize,
    /// How many rows have changed.
    count: usize,
}

impl Sources {
    /// As [`Sources::spread`], for the parts' changed rows. Writes their positions, ascending, and
    /// returns how many there are. `positions` has room for every key.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn spread_changed(
        &self,
        pool: &Pool,
        parts: &[Part],
        dim: usize,
        weights: &mut [f32],
        positions: &mut [i64],
    ) -> Result<usize> {
        let keys = self.0.len();
        let len = keys.div_ceil(pool.threads_for(keys)).max(1);
        let mut pieces = room_for(keys.div_ceil(len))?;
        let buffers = weights.chunks_mut(len * dim).zip(positions.chunks_mut(len));
        for (number, (sources, (weights, positions))) in self.0.chunks(len).zip(buffers).enumerate()
        {
            pieces.push(ChangedPiece {
                sources,
                weights,
                positions,
                first: number * len,
                count: 0,
            });
        }
        pool.each(keys, &mut pieces, |piece| {
            piece.fill(parts, dim);
            Ok(())
        })?;
        let mut counts = room_for(pieces.len())?;
        counts.extend(pieces.iter().map(|piece| (piece.first, piece.count)));
        let mut end = 0;
        for (first, count) in counts {
            positions.copy_within(first..first + count, end);
            end += count;
        }
        Ok(end)
    }
}

impl ChangedPiece<'_> {
    fn fill(&mut self, parts: &[Part], dim: usize) {
        let rows = self.sources.iter().zip(self.weights.chunks_exact_mut(dim));
        for (position, (source, to)) in (self.first..).zip(rows) {
            let Some((part, index)) = split(source) else { continue };
            let part = &parts[part];
            if part.is_changed[index] {
                to.copy_from_slice(&part.floats[index * dim..(index + 1) * dim]);
                self.positions[self.count] = position as i64;
                self.count += 1;
            }
        }
    }
}

impl Piece<'_> {
    fn fill(&mut self, parts: &[Part], dim: usize) {
        // For the usual dims the compiler knows the length of a row.
        match dim {
            8 => self.fill_rows::<8>(parts),
            16 => self.fill_rows::<16>(parts),
            32 => self.fill_rows::<32>(parts),
            64 => self.fill_rows::<64>(parts),
            _ => self.fill_rows_of(parts, dim),
        }
        let Some(found) = &mut self.found else { return };
        for (source, found) in self.sources.iter().zip(found.iter_mut()) {
            *found = split(source).map_or(0, |(part, index)| u8::from(parts[part].has_row[index]));
        }
    }

    fn fill_rows<const DIM: usize>(&mut self, parts: &[Part]) {
        // A number of a part has 6 bits: the compiler need not look whether there is one.
        let mut rows: [&[[f32; DIM]]; PARTS] = [&[]; PARTS];
        rows.iter_mut().zip(parts).for_each(|(rows, part)| *rows = part.floats.as_chunks().0);
        let later = self.sources.iter().skip(AHEAD).map(Some).chain(iter::repeat(None));
        let to = self.weights.as_chunks_mut::<DIM>().0;
        for ((source, later), to) in self.sources.iter().zip(later).zip(to) {
            if let Some((part, index)) = later.and_then(split)
                && let Some(row) = rows[part].get(index)
            {
                prefetch(row);
            }
            match split(source) {
                Some((part, index)) => to.copy_from_slice(&rows[part][index]),
                None => to.fill(0.0),
            }
        }
    }

    fn fill_rows_of(&mut self, parts: &[Part], dim: usize) {
        for (source, to) in self.sources.iter().zip(self.weights.chunks_exact_mut(dim)) {
            match split(source) {
                None => to.fill(0.0),
                Some((part, index)) => {
                    to.copy_from_slice(&parts[part].floats[index * dim..(index + 1) * dim]);
                }
            }
        }
    }
}

/// The part and the index of a source; None for the padding key.
#[inline(always)]
fn split(source: &AtomicU32) -> Option<(usize, usize)> {
    let source = source.load(Ordering::Relaxed);
    let index = source & ((1 << INDEX_BITS) - 1);
    (source != NONE).then_some(((source >> INDEX_BITS) as usize, index as usize))
}
