//! Lookup of few keys: each is looked for by itself, and no shard is locked for it. Making them
//! distinct, and sorting them by shard, would cost more.

use std::sync::atomic::Ordering;

use crossbeam_epoch::Guard;

use super::load::Absent;
use super::sink::Sink;
use super::{KeyBatch, OpenGroup};
use crate::cache::{Place, hash};
use crate::engine::Engine;
use crate::error::Result;
use crate::memory::room_for;

/// The rows of so many keys are fetched at once. More would leave the nearest cache again before
/// they are used.
pub(super) const AT_ONCE: usize = 64;

impl OpenGroup {
    /// As [`OpenGroup::read`], for few keys. Returns how many rows were not resident.
    pub(super) fn read_few(
        &self,
        engine: &Engine,
        batch: KeyBatch<'_>,
        weights: &mut [f32],
        mut found: Option<&mut [u8]>,
        absent: Absent,
    ) -> Result<u64> {
        let KeyBatch { keys, padding, .. } = batch;
        let cutoff = engine.expiry.cutoff();
        let mut missing = Vec::new();
        let guard = crossbeam_epoch::pin();
        for (number, part) in keys.chunks(AT_ONCE).enumerate() {
            let first = number * AT_ONCE;
            let places = self.candidates(part, self.weight_lines(), &guard);
            let rows = weights[first * self.dim..].chunks_exact_mut(self.dim);
            for (index, ((&key, weights), place)) in part.iter().zip(rows).zip(places).enumerate() {
                let mut has_row = false;
                if Some(key) == padding {
                    weights.fill(0.0);
                } else {
                    let resident = self.cache.resident(hash(key));
                    has_row = resident.read(place, key, cutoff, weights, &guard);
                    if !has_row {
                        if missing.is_empty() {
                            missing = room_for(keys.len())?;
                        }
                        missing.push((key, first + index));
                    }
                }
                if let Some(found) = &mut found {
                    found[first + index] = u8::from(has_row);
                }
            }
        }
        drop(guard);
        let misses = batch.count_at(missing.iter().map(|(_, position)| *position));
        if misses > 0 && absent == Absent::Create {
            self.make_few(engine, &mut missing, weights, found.as_deref_mut())?;
        }
        if !missing.is_empty() {
            missing.sort_unstable();
            self.read_missing(engine, &missing, absent, weights, found)?;
        }
        Ok(misses)
    }

    /// Where the rows of at most [`AT_ONCE`] keys will most likely be found. Fetches the first
    /// `lines` cache lines of all of them at once.
    #[inline(always)]
    pub(super) fn candidates(&self, keys: &[i64], lines: usize, guard: &Guard) -> [Place; AT_ONCE] {
        let mut places = [Place::NOT_RESIDENT; AT_ONCE];
        if keys.len() > 1 {
            for hash in keys.iter().map(|key| hash(*key)) {
                self.cache.resident(hash).prefetch_index(hash, guard);
            }
        }
        for (place, hash) in places.iter_mut().zip(keys.iter().map(|key| hash(*key))) {
            *place = self.cache.resident(hash).candidate(hash, lines, guard);
        }
        places
    }

    /// Makes rows for keys that have none, unless that takes a look at the disk or room; those stay
    /// in `missing`.
    fn make_few(
        &self,
        engine: &Engine,
        missing: &mut Vec<(i64, usize)>,
        weights: &mut [f32],
        mut found: Option<&mut [u8]>,
    ) -> Result<()> {
        if !self.cache.is_complete() {
            return Ok(());
        }
        self.group.check_not_poisoned()?;
        let (moment, mut created) = (engine.moment(), 0);
        let mut outcome = Ok(());
        missing.retain(|&(key, position)| {
            let mut shard = self.cache.lock_for(hash(key));
            let made = self.make_in(&mut shard, key, moment);
            let Ok(Some((place, is_new))) = made else {
                outcome = std::mem::replace(&mut outcome, Ok(())).and(made.map(drop));
                return true;
            };
            let weights = &mut weights[position * self.dim..(position + 1) * self.dim];
            weights.copy_from_slice(&shard.hold(place).floats()[..self.dim]);
            created += u64::from(is_new);
            found.iter_mut().for_each(|found| found[position] = 1);
            false
        });
        engine.counters.own().rows_created.fetch_add(created, Ordering::Relaxed);
        engine.pace(created as usize);
        outcome
    }

    /// Loads the keys that were not resident, and writes their weights at all their positions.
    fn read_missing(
        &self,
        engine: &Engine,
        missing: &[(i64, usize)],
        absent: Absent,
        weights: &mut [f32],
        mut found: Option<&mut [u8]>,
    ) -> Result<()> {
        let mut keys = room_for(missing.len())?;
        keys.extend(missing.iter().map(|(key, _)| *key));
        keys.dedup();
        let dim = self.dim;
        let has_row = {
            let mut write = |index: usize, row: &[f32]| {
                let from = missing.partition_point(|(key, _)| *key < keys[index]);
                let of_key = missing[from..].iter().take_while(|(key, _)| *key == keys[index]);
                for (_, position) in of_key {
                    weights[position * dim..(position + 1) * dim].copy_from_slice(row);
                }
            };
            self.load(&super::guards::Loaned::new(engine), &keys, absent, Sink::Call(&mut write))?
        };
        for (key, position) in missing {
            let has_row = keys.binary_search(key).is_ok_and(|index| has_row[index]);
            if !has_row {
                weights[position * dim..(position + 1) * dim].fill(0.0);
            }
            if let Some(found) = &mut found {
                found[*position] = u8::from(has_row);
            }
        }
        Ok(())
    }
}
