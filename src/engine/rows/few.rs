//! Lookup of few keys: each is looked for by itself. Making them distinct, and sorting them by
//! shard, costs more than a lock for each.

use super::load::Absent;
use super::spread::copy_row;
use super::{KeyBatch, OpenGroup};
use crate::cache::hash;
use crate::engine::Engine;
use crate::error::Result;
use crate::memory::room_for;

impl OpenGroup {
    /// As [`OpenGroup::read`], for few keys. Returns how many rows were not resident.
    pub(super) fn read_few(
        &self,
        engine: &Engine,
        KeyBatch { keys, padding }: KeyBatch<'_>,
        weights: &mut [f32],
        mut found: Option<&mut [u8]>,
        absent: Absent,
    ) -> Result<usize> {
        let cutoff = engine.expiry.cutoff();
        let mut missing = Vec::new();
        for (index, (&key, row)) in keys.iter().zip(weights.chunks_exact_mut(self.dim)).enumerate()
        {
            let mut has_row = false;
            if Some(key) == padding {
                row.fill(0.0);
            } else {
                let shard = self.cache.read_for(hash(key));
                let resident = shard.find(hash(key), key).map(|place| shard.both(place));
                let Some((slot, floats)) = resident.filter(|(slot, _)| slot.is_row(cutoff)) else {
                    if missing.is_empty() {
                        missing = room_for(keys.len())?;
                    }
                    missing.push((key, index));
                    continue;
                };
                slot.touch();
                copy_row(&floats[..self.dim], row);
                has_row = true;
            }
            if let Some(found) = &mut found {
                found[index] = u8::from(has_row);
            }
        }
        if !missing.is_empty() {
            missing.sort_unstable();
            self.read_missing(engine, &missing, absent, weights, found)?;
        }
        Ok(missing.len())
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
            self.load(&super::guards::Loaned::new(engine), &keys, absent, Some(&mut write))?
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
