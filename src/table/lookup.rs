//! Finds rows by key. A batch goes through in stages, so that memory is prefetched before it is
//! used.

use super::format::{GroupEntry, key_of};
use super::hash::{IndexShape, hash};
use super::serving::Table;
use super::values::{Float16, Float32, Int8, ValueType, Values};
use crate::error::{Error, Result};
use crate::limits;
use crate::prefetch::{prefetch, prefetch_bytes};

/// The distance between two stages, in keys.
const AHEAD: usize = 16;
/// Room for the keys between the first and the last stage; a power of two.
const RING: usize = 4 * AHEAD;
/// Cache lines of a row to prefetch; the processor's own prefetcher follows.
const LINES: usize = 4;

/// One group, as lookups use it.
struct View<'a> {
    rows: &'a [u8],
    slots: &'a [u32],
    shape: IndexShape,
    stride: usize,
}

impl Table {
    /// Writes the weights of keys, dim floats a key, and whether each was found; a key that is not
    /// found reads as zeros.
    ///
    /// # Errors
    /// `NOT_FOUND` for a group that is not in the table; `INVALID_ARGUMENT` for lengths that do not
    /// fit.
    pub fn lookup(
        &self,
        group: u32,
        keys: &[i64],
        weights: &mut [f32],
        found: Option<&mut [u8]>,
    ) -> Result<()> {
        let entry = self.entry(group)?;
        check_weights(entry, keys.len(), weights.len())?;
        found.as_ref().map_or(Ok(()), |found| limits::check_found(found.len(), keys.len()))?;
        let bytes = self.contents().slot_bytes(entry);
        let view = View {
            rows: self.contents().row_bytes(entry),
            slots: bytemuck::try_cast_slice(bytes).map_err(|error| {
                Error::corruption(format!("the index of group {group}: {error}"))
            })?,
            shape: IndexShape::new(entry.rows, entry.homes),
            stride: entry.stride(self.contents().value_type()),
        };
        let found = found.unwrap_or_default();
        match self.contents().value_type() {
            ValueType::Float32 => view.read::<Float32>(keys, entry.dim, weights, found),
            ValueType::Float16 => view.read::<Float16>(keys, entry.dim, weights, found),
            ValueType::Int8 => view.read::<Int8>(keys, entry.dim, weights, found),
        }
        Ok(())
    }

    /// Refuses a buffer that does not hold dim floats a key.
    ///
    /// # Errors
    /// As [`Table::lookup`].
    pub fn check_weights(&self, group: u32, keys_len: usize, weights_len: usize) -> Result<()> {
        check_weights(self.entry(group)?, keys_len, weights_len)
    }
}

impl View<'_> {
    /// `found` is empty or has a byte for each key.
    fn read<V: Values>(&self, keys: &[i64], dim: usize, weights: &mut [f32], found: &mut [u8]) {
        // For each key between stages: its hash, and the slot from which the search continues.
        let (mut hashes, mut places) = ([0_u64; RING], [0_usize; RING]);
        let mut found = found.iter_mut();
        let mut weights = weights.chunks_exact_mut(dim);
        for step in 0..keys.len() + 2 * AHEAD {
            if let Some(key) = keys.get(step) {
                let hash = hash(*key);
                hashes[step % RING] = hash;
                if let Some(slot) = self.slots.get(self.shape.home(hash) as usize) {
                    prefetch(slot);
                }
            }
            let Some(step) = step.checked_sub(AHEAD) else { continue };
            if step < keys.len() {
                let hash = hashes[step % RING];
                let place = self.candidate(self.shape.home(hash) as usize, hash);
                places[step % RING] = place;
                prefetch_bytes(self.row_at(place).unwrap_or_default(), LINES);
            }
            let Some(step) = step.checked_sub(AHEAD) else { continue };
            let (Some(key), Some(weights)) = (keys.get(step), weights.next()) else { return };
            let row = self.row_of(*key, hashes[step % RING], places[step % RING]);
            match row {
                Some(values) => V::decode(values, weights),
                None => weights.fill(0.0),
            }
            if let Some(found) = found.next() {
                *found = u8::from(row.is_some());
            }
        }
    }

    /// The first slot from `place` on that is empty or may hold this hash's row.
    #[inline(always)]
    fn candidate(&self, mut place: usize, hash: u64) -> usize {
        while let Some(slot) = self.slots.get(place) {
            let slot = u32::from_le(*slot);
            if slot == 0 || self.shape.may_hold(slot, hash) {
                break;
            }
            place += 1;
        }
        place
    }

    /// The row that a slot leads to, if it is not empty.
    #[inline(always)]
    fn row_at(&self, place: usize) -> Option<&[u8]> {
        let row = self.shape.row_after(u32::from_le(*self.slots.get(place)?)).checked_sub(1)?;
        let start = row as usize * self.stride;
        self.rows.get(start..start + self.stride)
    }

    /// The weights of a key, beginning with the candidate at `place`.
    #[inline(always)]
    fn row_of(&self, key: i64, hash: u64, mut place: usize) -> Option<&[u8]> {
        loop {
            let row = self.row_at(place)?;
            if key_of(row) == key {
                return row.get(8..);
            }
            place = self.candidate(place + 1, hash);
        }
    }
}

fn check_weights(entry: &GroupEntry, keys_len: usize, weights_len: usize) -> Result<()> {
    let &GroupEntry { dim, group, .. } = entry;
    let per_key = format_args!("dim {dim} of group {group}");
    limits::check_floats("weights", weights_len, keys_len, dim, per_key)
}
