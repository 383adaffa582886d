//! Rows in chunks. Within a chunk all headers lie together, so that the clock and the writer scan
//! them fast; the floats follow.
//!
//! Chunks never move, so growing copies nothing, and only the last chunk is freed. The first chunks
//! are small, as most groups are; each is twice the one before, up to the size of a huge page. A
//! place has its chunk in the upper bits and its row within the chunk in the lower bits.

use super::memory::Memory;
use super::place::Place;
use super::slot::Slot;
use crate::error::Result;
use crate::memory::room_for;

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

    /// Slots, used or not.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a chunk of free slots.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn grow(&mut self) -> Result<()> {
        let rows = self.rows_of_next();
        if self.chunks.len() == self.chunks.capacity() {
            let mut chunks = room_for(2 * self.chunks.len() + 8)?;
            chunks.append(&mut self.chunks);
            self.chunks = chunks;
        }
        self.chunks.push(Memory::new(rows, rows * self.row_len)?);
        self.len += rows;
        Ok(())
    }

    /// Frees the last chunk, which the caller has emptied.
    pub(super) fn shrink(&mut self) {
        let rows = self.rows_of_last();
        if self.chunks.pop().is_some() {
            self.len -= rows;
        }
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

    #[inline(always)]
    pub(super) fn slot_mut(&mut self, place: Place) -> &mut Slot {
        let (chunk, row) = self.split(place);
        &mut self.chunks[chunk].both_mut().0[row]
    }

    #[inline(always)]
    pub(super) fn both(&self, place: Place) -> (&Slot, &[f32]) {
        let (chunk, row) = self.split(place);
        let chunk = &self.chunks[chunk];
        let start = row * self.row_len;
        (&chunk.slots()[row], &chunk.floats()[start..start + self.row_len])
    }

    #[inline(always)]
    pub(super) fn both_mut(&mut self, place: Place) -> (&mut Slot, &mut [f32]) {
        let (chunk, row) = self.split(place);
        let (slots, floats) = self.chunks[chunk].both_mut();
        let start = row * self.row_len;
        (&mut slots[row], &mut floats[start..start + self.row_len])
    }

    /// Copies a row with its header to a place in an earlier chunk.
    pub(super) fn copy(&mut self, from: Place, to: Place) {
        let ((from_chunk, from_row), (to_chunk, to_row)) = (self.split(from), self.split(to));
        let len = self.row_len;
        let (before, from) = self.chunks.split_at_mut(from_chunk);
        let (from, to) = (&from[0], &mut before[to_chunk]);
        let (slots, floats) = to.both_mut();
        slots[to_row] = from.slots()[from_row].copy();
        floats[to_row * len..(to_row + 1) * len]
            .copy_from_slice(&from.floats()[from_row * len..(from_row + 1) * len]);
    }

    /// All places in order, with their headers.
    pub(super) fn places(&self) -> impl Iterator<Item = (Place, &Slot)> {
        self.chunks.iter().enumerate().flat_map(|(chunk, memory)| {
            let start = (chunk << self.shift) as u32;
            (start..).map(Place).zip(memory.slots())
        })
    }

    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.chunks.iter_mut().flat_map(|chunk| chunk.both_mut().0)
    }

    /// Frees all chunks.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.len = 0;
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
            slab.grow().unwrap();
            assert_eq!(slab.len(), before + rows);
            assert_eq!(slab.last_chunk().len(), rows);
        }
        assert_eq!(slab.len(), 4 + 8 + 16 + 3 * 24);
        let mut place = Place::FIRST;
        for number in 1..=slab.len() as i64 {
            let (header, row) = slab.both_mut(place);
            assert_eq!((header.key, row[1]), (0, 0.0), "{place:?} is somebody else's too");
            header.key = number;
            row.fill(1.0);
            place = slab.after(place);
        }
        assert_eq!(place, Place::FIRST);
        let keys: Vec<i64> = slab.places().map(|(_, slot)| slot.key).collect();
        assert_eq!(keys, (1..=slab.len() as i64).collect::<Vec<_>>());
        slab.copy(slab.last_chunk().nth(23).unwrap(), Place::FIRST);
        assert_eq!(slab.slot(Place::FIRST).key, 100);
        slab.shrink();
        assert_eq!((slab.len(), slab.end()), (76, 5 << 5));
    }
}
