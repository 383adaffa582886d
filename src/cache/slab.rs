//! Rows in chunks: headers densely together, so that the clock and the writer scan them fast, floats behind one another.
//!
//! Chunks never move, so growing copies nothing, and only the last ones are given back.

use super::slot::Slot;
use crate::error::Result;
use crate::memory::{filled, room_for};

/// Floats of a cache line.
const LINE: usize = 16;

pub(super) struct Slab {
    row_len: usize,
    /// log2 of the rows a chunk.
    shift: u32,
    chunks: Vec<Chunk>,
}

struct Chunk {
    slots: Vec<Slot>,
    floats: Vec<f32>,
    /// Floats to skip, so that the first row begins a cache line.
    start: usize,
}

impl Slab {
    /// Chunks hold as many rows as fit into `chunk_bytes`, at least one.
    pub(super) fn new(row_len: usize, chunk_bytes: usize) -> Slab {
        let rows = (chunk_bytes / row_bytes(row_len)).max(1);
        Slab { row_len, shift: rows.ilog2(), chunks: Vec::new() }
    }

    pub(super) fn rows_a_chunk(&self) -> usize {
        1 << self.shift
    }

    pub(super) fn chunk_bytes(&self) -> usize {
        self.rows_a_chunk() * row_bytes(self.row_len)
    }

    /// Slots, used or not.
    pub(super) fn len(&self) -> usize {
        self.chunks.len() << self.shift
    }

    /// Adds a chunk of free slots.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn grow(&mut self) -> Result<()> {
        let rows = self.rows_a_chunk();
        let slots = filled(Slot::default(), rows)?;
        let floats = filled(0.0f32, rows * self.row_len + LINE)?;
        let start = floats.as_ptr().align_offset(LINE * size_of::<f32>());
        let start = if start < LINE { start } else { 0 };
        if self.chunks.len() == self.chunks.capacity() {
            let mut chunks = room_for(2 * self.chunks.len() + 4)?;
            chunks.append(&mut self.chunks);
            self.chunks = chunks;
        }
        self.chunks.push(Chunk { slots, floats, start });
        Ok(())
    }

    /// Gives the last chunk back; the caller has made sure that nothing is in it.
    pub(super) fn shrink(&mut self) {
        self.chunks.pop();
    }

    #[inline(always)]
    fn place(&self, slot: u32) -> (usize, usize) {
        ((slot >> self.shift) as usize, (slot & ((1 << self.shift) - 1)) as usize)
    }

    #[inline(always)]
    pub(super) fn slot(&self, slot: u32) -> &Slot {
        let (chunk, row) = self.place(slot);
        &self.chunks[chunk].slots[row]
    }

    #[inline(always)]
    pub(super) fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        let (chunk, row) = self.place(slot);
        &mut self.chunks[chunk].slots[row]
    }

    #[inline(always)]
    pub(super) fn row(&self, slot: u32) -> &[f32] {
        let (chunk, row) = self.place(slot);
        let chunk = &self.chunks[chunk];
        let start = chunk.start + row * self.row_len;
        &chunk.floats[start..start + self.row_len]
    }

    #[inline(always)]
    pub(super) fn both_mut(&mut self, slot: u32) -> (&mut Slot, &mut [f32]) {
        let (chunk, row) = self.place(slot);
        let chunk = &mut self.chunks[chunk];
        let start = chunk.start + row * self.row_len;
        (&mut chunk.slots[row], &mut chunk.floats[start..start + self.row_len])
    }

    /// Copies a row with its header to another slot.
    pub(super) fn copy(&mut self, from: u32, to: u32) {
        let (from_chunk, from_row) = self.place(from);
        let (to_chunk, to_row) = self.place(to);
        let (from_start, to_start) = (
            self.chunks[from_chunk].start + from_row * self.row_len,
            self.chunks[to_chunk].start + to_row * self.row_len,
        );
        let len = self.row_len;
        let header = self.chunks[from_chunk].slots[from_row];
        self.chunks[to_chunk].slots[to_row] = header;
        if let Ok([from, to]) = self.chunks.get_disjoint_mut([from_chunk, to_chunk]) {
            to.floats[to_start..to_start + len].copy_from_slice(&from.floats[from_start..from_start + len]);
        } else {
            let floats = &mut self.chunks[from_chunk].floats;
            floats.copy_within(from_start..from_start + len, to_start);
        }
    }

    /// Every header in order of slots, from the first.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.chunks.iter().flat_map(|chunk| &chunk.slots)
    }
}

/// Bytes of a resident row.
pub(super) fn row_bytes(row_len: usize) -> usize {
    size_of::<Slot>() + row_len * size_of::<f32>()
}
