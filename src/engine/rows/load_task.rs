//! Task: what a load does in one shard.

use super::OpenGroup;
use crate::cache::{Partition, Place, Shard, hash};
use crate::error::Result;
use crate::memory::room_for;
use crate::rocks::read_batch::ReadBatch;

/// The work in one shard.
pub(super) struct Task<'a> {
    pub(super) shard: usize,
    pub(super) keys: &'a [i64],
    pub(super) positions: &'a [u32],
    /// The indexes in `keys` of those that are not resident yet.
    pub(super) todo: Vec<u32>,
    /// Weights of the rows that were found, in the order of `done`.
    pub(super) weights: Vec<f32>,
    /// Positions of the rows that were found.
    pub(super) done: Vec<u32>,
    /// Rows that were pinned.
    pub(super) pinned: Vec<Place>,
    pub(super) created: u64,
}

impl Task<'_> {
    /// The positions of the rows that were found, with their weights.
    pub(super) fn rows(&self, dim: usize) -> impl Iterator<Item = (usize, &[f32])> {
        self.done.iter().map(|at| *at as usize).zip(self.weights.chunks_exact(dim))
    }

    /// Fetches ahead what a later key needs: its line of the index, and its row in `batch`.
    pub(super) fn prefetch(
        &self,
        shard: &Shard,
        later: usize,
        (batch, indexes): (&ReadBatch, &[u32]),
    ) {
        shard.prefetch_entry(hash(self.keys[later]));
        batch.prefetch(indexes[self.positions[later] as usize] as usize);
    }
}

impl OpenGroup {
    /// The work of a load in every shard that has some of the keys, in the order of the shards.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn tasks<'a>(
        &self,
        partition: &'a Partition,
        wants_weights: bool,
        pins: bool,
    ) -> Result<Vec<Task<'a>>> {
        let mut tasks = room_for(self.cache.shard_count())?;
        for shard in 0..self.cache.shard_count() {
            let (keys, positions) = partition.shard(shard);
            if keys.is_empty() {
                continue;
            }
            let weights = room_for(if wants_weights { keys.len() * self.dim } else { 0 })?;
            let (mut todo, done) = (room_for(keys.len())?, room_for(keys.len())?);
            todo.extend(0..keys.len() as u32);
            let pinned = room_for(if pins { keys.len() } else { 0 })?;
            tasks.push(Task { shard, keys, positions, todo, weights, done, pinned, created: 0 });
        }
        Ok(tasks)
    }

    /// Unpins the rows that a load has pinned.
    pub(super) fn unpin(&self, tasks: &[Task<'_>]) {
        for task in tasks.iter().filter(|task| !task.pinned.is_empty()) {
            let mut shard = self.cache.lock(task.shard);
            task.pinned.iter().for_each(|place| shard.unpin(*place));
        }
    }
}
