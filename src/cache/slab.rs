//! Rows in chunks. Within a chunk all headers lie together, so that the clock and the writer scan
//! them fast; the floats follow.
//!
//! Chunks never move, so growing copies no row, and only the last chunk is freed. The first chunks
//! are small, as most groups are; each is twice the one before, up to the size of a huge page. A
//! place has its chunk in the upper bits and its row within the chunk in the lower bits.
//!
//! A slab that grows is replaced by another one that has the same chunks and one more. A thread
//! without the shard's lock goes on with the one that it has seen.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::memory::Memory;
use super::place::Place;
use super::row::{Row, read_floats};
use super::slot::{Slot, pause};
use crate::error::Result;
use crate::memory::room_for;
use crate::prefetch::{prefetch, prefetch_lines};

/// What became of an attempt to hold the row of a key.
pub(crate) enum Hold<'a> {
    Row(Row<'a>),
    /// Another thread holds it.
    Busy,
    /// It has not been found.
    Missed,
}

pub(super) struct Slab {
    row_len: usize,
    /// Rows of the first chunk and of a large one.
    small: usize,
    large: usize,
    /// Lower bits of a place: the row within its chunk.
    shift: u32,
    chunks: Vec<Memory>,
    /// Slots, used or not.
    len: usize,
}

impl Slab {
    /// An empty slab. A chunk holds as many rows as fit into its bytes, at least one. The number is
    /// even, so that the floats behind the headers begin at a cache line.
    pub(super) fn new(row_len: usize, small_bytes: usize, large_bytes: usize) -> Slab {
        let rows = |bytes: usize| match bytes / row_bytes(row_len) {
            0 | 1 => 1,
            rows => rows & !1,
        };
        let (small, large) = (rows(small_bytes), rows(large_bytes));
        let shift = large.next_power_of_two().ilog2();
        Slab { row_len, small, large, shift, chunks: Vec::new(), len: 0 }
    }

    fn rows_of(&self, chunk: usize) -> usize {
        let doubled = self.small.checked_shl(chunk as u32).unwrap_or(usize::MAX);
        if chunk < 32 { doubled.min(self.large) } else { self.large }
    }

    pub(super) fn rows_of_next(&self) -> usize {
        self.rows_of(self.chunks.len())
    }

    pub(super) fn rows_of_last(&self) -> usize {
        self.rows_of(self.chunks.len().saturating_sub(1))
    }

    pub(super) fn bytes_of(&self, rows: usize) -> usize {
        rows * row_bytes(self.row_len)
    }

    /// The first place of the last chunk.
    pub(super) fn start_of_last(&self) -> Place {
        Place((self.chunks.len().saturating_sub(1) << self.shift) as u32)
    }

    /// The places of the last chunk.
    pub(super) fn last_chunk(
        &self,
    ) -> impl DoubleEndedIterator<Item = Place> + ExactSizeIterator + use<> {
        let start = self.start_of_last().0;
        (start..start + self.rows_of_last() as u32).map(Place)
    }

    /// An upper bound of all places.
    pub(super) fn end(&self) -> usize {
        self.chunks.len() << self.shift
    }

    /// The place after `place`; the first one after the last.
    pub(super) fn after(&self, place: Place) -> Place {
        let (chunk, row) = self.split(place);
        if row + 1 < self.rows_of(chunk) {
            Place(place.0 + 1)
        } else if chunk + 1 < self.chunks.len() {
            Place(((chunk + 1) << self.shift) as u32)
        } else {
            Place::FIRST
        }
    }

    /// The place some rows after `place`, in the same chunk.
    #[inline(always)]
    pub(super) fn later(&self, place: Place, rows: usize) -> Option<Place> {
        let (chunk, row) = self.split(place);
        (row + rows < self.rows_of(chunk)).then(|| Place(place.0 + rows as u32))
    }

    /// Slots, used or not.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slab with one more chunk, of free slots.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn grown(&self) -> Result<Slab> {
        let rows = self.rows_of_next();
        let mut chunks = room_for(self.chunks.len() + 1)?;
        chunks.extend(self.chunks.iter().cloned());
        chunks.push(Memory::new(rows, rows * self.row_len)?);
        Ok(Slab { chunks, len: self.len + rows, ..*self })
    }

    /// The slab without its last chunk, which the caller has emptied.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn shrunk(&self) -> Result<Slab> {
        let rest = self.chunks.split_last().map_or(&[][..], |(_, rest)| rest);
        let mut chunks = room_for(rest.len())?;
        chunks.extend(rest.iter().cloned());
        let len = if self.chunks.is_empty() { 0 } else { self.len - self.rows_of_last() };
        Ok(Slab { chunks, len, ..*self })
    }

    /// The slab without chunks.
    pub(super) fn emptied(&self) -> Slab {
        Slab { chunks: Vec::new(), len: 0, ..*self }
    }

    /// A place's chunk and its row within the chunk.
    #[inline(always)]
    fn split(&self, Place(place): Place) -> (usize, usize) {
        ((place >> self.shift) as usize, (place & ((1 << self.shift) - 1)) as usize)
    }

    #[inline(always)]
    pub(super) fn slot(&self, place: Place) -> &Slot {
        let (chunk, row) = self.split(place);
        &self.chunks[chunk].slots()[row]
    }

    /// The header at a place, if there is a place of that number.
    #[inline(always)]
    pub(super) fn get(&self, place: Place) -> Option<&Slot> {
        let (chunk, row) = self.split(place);
        self.chunks.get(chunk)?.slots().get(row)
    }

    /// Fetches a row's header and the first `lines` cache lines of its floats, if there is a place
    /// of that number.
    #[inline(always)]
    pub(super) fn prefetch(&self, place: Place, lines: usize) {
        let Some((slot, floats)) = self.parts(place) else { return };
        prefetch(slot);
        prefetch_lines(floats, lines);
    }

    /// Waits for the row at a place. There must be a place of that number.
    #[inline(always)]
    pub(super) fn hold(&self, place: Place) -> Row<'_> {
        let slot = self.slot(place);
        slot.latch(|| true);
        self.row(place, slot)
    }

    /// Waits for the row at a place while it is the key's.
    pub(super) fn hold_of(&self, place: Place, key: i64) -> Option<Row<'_>> {
        let slot = self.get(place)?;
        if !slot.latch(|| slot.is_of(key)) {
            return None;
        }
        // Another row may have come to its place before it was held.
        Some(self.row(place, slot)).filter(|row| row.is_of(key))
    }

    /// As [`Slab::hold`], unless another thread holds the row.
    #[inline(always)]
    pub(super) fn try_hold(&self, place: Place) -> Option<Row<'_>> {
        let slot = self.slot(place);
        slot.try_latch().then(|| self.row(place, slot))
    }

    /// The row of a slot whose latch this thread has just taken.
    #[inline(always)]
    fn row<'a>(&'a self, place: Place, slot: &'a Slot) -> Row<'a> {
        let (chunk, row) = self.split(place);
        let floats = self.chunks[chunk].floats_from(row * self.row_len);
        // SAFETY: the chunk has `row_len` floats for each of its slots, all zero at first. It stays
        // in memory as long as this slab. All access to a row's floats goes through a Row.
        unsafe { Row::latched(slot, floats, self.row_len) }
    }

    /// The row at a place, if it is the key's and nobody holds it.
    #[inline(always)]
    pub(super) fn try_hold_of(&self, place: Place, key: i64) -> Hold<'_> {
        let Some((slot, floats)) = self.parts(place) else { return Hold::Missed };
        if !slot.is_of(key) {
            return Hold::Missed;
        }
        if !slot.try_latch() {
            return Hold::Busy;
        }
        // SAFETY: as in `row`.
        let row = unsafe { Row::latched(slot, floats, self.row_len) };
        // Another row may have come to its place before it was held.
        if row.is_of(key) { Hold::Row(row) } else { Hold::Missed }
    }

    /// The header at a place and where its floats begin, if there is a place of that number.
    #[inline(always)]
    fn parts(&self, place: Place) -> Option<(&Slot, NonNull<f32>)> {
        let (chunk, row) = self.split(place);
        let chunk = self.chunks.get(chunk)?;
        Some((chunk.slots().get(row)?, chunk.floats_from(row * self.row_len)))
    }

    /// Copies the first floats of the row at a place, if it is the key's and was last written at
    /// `cutoff` or later. Counts a use of the row.
    #[inline(always)]
    pub(super) fn read_or_wait(
        &self,
        place: Place,
        key: i64,
        cutoff: u64,
        copy: &mut [f32],
    ) -> bool {
        let is_row = self.read(place, key, cutoff, copy);
        is_row.unwrap_or_else(|| self.read_again(place, key, cutoff, copy))
    }

    #[cold]
    fn read_again(&self, place: Place, key: i64, cutoff: u64, copy: &mut [f32]) -> bool {
        if cfg!(crossbeam_sanitize_thread) {
            let row = self.hold_of(place, key).filter(|row| row.is_row(cutoff));
            row.iter().for_each(|row| copy.copy_from_slice(&row.floats()[..copy.len()]));
            return row.is_some();
        }
        let mut round = 0;
        loop {
            pause(round);
            round = round.saturating_add(1);
            if let Some(is_row) = self.read(place, key, cutoff, copy) {
                return is_row;
            }
        }
    }

    /// As [`Slab::read_or_wait`]; None if a thread changed the row meanwhile.
    #[inline(always)]
    pub(super) fn read(
        &self,
        place: Place,
        key: i64,
        cutoff: u64,
        copy: &mut [f32],
    ) -> Option<bool> {
        // ThreadSanitizer cannot know that a copy which raced is thrown away.
        if cfg!(crossbeam_sanitize_thread) {
            return None;
        }
        let Some((slot, floats)) = self.parts(place) else { return Some(false) };
        let latch = slot.begin_reading()?;
        let is_row = slot.is_of(key) && slot.is_row(cutoff);
        if is_row {
            assert!(copy.len() <= self.row_len);
            // SAFETY: the chunk has `row_len` floats for each of its slots, and stays in memory as
            // long as this slab.
            unsafe { read_floats(floats, copy) };
        }
        if !slot.is_unchanged(latch) {
            return None;
        }
        if is_row {
            slot.touch();
        }
        Some(is_row)
    }

    /// All places in order, with their headers.
    pub(super) fn places(&self) -> impl Iterator<Item = (Place, &Slot)> {
        self.chunks.iter().enumerate().flat_map(|(chunk, memory)| {
            let start = (chunk << self.shift) as u32;
            (start..).map(Place).zip(memory.slots())
        })
    }
}

/// Bytes of a resident row.
fn row_bytes(row_len: usize) -> usize {
    size_of::<Slot>() + row_len * size_of::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_place_of_its_own() {
        let mut slab = Slab::new(2, 160, 1000);
        assert_eq!((slab.small, slab.large, slab.shift), (4, 24, 5));
        for _ in 0..6 {
            let (before, rows) = (slab.len(), slab.rows_of_next());
            slab = slab.grown().unwrap();
            assert_eq!(slab.len(), before + rows);
            assert_eq!(slab.last_chunk().len(), rows);
        }
        assert_eq!(slab.len(), 4 + 8 + 16 + 3 * 24);
        let mut place = Place::FIRST;
        for number in 1..=slab.len() as i64 {
            let mut row = slab.hold(place);
            assert_eq!((row.key(), row.floats()[1]), (0, 0.0), "{place:?} is somebody else's too");
            row.header_mut().begin(number);
            row.floats_mut().fill(1.0);
            place = slab.after(place);
        }
        assert_eq!(place, Place::FIRST);
        let keys: Vec<i64> = slab.places().map(|(_, slot)| slot.key()).collect();
        assert_eq!(keys, (1..=slab.len() as i64).collect::<Vec<_>>());
        assert!(slab.hold_of(Place::FIRST, 2).is_none() && slab.hold_of(Place(99), 1).is_none());
        let held = slab.hold_of(Place::FIRST, 1);
        assert!(matches!(slab.try_hold_of(Place::FIRST, 1), Hold::Busy));
        drop(held);
        let shrunk = slab.shrunk().unwrap();
        assert_eq!((shrunk.len(), shrunk.end()), (76, 5 << 5));
        drop(slab);
        assert_eq!(shrunk.slot(Place::FIRST).key(), 1);
        assert_eq!(shrunk.hold(Place::FIRST).floats(), [1.0, 1.0]);
        assert_eq!(shrunk.emptied().shrunk().unwrap().len(), 0);
    }
}
