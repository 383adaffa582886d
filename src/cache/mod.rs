//! The cache of resident rows. A group's rows are divided into shards; each shard is an index and a
//! slab behind a lock. All groups share one memory budget. Knows nothing of files.
//!
//! A row is used with its latch (`slot`), by threads that hold the shard's lock and by threads that
//! do not. Locks are taken in this order: a shard's, a row's latch, that of a cut's copies.
//!
//! A dirty row differs from the row on disk and stays until it has been written back. Any other row
//! may be evicted. Eviction is a clock: it passes a row over once for each recent use, three times
//! at most. A row comes in without uses, so that a scan does not push out the rows in steady use.

mod budget;
mod cut;
mod hash;
mod index;
mod line;
mod memory;
mod partition;
mod place;
mod replaced;
mod resident;
mod row;
mod shard;
mod slab;
mod slot;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

pub(crate) use budget::Budget;
pub(crate) use cut::{CutRow, Kept};
pub(crate) use hash::hash;
pub(crate) use partition::Partition;
pub(crate) use place::Place;
pub(crate) use resident::Resident;
pub(crate) use row::Row;
pub(crate) use shard::{Full, Shard};
pub(crate) use slab::Hold;
pub(crate) use slot::{ABSENT, MAX_PINS, MAX_UPDATES, MAX_USES, Version};

use crate::error::Result;
use crate::locks::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::memory::room_for;
use hash::shard_of;
use memory::HUGE_PAGE;
use resident::GroupCounts;
use slab::Slab;

/// Enough that a shard's index stays in a core's own cache during a batch and two threads seldom
/// want the same shard; few enough that a batch's part of a shard is worth a lock.
pub(crate) const MAX_SHARDS: usize = 64;
/// A budget per shard below this is not divided further.
const SHARD_BYTES: usize = 1 << 20;
/// The size of a shard's first chunk; most groups have few rows.
const SMALL_CHUNK_BYTES: usize = 4 << 10;

/// The resident rows of one group.
pub(crate) struct GroupCache {
    row_len: usize,
    shards: Vec<Cell>,
    counts: Arc<GroupCounts>,
    /// Counts up; the shard that next gives memory back.
    giving: AtomicUsize,
}

/// A shard on cache lines of its own, so that threads in neighbouring shards do not slow each other
/// down.
#[repr(align(128))]
struct Cell {
    resident: Arc<Resident>,
    shard: RwLock<Shard>,
}

impl GroupCache {
    /// An empty cache. `is_complete`: the disk has no row of this group.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(crate) fn new(
        row_len: usize,
        is_complete: bool,
        budget: &Arc<Budget>,
    ) -> Result<GroupCache> {
        budget.add_group();
        let counts = Arc::new(GroupCounts {
            bytes: AtomicUsize::new(0),
            is_complete: AtomicBool::new(is_complete),
            evictions: AtomicU64::new(0),
            kept_bytes: AtomicUsize::new(0),
        });
        let shard_count = (budget.total() / SHARD_BYTES).max(1).next_power_of_two().min(MAX_SHARDS);
        // One chunk takes at most an eighth of a shard's part of the budget.
        let large_chunk = (budget.total() / shard_count / 8).clamp(SMALL_CHUNK_BYTES, HUGE_PAGE);
        let mut shards = room_for(shard_count)?;
        shards.extend((0..shard_count).map(|_| {
            let slab = Slab::new(row_len, SMALL_CHUNK_BYTES, large_chunk);
            let resident = Arc::new(Resident::new(slab, Arc::clone(&counts)));
            let shard = Shard::new(Arc::clone(&resident), Arc::clone(budget));
            Cell { resident, shard: RwLock::new(shard) }
        }));
        Ok(GroupCache { row_len, shards, counts, giving: AtomicUsize::new(0) })
    }

    pub(crate) fn row_len(&self) -> usize {
        self.row_len
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    #[inline(always)]
    pub(crate) fn lock(&self, shard: usize) -> RwLockWriteGuard<'_, Shard> {
        self.shards[shard].shard.write()
    }

    /// Locks the shard that a key belongs to.
    pub(crate) fn lock_for(&self, hash: u64) -> RwLockWriteGuard<'_, Shard> {
        self.lock(shard_of(hash, self.shards.len()))
    }

    /// The number of the shard that a key belongs to.
    #[inline(always)]
    pub(crate) fn shard_of(&self, hash: u64) -> usize {
        shard_of(hash, self.shards.len())
    }

    /// The rows of the shard that a key belongs to, without its lock.
    #[inline(always)]
    pub(crate) fn resident(&self, hash: u64) -> &Resident {
        &self.shards[shard_of(hash, self.shards.len())].resident
    }

    /// Locks the shard that a key belongs to for reading.
    pub(crate) fn read_for(&self, hash: u64) -> RwLockReadGuard<'_, Shard> {
        self.shards[shard_of(hash, self.shards.len())].shard.read()
    }

    /// Locks a shard for reading.
    pub(crate) fn read(&self, shard: usize) -> RwLockReadGuard<'_, Shard> {
        self.shards[shard].shard.read()
    }

    /// True while a key that is not resident has no row on disk either.
    pub(crate) fn is_complete(&self) -> bool {
        self.counts.is_complete.load(Ordering::Acquire)
    }

    /// Bytes of memory in use.
    pub(crate) fn bytes(&self) -> usize {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the row copies kept for a cut.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.counts.kept_bytes.load(Ordering::Relaxed)
    }

    /// Drops every row, dirty or not. Nobody else may be using the group.
    pub(crate) fn clear(&self, is_complete: bool) {
        (0..self.shards.len()).for_each(|shard| self.lock(shard).clear());
        self.counts.is_complete.store(is_complete, Ordering::Release);
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.counts.evictions.load(Ordering::Relaxed)
    }

    /// The number of resident rows, including rows known to be absent.
    pub(crate) fn rows(&self) -> usize {
        self.shards.iter().map(|cell| cell.resident.counts.rows.load(Ordering::Relaxed)).sum()
    }

    /// The number of dirty rows.
    pub(crate) fn dirty_rows(&self) -> usize {
        self.shards.iter().map(|cell| cell.resident.counts.dirty.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn dirty_in(&self, shard: usize) -> usize {
        self.shards[shard].resident.counts.dirty.load(Ordering::Relaxed)
    }

    /// Frees chunks until `wanted` bytes are free or no shard can free another; returns the bytes
    /// freed.
    pub(crate) fn give_back(&self, wanted: usize) -> usize {
        let before = self.bytes();
        let mut given = 0;
        let mut in_vain = 0;
        while given < wanted && in_vain < self.shards.len() {
            // One after the other, so that no shard is left with less than the others.
            let shard = self.giving.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            in_vain = if self.lock(shard).give_back() { 0 } else { in_vain + 1 };
            given = before.saturating_sub(self.bytes());
        }
        given
    }
}
