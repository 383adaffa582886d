//! A batch's keys grouped by shard. Each shard is then locked once, and its index and rows stay in
//! the processor's caches while they are used.

use std::ops::Range;

use super::hash::{hash, shard_of};
use crate::error::{Error, Result};
use crate::memory::{refill, reserve};
use crate::prefetch::prefetch;

const KEYS_A_LINE: usize = 8;
const POSITIONS_A_LINE: usize = 16;

/// Keys grouped by shard; within a shard they keep their order.
#[derive(Default)]
pub(crate) struct Partition {
    /// Where each shard's keys begin; one more entry for the end of the last.
    starts: Vec<u32>,
    keys: Vec<i64>,
    positions: Vec<u32>,
    /// Buffers of `fill`: the shard of each key, and where the next key of each shard goes.
    shards: Vec<u16>,
    next: Vec<u32>,
}

impl Partition {
    /// Groups `keys`.
    ///
    /// # Errors
    /// As [`Partition::fill`].
    pub(crate) fn new(keys: &[i64], shards: usize) -> Result<Partition> {
        let mut partition = Partition::default();
        partition.fill(keys, 0, None, shards)?;
        Ok(partition)
    }

    /// Groups `keys`, leaving out `skip`. They are at the positions from `first` on in their batch.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; `INVALID_ARGUMENT` for positions of 2^32 or more.
    pub(crate) fn fill(
        &mut self,
        keys: &[i64],
        first: usize,
        skip: Option<i64>,
        shards: usize,
    ) -> Result<()> {
        if first + keys.len() >= u32::MAX as usize {
            return Err(Error::invalid(format!(
                "keys_len is {}; at most {} keys a call are accepted",
                first + keys.len(),
                u32::MAX - 1
            )));
        }
        // A counting sort: find each key's shard, count the keys of each shard, move each key to
        // its place.
        const SKIPPED: u16 = u16::MAX;
        self.shards.clear();
        reserve(&mut self.shards, keys.len())?;
        refill(&mut self.starts, 0, shards + 1)?;
        for key in keys {
            let shard = shard_of(hash(*key), shards);
            let skipped = Some(*key) == skip;
            self.shards.push(if skipped { SKIPPED } else { shard as u16 });
            self.starts[shard + 1] += u32::from(!skipped);
        }
        for shard in 0..shards {
            self.starts[shard + 1] += self.starts[shard];
        }
        let kept = self.starts[shards] as usize;
        self.next.clear();
        reserve(&mut self.next, shards)?;
        self.next.extend_from_slice(&self.starts[..shards]);
        // What is behind them, from an earlier batch, belongs to no shard.
        if self.keys.len() < kept {
            refill(&mut self.keys, 0, kept)?;
            refill(&mut self.positions, 0, kept)?;
        }
        for (position, (key, shard)) in (first as u32..).zip(keys.iter().zip(&self.shards)) {
            if *shard != SKIPPED {
                let place = self.next[*shard as usize] as usize;
                self.keys[place] = *key;
                self.positions[place] = position;
                self.next[*shard as usize] = place as u32 + 1;
                // The lines after these. Another core read them last, when the batch before was
                // used.
                if let Some(later) = self.keys.get(place + KEYS_A_LINE) {
                    prefetch(later);
                }
                if let Some(later) = self.positions.get(place + POSITIONS_A_LINE) {
                    prefetch(later);
                }
            }
        }
        Ok(())
    }

    /// The keys of a shard and their positions in the batch.
    pub(crate) fn shard(&self, shard: usize) -> (&[i64], &[u32]) {
        let range = self.starts[shard] as usize..self.starts[shard + 1] as usize;
        (&self.keys[range.clone()], &self.positions[range])
    }

    /// How many keys these shards have together.
    pub(crate) fn keys_of(&self, shards: Range<usize>) -> usize {
        (self.starts[shards.end] - self.starts[shards.start]) as usize
    }

    /// Bytes of the buffers.
    pub(crate) fn capacity(&self) -> usize {
        8 * self.keys.capacity() + 4 * self.positions.capacity() + 2 * self.shards.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_goes_to_its_shard_in_order() {
        let mut partition = Partition::default();
        for first in [0, 100] {
            let keys: Vec<i64> = (0..1000 + first).map(|n| n * 7919 % 313).collect();
            partition.fill(&keys, first as usize, Some(5), 8).unwrap();
            let mut seen = 0;
            for shard in 0..8 {
                let (shard_keys, positions) = partition.shard(shard);
                assert!(positions.is_sorted());
                for (key, position) in shard_keys.iter().zip(positions) {
                    assert_eq!(keys[*position as usize - first as usize], *key);
                    assert_eq!(shard_of(hash(*key), 8), shard);
                    assert_ne!(*key, 5);
                }
                assert_eq!(partition.keys_of(shard..shard + 1), positions.len());
                seen += shard_keys.len();
            }
            assert_eq!(seen, partition.keys_of(0..8));
            assert_eq!(seen, keys.iter().filter(|key| **key != 5).count());
        }
    }
}
