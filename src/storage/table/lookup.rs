//! Lookup: resident rows straight from the cache, the others loaded or created.

use std::sync::atomic::Ordering;

use super::Table;
use super::load::{Absent, Loaded};
use crate::cache::{ABSENT, Partition, hash};
use crate::error::Result;
use crate::memory::room_for;
use crate::storage::Core;

/// Keys whose rows are asked for ahead of their use.
const AHEAD: usize = 16;

/// One thread's part of a batch.
struct Slice<'a> {
    keys: &'a [i64],
    weights: &'a mut [f32],
    found: Option<&'a mut [u8]>,
    /// Position of the first key in the batch.
    start: usize,
    /// Keys that are not resident, with their positions in the batch.
    missing: Vec<(i64, usize)>,
}

impl Table {
    /// Writes the weights of `keys` into `weights`; keys without a row get one. `padding` reads as zeros.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. `weights` may then be partly written.
    pub fn lookup(&self, core: &Core, keys: &[i64], padding: Option<i64>, weights: &mut [f32]) -> Result<()> {
        let missing = self.read_resident(core, keys, padding, weights, None)?;
        if missing.is_empty() {
            return Ok(());
        }
        self.read_missing(core, &missing, Absent::Create, weights, None)
    }

    /// Copies the weights of resident rows; returns the keys and positions of the others, by ascending key.
    pub(super) fn read_resident(
        &self,
        core: &Core,
        keys: &[i64],
        padding: Option<i64>,
        weights: &mut [f32],
        found: Option<&mut [u8]>,
    ) -> Result<Vec<(i64, usize)>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let slice_len = keys.len().div_ceil(core.pool.parts(keys.len()));
        let mut found = found.map(|found| found.chunks_mut(slice_len));
        let mut slices = room_for(keys.len().div_ceil(slice_len))?;
        let parts = keys.chunks(slice_len).zip(weights.chunks_mut(slice_len * self.dim));
        for (index, (keys, weights)) in parts.enumerate() {
            let found = found.as_mut().and_then(Iterator::next);
            slices.push(Slice { keys, weights, found, start: index * slice_len, missing: Vec::new() });
        }
        core.pool.each(keys.len(), &mut slices, |slice| self.read_slice(padding, slice))?;
        let count = slices.iter().map(|slice| slice.missing.len()).sum();
        let mut missing = room_for(count)?;
        slices.iter_mut().for_each(|slice| missing.append(&mut slice.missing));
        missing.sort_unstable();
        core.counters.cache_misses.fetch_add(count as u64, Ordering::Relaxed);
        core.counters.cache_hits.fetch_add((keys.len() - count) as u64, Ordering::Relaxed);
        Ok(missing)
    }

    fn read_slice(&self, padding: Option<i64>, slice: &mut Slice<'_>) -> Result<()> {
        let shards = self.cache.shard_count();
        let partition = Partition::new(slice.keys, padding, shards)?;
        if partition.len() < slice.keys.len() {
            for (index, key) in slice.keys.iter().enumerate() {
                if Some(*key) == padding {
                    slice.weights[index * self.dim..(index + 1) * self.dim].fill(0.0);
                    if let Some(found) = &mut slice.found {
                        found[index] = 0;
                    }
                }
            }
        }
        // Threads begin in different shards, so that they do not wait for each other.
        let first = slice.start * shards / (slice.start + slice.keys.len()).max(1);
        for shard in (0..shards).map(|shard| (first + shard) % shards) {
            let (keys, positions) = partition.shard(shard);
            if !keys.is_empty() {
                self.read_shard(shard, keys, positions, slice)?;
            }
        }
        Ok(())
    }

    fn read_shard(&self, shard: usize, keys: &[i64], positions: &[u32], slice: &mut Slice<'_>) -> Result<()> {
        let (dim, lines) = (self.dim, self.weight_lines());
        let mut shard = self.cache.lock(shard);
        keys.iter().take(AHEAD).for_each(|key| shard.prefetch(hash(*key), lines));
        for (index, (&key, &position)) in keys.iter().zip(positions).enumerate() {
            if let Some(later) = keys.get(index + AHEAD) {
                shard.prefetch(hash(*later), lines);
            }
            let position = position as usize;
            match shard.find(hash(key), key) {
                Some(place) if !shard.slot(place).has(ABSENT) => {
                    shard.touch(place);
                    let weights = &mut slice.weights[position * dim..(position + 1) * dim];
                    weights.copy_from_slice(&shard.row(place)[..dim]);
                    if let Some(found) = &mut slice.found {
                        found[position] = 1;
                    }
                }
                _ => {
                    if slice.missing.is_empty() {
                        slice.missing = room_for(slice.keys.len())?;
                    }
                    slice.missing.push((key, slice.start + position));
                }
            }
        }
        Ok(())
    }

    /// Loads the keys that were not resident and copies their weights to all their positions.
    pub(super) fn read_missing(
        &self,
        core: &Core,
        missing: &[(i64, usize)],
        absent: Absent,
        weights: &mut [f32],
        mut found: Option<&mut [u8]>,
    ) -> Result<()> {
        let mut keys = room_for(missing.len())?;
        keys.extend(missing.iter().map(|(key, _)| *key));
        keys.dedup();
        let Loaded { weights: loaded, found: has_row } = self.load(core, &keys, absent, true)?;
        let mut row = 0;
        for (key, position) in missing {
            if keys[row] != *key {
                row += 1;
            }
            let weights = &mut weights[position * self.dim..(position + 1) * self.dim];
            weights.copy_from_slice(&loaded[row * self.dim..(row + 1) * self.dim]);
            if let Some(found) = &mut found {
                found[*position] = u8::from(has_row[row]);
            }
        }
        Ok(())
    }
}
