//! Pin: copies whole rows, for a caller that changes them itself and commits them.
//!
//! Makes no row: a key without one gets the floats that its row would begin with, and commit makes
//! the row. So a caller that does not commit has changed nothing.

use super::few::AT_ONCE;
use super::guards::Loaned;
use super::load::Absent;
use super::row_copies::{CopyOf, RowCopies};
use super::sink::Sink;
use super::{KeyBatch, OpenGroup, lines};
use crate::cache::hash;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::memory::room_for;

/// How often rows are loaded again that were evicted before they could be copied.
const ATTEMPTS: usize = 1000;

impl OpenGroup {
    /// Copies the rows of a batch. `admitted` has one byte a key, 0 for a key that gets no row if
    /// it has none; None if all may get rows. The padding key reads as zeros.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for too many keys; `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. There are no
    /// copies then.
    pub(crate) fn pin_rows(
        &self,
        engine: &Engine,
        batch: KeyBatch<'_>,
        admitted: Option<&[u8]>,
        copies: &mut RowCopies,
    ) -> Result<()> {
        let pinned = self.copy_rows(engine, batch, admitted, copies);
        pinned.inspect_err(|_| copies.clear())
    }

    fn copy_rows(
        &self,
        engine: &Engine,
        batch: KeyBatch<'_>,
        admitted: Option<&[u8]>,
        copies: &mut RowCopies,
    ) -> Result<()> {
        copies.begin(batch.keys, self.row_len)?;
        self.copy_resident(engine, batch.padding, copies);
        let misses = copies.missing.len();
        if misses > 0 {
            self.copy_missing(engine, copies)?;
            if let Some(admitted) = admitted {
                leave_out(copies, admitted);
            }
        }
        copies.finish()?;
        self.count_keys(engine, batch.count(), misses as u64);
        Ok(())
    }

    /// Copies what is found without a lock, and notes what is not.
    fn copy_resident(&self, engine: &Engine, padding: Option<i64>, copies: &mut RowCopies) {
        let RowCopies { keys, of, before, places: kept, missing, .. } = copies;
        let cutoff = engine.expiry.cutoff();
        let guard = crossbeam_epoch::pin();
        for (number, some) in keys.chunks(AT_ONCE).enumerate() {
            let first = number * AT_ONCE;
            let places = self.candidates(some, lines(self.row_len), &guard);
            let rows = before[first * self.row_len..].chunks_exact_mut(self.row_len);
            for (index, ((&key, row), place)) in some.iter().zip(rows).zip(places).enumerate() {
                if Some(key) == padding {
                    row.fill(0.0);
                    of.push(CopyOf::NoRow);
                    kept.push(place);
                    continue;
                }
                let resident = self.cache.resident(hash(key));
                let found = resident.read_and_place(place, key, cutoff, row, &guard);
                kept.push(found.unwrap_or(place));
                if found.is_some() {
                    of.push(CopyOf::Row);
                } else {
                    of.push(CopyOf::NewRow);
                    missing.push((first + index) as u32);
                }
            }
        }
    }

    /// Copies the rows that were not found: from disk, or as they would begin.
    fn copy_missing(&self, engine: &Engine, copies: &mut RowCopies) -> Result<()> {
        let RowCopies { keys, of, before, missing, .. } = copies;
        let loan = Loaned::new(engine);
        let mut left = std::mem::take(missing);
        for _ in 0..ATTEMPTS {
            let cutoff = engine.expiry.cutoff();
            left.retain(|&index| {
                let index = index as usize;
                let row = &mut before[index * self.row_len..(index + 1) * self.row_len];
                let copy_of = self.copy_locked(keys[index], cutoff, row);
                of[index] = copy_of.unwrap_or(CopyOf::NewRow);
                copy_of.is_none()
            });
            if left.is_empty() {
                *missing = left;
                return Ok(());
            }
            let mut absent = room_for(left.len())?;
            absent.extend(left.iter().map(|index| keys[*index as usize]));
            absent.sort_unstable();
            self.load(&loan, &absent, Absent::Note, Sink::Nobody)?;
        }
        Err(Error::out_of_memory(format!(
            "rows of {} keys were evicted before they could be read, a thousand times; a larger \
             cache_bytes is needed",
            left.len()
        )))
    }

    /// Copies the row of a key, or the floats that it would begin with. None if it takes a look at
    /// the disk to know which.
    fn copy_locked(&self, key: i64, cutoff: u64, copy: &mut [f32]) -> Option<CopyOf> {
        let shard = self.cache.read_for(hash(key));
        match shard.find(hash(key), key) {
            Some(place) => {
                let row = shard.hold(place);
                if row.is_row(cutoff) {
                    copy.copy_from_slice(row.floats());
                    return Some(CopyOf::Row);
                }
            }
            // An eviction from this shard happened with its lock held. So the flag is visible.
            None if !self.cache.is_complete() => return None,
            None => {}
        }
        drop(shard);
        self.fill_first(key, copy);
        Some(CopyOf::NewRow)
    }
}

/// Leaves keys without a row out of the commit if they are not admitted. `admitted` has a byte for
/// each key of the batch.
fn leave_out(copies: &mut RowCopies, admitted: &[u8]) {
    for (position, admitted) in admitted.iter().enumerate() {
        if let Some(index) = copies.index_of(position)
            && *admitted == 0
            && copies.of[index] == CopyOf::NewRow
        {
            copies.of[index] = CopyOf::NoRow;
        }
    }
}
