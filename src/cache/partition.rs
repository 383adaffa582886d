//! A batch's keys grouped by shard. Each shard is then locked once, and its index and rows stay in
//! the processor's caches while they are used.

use super::hash::{hash, shard_of};
use crate::error::{Error, Result};
use crate::memory::{filled, room_for};

/// Keys grouped by shard; within a shard they keep their order.
pub(crate) struct Partition {
    /// Where each shard's keys begin; one more entry for the end of the last.
    starts: Vec<u32>,
    keys: Vec<i64>,
    positions: Vec<u32>,
}

impl Partition {
    /// Groups `keys`, leaving out `skip`.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; `INVALID_ARGUMENT` for 2^32 keys or more.
    pub(crate) fn new(keys: &[i64], skip: Option<i64>, shards: usize) -> Result<Partition> {
        if keys.len() >= u32::MAX as usize {
            return Err(Error::invalid(format!(
                "keys_len is {}; at most {} keys a call are accepted",
                keys.len(),
                u32::MAX - 1
            )));
        }
        // A counting sort: find each key's shard, count the keys of each shard, move each key to
        // its place.
        const SKIPPED: u16 = u16::MAX;
        let mut shard_numbers: Vec<u16> = room_for(keys.len())?;
        let mut starts = filled(0u32, shards + 1)?;
        for key in keys {
            let shard = shard_of(hash(*key), shards);
            let skipped = Some(*key) == skip;
            shard_numbers.push(if skipped { SKIPPED } else { shard as u16 });
            starts[shard + 1] += u32::from(!skipped);
        }
        for shard in 0..shards {
            starts[shard + 1] += starts[shard];
        }
        let kept = starts[shards] as usize;
        let mut next = room_for(shards)?;
        next.extend_from_slice(&starts[..shards]);
        let mut grouped = filled(0i64, kept)?;
        let mut positions = filled(0u32, kept)?;
        for (position, (key, shard)) in keys.iter().zip(&shard_numbers).enumerate() {
            if *shard != SKIPPED {
                let place = &mut next[*shard as usize];
                grouped[*place as usize] = *key;
                positions[*place as usize] = position as u32;
                *place += 1;
            }
        }
        Ok(Partition { starts, keys: grouped, positions })
    }

    /// The keys of a shard and their positions in the batch.
    pub(crate) fn shard(&self, shard: usize) -> (&[i64], &[u32]) {
        let range = self.starts[shard] as usize..self.starts[shard + 1] as usize;
        (&self.keys[range.clone()], &self.positions[range])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_goes_to_its_shard_in_order() {
        let keys: Vec<i64> = (0..1000).map(|n| n * 7919 % 313).collect();
        let partition = Partition::new(&keys, Some(5), 8).unwrap();
        let mut seen = 0;
        for shard in 0..8 {
            let (shard_keys, positions) = partition.shard(shard);
            assert!(positions.is_sorted());
            for (key, position) in shard_keys.iter().zip(positions) {
                assert_eq!(keys[*position as usize], *key);
                assert_eq!(shard_of(hash(*key), 8), shard);
                assert_ne!(*key, 5);
            }
            seen += shard_keys.len();
        }
        assert_eq!(seen, keys.iter().filter(|key| **key != 5).count());
    }
}
