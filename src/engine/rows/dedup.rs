//! Dedup: the distinct keys of a batch, by shard, and where each of them occurs.
//!
//! A batch of click logs has two to three times as many keys as distinct ones. Each distinct key is
//! looked for once, and its row copied or changed once. A lookup leaves what it found for the
//! apply_gradients of the same batch.

use super::batch::KeyBatch;
use super::part::Part;
use super::spread::Sources;
use crate::cache::Partition;
use crate::engine::pool::Pool;
use crate::error::Result;
use crate::memory::{reserve, room_for};

/// A part has about so many keys. Fewer would cost more for each key, and their rows would not be
/// fetched far enough ahead.
const KEYS_A_PART: usize = 512;

/// The distinct keys of a batch, in parts of some shards each.
#[derive(Default)]
pub(super) struct Dedup {
    /// The batch, to know it again.
    keys: Vec<i64>,
    padding: Option<i64>,
    /// The batch in slices, one a thread, grouped by shard.
    slices: Vec<Partition>,
    /// By the numbers of their shards. Some may have no key.
    pub(super) parts: Vec<Part>,
    /// Whether the parts have the batch's distinct keys.
    is_done: bool,
    /// A buffer of lookups.
    pub(super) sources: Sources,
}

impl Dedup {
    /// The keys of the batch.
    pub(super) fn keys(&self) -> &[i64] {
        &self.keys
    }

    /// Whether this has the distinct keys of a batch.
    pub(super) fn is_of(&self, batch: KeyBatch<'_>) -> bool {
        self.is_done && self.padding == batch.padding && self.keys == batch.keys
    }

    /// As [`Dedup::is_of`], but looks at few keys only: false is sure.
    pub(super) fn may_be_of(&self, batch: KeyBatch<'_>) -> bool {
        let (len, sample) = (self.keys.len(), [0, 1, 2, 5]);
        let positions = sample.map(|part| (part * len / 6).min(len.saturating_sub(1)));
        self.is_done
            && self.padding == batch.padding
            && len == batch.keys.len()
            && positions.iter().all(|at| self.keys.get(*at) == batch.keys.get(*at))
    }

    /// Begins with a small batch. Its parts are one, of several shards: sorting it by shard would
    /// cost more than it saves.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn begin_few(&mut self, batch: KeyBatch<'_>) -> Result<()> {
        if self.parts.is_empty() {
            self.parts = vec![Part::default()];
        }
        self.is_done = true;
        self.parts[0].dedup_few(batch.keys, batch.padding)
    }

    /// Begins with another batch.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; `INVALID_ARGUMENT` for too many keys.
    pub(super) fn begin(&mut self, pool: &Pool, batch: KeyBatch<'_>, shards: usize) -> Result<()> {
        self.is_done = false;
        let parts = batch.keys.len().div_ceil(KEYS_A_PART).next_power_of_two().min(shards);
        let more = parts.saturating_sub(self.parts.len());
        reserve(&mut self.parts, more)?;
        self.parts.resize_with(parts, Part::default);
        for (number, part) in self.parts.iter_mut().enumerate() {
            part.set_shards(number, number * shards / parts..(number + 1) * shards / parts);
        }
        let slice_len = batch.keys.len().div_ceil(pool.threads_for(batch.keys.len())).max(1);
        let slices = batch.keys.chunks(slice_len);
        self.slices.resize_with(slices.len(), Partition::default);
        let mut work = room_for(slices.len())?;
        work.extend(self.slices.iter_mut().zip(slices).zip((0..).step_by(slice_len)));
        pool.each(batch.keys.len(), &mut work, |((slice, keys), first)| {
            slice.fill(keys, *first, batch.padding, shards)
        })?;
        self.keys.clear();
        reserve(&mut self.keys, batch.keys.len())?;
        self.keys.extend_from_slice(batch.keys);
        self.padding = batch.padding;
        Ok(())
    }

    /// Does `work` on every part, once it has its distinct keys.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; those of `work`.
    pub(super) fn each(
        &mut self,
        pool: &Pool,
        work: impl Fn(&mut Part) -> Result<()> + Sync + Send,
    ) -> Result<()> {
        let (is_done, slices) = (self.is_done, &self.slices);
        pool.each(self.keys.len(), &mut self.parts, |part| {
            if !is_done {
                part.dedup(slices)?;
            }
            if part.keys.is_empty() { Ok(()) } else { work(part) }
        })?;
        self.is_done = true;
        Ok(())
    }

    /// Whether the batch is a small one.
    pub(super) fn is_of_few(&self) -> bool {
        self.parts.first().is_some_and(Part::is_of_few)
    }

    /// Bytes of the buffers.
    pub(super) fn capacity(&self) -> usize {
        // The keys, and a source for each.
        12 * self.keys.capacity()
            + self.slices.iter().map(Partition::capacity).sum::<usize>()
            + self.parts.iter().map(Part::capacity).sum::<usize>()
    }
}
