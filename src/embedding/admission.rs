//! Admission: with a filter, a key gets a row only when it has been looked up often enough. Until
//! then it reads as its initial weights and costs no row, no disk and no step of the optimizer.
//!
//! A key that has a row counts as admitted whatever the filter says, so that a filter attached to a
//! trained table hides nothing. A peek finds out whether it has one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Embedding;
use crate::engine::rows::{Applied, Gradients, KeyBatch};
use crate::error::Result;
use crate::filter::Filter;
use crate::memory::{filled, room_for};

impl Embedding {
    /// Attaches `filter` in place of the one before, or detaches it with None. From then on
    ///
    /// - a lookup counts every occurrence of a key except the padding key, then makes rows for the
    ///   keys that were counted often enough; the others read as their initial weights;
    /// - apply_gradients drops the gradients of keys that are not admitted and have no row;
    /// - all other calls are as before: insert makes rows, peek and prefetch count nothing.
    ///
    /// A call that is under way may still use the filter from before. Attaching waits for a
    /// checkpoint that is being made or loaded.
    ///
    /// A checkpoint that was loaded, or opened as a storage, may have counts for the group that no
    /// filter has taken yet. They then replace the filter's own.
    ///
    /// # Errors
    /// `FORKED`; and if there are such counts, `INVALID_ARGUMENT` for a filter with other
    /// parameters, `CORRUPTION`, `IO`, `OUT_OF_MEMORY`. Nothing is attached.
    pub fn set_filter(&self, filter: Option<Arc<Filter>>) -> Result<()> {
        let _no_checkpoint =
            filter.is_some().then(|| self.storage.hold_checkpoints()).transpose()?;
        let _call = self.storage.begin_call()?;
        let filters = self.storage.filters();
        let group = self.table.group().id();
        if let Some(filter) = &filter {
            self.storage.give_waiting_counts(group, filter)?;
        }
        let mut slot = self.attached.filter.write();
        if let Some(filter) = &filter {
            filters.register(group, filter);
        }
        let before = std::mem::replace(&mut *slot, filter);
        self.attached.is_attached.store(slot.is_some(), Ordering::Release);
        if let Some(before) = &before {
            filters.unregister(group, before);
        }
        // The file of the filter before may be closed next; this embedding's lookups need not wait
        // for that.
        drop(slot);
        Ok(())
    }

    /// The filter that is attached.
    pub fn filter(&self) -> Option<Arc<Filter>> {
        self.attached.get()
    }

    pub(super) fn lookup_admitted(
        &self,
        filter: &Filter,
        batch: KeyBatch<'_>,
        weights: &mut [f32],
    ) -> Result<()> {
        let KeyBatch { keys, padding, occurrences } = batch;
        let mut admitted = filled(0u8, keys.len())?;
        let group = self.table.group();
        filter.count(group.id().into(), (keys, occurrences), padding, &mut admitted)?;
        group.between_clears(|| self.read_admitted(batch, &admitted, weights))
    }

    /// Reads keys, and makes rows for those that are `admitted` (one byte a key) and have none.
    fn read_admitted(
        &self,
        batch: KeyBatch<'_>,
        admitted: &[u8],
        weights: &mut [f32],
    ) -> Result<()> {
        let KeyBatch { keys, padding, occurrences } = batch;
        let (engine, dim) = (self.storage.engine(), self.dim());
        let mut found = filled(0u8, keys.len())?;
        self.table.peek(engine, batch, weights, Some(&mut found))?;
        let count =
            admitted.iter().zip(&found).filter(|(admitted, found)| **admitted > **found).count();
        let (mut new_keys, mut positions) = (room_for(count)?, room_for(count)?);
        for (position, key) in keys.iter().enumerate() {
            if found[position] == 1 || Some(*key) == padding {
                continue;
            }
            if admitted[position] == 1 {
                new_keys.push(*key);
                positions.push(position);
            } else {
                self.table
                    .fill_first_weights(*key, &mut weights[position * dim..(position + 1) * dim]);
            }
        }
        if new_keys.is_empty() {
            return Ok(());
        }
        let mut new_weights = filled(0.0f32, new_keys.len() * dim)?;
        let of_new = occurrences.map(|numbers| occurrences_at(numbers, &positions)).transpose()?;
        let new =
            KeyBatch { occurrences: of_new.as_deref(), ..KeyBatch::without_padding(&new_keys) };
        self.table.lookup(engine, new, &mut new_weights)?;
        for (position, row) in positions.into_iter().zip(new_weights.chunks_exact(dim)) {
            weights[position * dim..(position + 1) * dim].copy_from_slice(row);
        }
        Ok(())
    }

    pub(super) fn apply_admitted_gradients(
        &self,
        filter: &Filter,
        gradients: Gradients<'_>,
    ) -> Result<Applied> {
        let engine = self.storage.engine();
        let KeyBatch { keys, padding, .. } = gradients.batch;
        let mut admitted = filled(0u8, keys.len())?;
        filter.check_batch(self.table.group().id().into(), keys, &mut admitted)?;
        let is_all = keys
            .iter()
            .zip(&admitted)
            .all(|(key, admitted)| *admitted == 1 || Some(*key) == padding);
        if is_all {
            return self.table.apply_gradients(engine, gradients);
        }
        self.table.apply_admitted_gradients(engine, gradients, &admitted)
    }
}

/// How often the keys at these positions occur.
fn occurrences_at(numbers: &[u32], positions: &[usize]) -> Result<Vec<u32>> {
    let mut of_some = room_for(positions.len())?;
    of_some.extend(positions.iter().map(|position| numbers[*position]));
    Ok(of_some)
}

impl Drop for Embedding {
    fn drop(&mut self) {
        // In a forked child, and while the process ends, nobody will ask the filter again, and
        // locks may be held for ever.
        if let Ok(_call) = self.storage.begin_call()
            && let Some(filter) = self.attached.get()
        {
            self.storage.filters().unregister(self.table.group().id(), &filter);
        }
    }
}
