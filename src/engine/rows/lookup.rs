//! Lookup: copies resident rows from the cache, and loads or creates the others.

use std::sync::atomic::Ordering;

use super::guards::Loaned;
use super::load::Absent;
use super::{KeyBatch, OpenGroup};
use crate::cache::{Full, Partition, Shard, hash};
use crate::engine::Engine;
use crate::engine::moment::Moment;
use crate::error::Result;
use crate::memory::room_for;

/// How many keys ahead of its use a row is prefetched.
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
    /// Occurrences of keys that were not resident, but need no load.
    misses: usize,
    /// Rows made for them.
    created: u64,
}

impl OpenGroup {
    /// Writes the weights of the keys into `weights`. A key without a row gets one. The padding key
    /// reads as zeros.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. `weights` may be partly written.
    pub(crate) fn lookup(
        &self,
        engine: &Engine,
        batch: KeyBatch<'_>,
        weights: &mut [f32],
    ) -> Result<()> {
        let missing = self.read_resident(engine, batch, weights, None, Absent::Create)?;
        if missing.is_empty() {
            return Ok(());
        }
        self.read_missing(engine, &missing, Absent::Create, weights, None)
    }

    /// Copies the weights of resident rows, and of rows that can be made without a look at the
    /// disk. Returns the keys and positions of the others, by ascending key.
    pub(super) fn read_resident(
        &self,
        engine: &Engine,
        KeyBatch { keys, padding }: KeyBatch<'_>,
        weights: &mut [f32],
        found: Option<&mut [u8]>,
        absent: Absent,
    ) -> Result<Vec<(i64, usize)>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let slice_len = keys.len().div_ceil(engine.pool.parts(keys.len()));
        let mut found = found.map(|found| found.chunks_mut(slice_len));
        let mut slices = room_for(keys.len().div_ceil(slice_len))?;
        let parts = keys.chunks(slice_len).zip(weights.chunks_mut(slice_len * self.dim));
        for (index, (keys, weights)) in parts.enumerate() {
            let found = found.as_mut().and_then(Iterator::next);
            let start = index * slice_len;
            slices.push(Slice {
                keys,
                weights,
                found,
                start,
                missing: Vec::new(),
                misses: 0,
                created: 0,
            });
        }
        let moment = engine.moment();
        let creates = absent == Absent::Create;
        engine.pool.each(keys.len(), &mut slices, |slice| {
            self.read_slice(padding, moment, creates, slice)
        })?;
        let count = slices.iter().map(|slice| slice.missing.len()).sum();
        let misses = slices.iter().map(|slice| slice.misses).sum::<usize>() + count;
        let created = slices.iter().map(|slice| slice.created).sum();
        let mut missing = room_for(count)?;
        slices.iter_mut().for_each(|slice| missing.append(&mut slice.missing));
        missing.sort_unstable();
        engine.counters.cache_misses.fetch_add(misses as u64, Ordering::Relaxed);
        engine.counters.cache_hits.fetch_add((keys.len() - misses) as u64, Ordering::Relaxed);
        engine.counters.rows_created.fetch_add(created, Ordering::Relaxed);
        engine.pace(created as usize);
        Ok(missing)
    }

    /// Reads a part of a batch shard by shard, so that a shard's index stays in the processor's
    /// cache while it is used. If it `creates`, it makes rows for keys that have none.
    fn read_slice(
        &self,
        padding: Option<i64>,
        moment: Moment<'_>,
        creates: bool,
        slice: &mut Slice<'_>,
    ) -> Result<()> {
        let cutoff = moment.cutoff;
        let shards = self.cache.shard_count();
        // Few keys: sorting them by shard costs more than a lock for each.
        if slice.keys.len() <= shards / 2 {
            for index in 0..slice.keys.len() {
                let hash = hash(slice.keys[index]);
                self.read_key(&self.cache.read_for(hash), hash, index, padding, cutoff, slice)?;
            }
            return Ok(());
        }
        let partition = Partition::new(slice.keys, None, shards)?;
        // Threads begin with different shards, so that they do not wait for each other.
        let first = slice.start * shards / (slice.start + slice.keys.len());
        for number in (0..shards).map(|shard| (first + shard) % shards) {
            let (keys, positions) = partition.shard(number);
            if keys.is_empty() {
                continue;
            }
            let shard = self.cache.read(number);
            let prefetch = |key: &i64| shard.prefetch(hash(*key), self.weight_lines());
            let missing_before = slice.missing.len();
            keys.iter().take(AHEAD).for_each(prefetch);
            for (index, (key, position)) in keys.iter().zip(positions).enumerate() {
                if let Some(later) = keys.get(index + AHEAD) {
                    prefetch(later);
                }
                self.read_key(&shard, hash(*key), *position as usize, padding, cutoff, slice)?;
            }
            drop(shard);
            if creates && slice.missing.len() > missing_before {
                self.make_missing(number, missing_before, moment, slice)?;
            }
        }
        Ok(())
    }

    /// Makes rows for the keys of a shard that are not resident, if the group is complete.
    fn make_missing(
        &self,
        number: usize,
        missing_before: usize,
        moment: Moment<'_>,
        slice: &mut Slice<'_>,
    ) -> Result<()> {
        if !self.cache.is_complete() {
            return Ok(());
        }
        self.group.check_not_poisoned()?;
        let mut shard = self.cache.lock(number);
        // An eviction from this shard happened with its lock held, so its flag is visible by now.
        if !self.cache.is_complete() {
            return Ok(());
        }
        let missing = slice.missing.split_off(missing_before);
        for (key, position) in missing {
            let hash = hash(key);
            let place = match shard.find(hash, key) {
                Some(place) => place,
                // An insertion may have evicted a row, and this key may be on disk only.
                None if !self.cache.is_complete() => {
                    slice.missing.push((key, position));
                    continue;
                }
                None => match shard.insert(hash, key, Full::Refuse)? {
                    Some(place) => {
                        shard.set_absent(place, true);
                        place
                    }
                    None => {
                        slice.missing.push((key, position));
                        continue;
                    }
                },
            };
            if !shard.slot(place).is_row(moment.cutoff) {
                self.make_row(&mut shard, place, moment);
                slice.created += 1;
            }
            let index = position - slice.start;
            slice.weights[index * self.dim..(index + 1) * self.dim]
                .copy_from_slice(&shard.row(place)[..self.dim]);
            slice.misses += 1;
        }
        Ok(())
    }

    #[inline(always)]
    fn read_key(
        &self,
        shard: &Shard,
        hash: u64,
        index: usize,
        padding: Option<i64>,
        cutoff: u64,
        slice: &mut Slice<'_>,
    ) -> Result<()> {
        let key = slice.keys[index];
        let weights = &mut slice.weights[index * self.dim..(index + 1) * self.dim];
        let is_padding = Some(key) == padding;
        let resident = shard.find(hash, key).map(|place| shard.both(place));
        let has_row = match resident {
            _ if is_padding => {
                weights.fill(0.0);
                false
            }
            Some((slot, row)) if slot.is_row(cutoff) => {
                slot.touch();
                weights.copy_from_slice(&row[..self.dim]);
                true
            }
            _ => {
                if slice.missing.is_empty() {
                    slice.missing = room_for(slice.keys.len())?;
                }
                slice.missing.push((key, slice.start + index));
                return Ok(());
            }
        };
        if let Some(found) = &mut slice.found {
            found[index] = u8::from(has_row);
        }
        Ok(())
    }

    /// Loads the keys that were not resident, and writes their weights at all their positions.
    pub(super) fn read_missing(
        &self,
        engine: &Engine,
        missing: &[(i64, usize)],
        absent: Absent,
        weights: &mut [f32],
        mut found: Option<&mut [u8]>,
    ) -> Result<()> {
        // The distinct keys, and where the occurrences of each begin in `missing`.
        let (mut keys, mut starts) = (room_for(missing.len())?, room_for(missing.len() + 1)?);
        for (index, (key, _)) in missing.iter().enumerate() {
            if keys.last() != Some(key) {
                keys.push(*key);
                starts.push(index);
            }
        }
        starts.push(missing.len());
        let dim = self.dim;
        let occurrences = |index: usize| &missing[starts[index]..starts[index + 1]];
        let mut write = |index: usize, row: &[f32]| {
            for (_, position) in occurrences(index) {
                weights[position * dim..(position + 1) * dim].copy_from_slice(row);
            }
        };
        let has_row = self.load(&Loaned::new(engine), &keys, absent, Some(&mut write))?;
        for (index, has_row) in has_row.into_iter().enumerate() {
            for (_, position) in occurrences(index) {
                if !has_row {
                    weights[position * dim..(position + 1) * dim].fill(0.0);
                }
                if let Some(found) = &mut found {
                    found[*position] = u8::from(has_row);
                }
            }
        }
        Ok(())
    }
}
