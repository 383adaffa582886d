//! A part of a call: distinct keys of some shards, with the gradients of duplicates summed, and the
//! steps on them.

use std::io::IoSlice;
use std::ops::Range;

use super::run::Run;
use crate::cache::{Partition, Place, Version, hash};
use crate::error::{Error, Result};
use crate::memory::{refill, reserve};
use crate::optimizer::{GRADIENT_WORDS, MAX_GRADIENT, are_gradients, is_gradient};
use crate::prefetch::prefetch_floats;

/// What apply_gradients does with a key that is given more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// One step per occurrence, in order.
    Sequential,
    /// One step with the sum of its gradients, as PyTorch's sparse optimizers and FBGEMM do.
    Sum,
    /// One step with the mean of its gradients.
    Mean,
}

/// How the floats of a key that is given more than once are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// As the option says: apply_gradients.
    Gradients(Duplicates),
    /// The last row of a key counts: insert.
    Last,
    /// There are no floats: delete.
    Keys,
}

/// A run of at most so many keys is short.
const SHORT_RUN: usize = 64;
/// How many keys ahead of their use floats are prefetched.
const AHEAD: usize = 24;

/// The keys and floats of a call that belong to some shards, one shard's after the other's.
#[derive(Default)]
pub(super) struct Part {
    /// Which one of the batch's parts it is.
    pub(super) number: usize,
    /// Its shards. None: the few keys of a small call, which are not sorted by shard.
    shards: Option<Range<usize>>,
    /// Its keys by shard; shards without keys have no run. Few keys have no runs.
    pub(super) runs: Vec<Run>,
    /// Distinct keys, within a run in order of their first occurrence.
    pub(super) keys: Vec<i64>,
    /// Where they occur in the batch, within a run ascending.
    pub(super) positions: Vec<u32>,
    /// The index in `keys` of the key at each of `positions`.
    pub(super) indexes: Vec<u32>,
    /// The places of the rows of `keys`, as far as they are known. A row may have moved since.
    pub(super) places: Vec<Place>,
    /// A lookup's weights: `dim` floats a key. A change's gradients or rows: `dim` floats a step.
    pub(super) floats: Vec<f32>,
    /// A lookup's answer: whether each key has a row.
    pub(super) has_row: Vec<bool>,
    /// A begun lookup's: the version of each key's row as it was read.
    pub(super) versions: Vec<Version>,
    /// A finished lookup's: whether each key's row has been read again.
    pub(super) is_changed: Vec<bool>,
    /// A lookup's keys that are not resident, as indexes in `keys`.
    pub(super) missing: Vec<u32>,
    /// How often they occur.
    pub(super) misses: u64,
    /// Rows that a lookup made.
    pub(super) created: u64,
    /// The key of each step; empty when each key has one step.
    step_keys: Vec<i64>,
    /// Why the gradients could not be merged.
    pub(super) wrong: Option<WrongFloat>,
    /// A buffer of `divide`: how often each key occurs.
    counts: Vec<u32>,
    /// A buffer of `dedup`: indexes in `keys`, plus 1, by hash.
    table: Vec<u32>,
}

/// Why a part cannot be made.
pub(super) enum WrongFloat {
    /// A float is not a gradient.
    Float {
        key: i64,
        position: usize,
        column: usize,
        float: f32,
    },
    /// The gradients of a key add up to more than can be.
    Sum(i64),
    Memory,
    /// A bug: all floats are gradients after all.
    Nothing,
}

impl WrongFloat {
    /// The first of a batch's floats that is not a gradient. `rows` has keys and their positions in
    /// the batch, in any order, `floats` `dim` floats a position.
    pub(super) fn first(
        rows: impl Iterator<Item = (i64, usize)>,
        floats: &[f32],
        dim: usize,
    ) -> WrongFloat {
        let wrong = rows.filter_map(|(key, position)| {
            let row = &floats[position * dim..(position + 1) * dim];
            let column = row.iter().position(|float| !is_gradient(*float))?;
            Some(WrongFloat::Float { key, position, column, float: row[column] })
        });
        wrong.min_by_key(WrongFloat::order).unwrap_or(WrongFloat::Nothing)
    }

    /// Several parts of a call may be wrong. The call fails for the one with the smallest order:
    /// with the first wrong float of the batch, and with a sum only if no float is wrong.
    pub(super) fn order(&self) -> (u8, usize) {
        match self {
            WrongFloat::Memory | WrongFloat::Nothing => (0, 0),
            WrongFloat::Float { position, .. } => (1, *position),
            WrongFloat::Sum(_) => (2, 0),
        }
    }
}

impl Part {
    /// A part of distinct keys that are not sorted by shard.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn of_keys(keys: &[i64]) -> Result<Part> {
        let mut part = Part::default();
        reserve(&mut part.keys, keys.len())?;
        reserve(&mut part.places, keys.len())?;
        part.keys.extend_from_slice(keys);
        Ok(part)
    }

    /// Makes this the part of these shards.
    pub(super) fn set_shards(&mut self, number: usize, shards: Range<usize>) {
        (self.number, self.shards) = (number, Some(shards));
    }

    /// Its shards; none for the few keys of a small call.
    pub(super) fn shards(&self) -> Range<usize> {
        self.shards.clone().unwrap_or_default()
    }

    /// Whether its keys are the few keys of a small call.
    pub(super) fn is_of_few(&self) -> bool {
        self.shards.is_none()
    }

    /// Whether it has only a few keys of each shard. The rows of longer runs are fetched while
    /// those before them are worked on, and a lock counts for little beside them.
    pub(super) fn has_short_runs(&self) -> bool {
        self.keys.len() <= SHORT_RUN * self.runs.len()
    }

    /// The steps of a run.
    pub(super) fn steps_of(&self, run: &Run) -> Range<usize> {
        if self.is_one_step_each() { run.keys.clone() } else { run.positions.clone() }
    }

    /// Bytes of the buffers.
    pub(super) fn capacity(&self) -> usize {
        // A key takes up to 54 bytes of the other buffers.
        let versions = self.versions.capacity() * size_of::<Version>();
        self.floats.capacity() * 4 + self.keys.capacity() * 54 + versions
    }

    /// Takes the distinct keys of the shards from a batch that is grouped in slices.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn dedup(&mut self, slices: &[Partition]) -> Result<()> {
        let shards = self.shards();
        self.begin(slices.iter().map(|slice| slice.keys_of(shards.clone())).sum())?;
        reserve(&mut self.runs, shards.len())?;
        for shard in shards {
            let first = (self.keys.len(), self.positions.len());
            for slice in slices {
                let (keys, positions) = slice.shard(shard);
                self.positions.extend_from_slice(positions);
                keys.iter().for_each(|key| self.note(*key));
            }
            let (keys, positions) = (first.0..self.keys.len(), first.1..self.positions.len());
            if !keys.is_empty() {
                self.runs.push(Run { shard, keys, positions });
            }
        }
        self.forget_if_empty();
        Ok(())
    }

    /// A part without keys gets nothing else to do, and must have nothing of an earlier batch: its
    /// floats would go into the journal.
    fn forget_if_empty(&mut self) {
        if self.keys.is_empty() {
            self.floats.clear();
        }
    }

    /// Takes the distinct keys of a small batch.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn dedup_few(&mut self, keys: &[i64], padding: Option<i64>) -> Result<()> {
        self.begin(keys.len())?;
        for (position, &key) in (0..).zip(keys) {
            if Some(key) != padding {
                self.positions.push(position);
                self.note(key);
            }
        }
        self.forget_if_empty();
        Ok(())
    }

    /// Empties the part, and makes room for `count` keys.
    fn begin(&mut self, count: usize) -> Result<()> {
        self.runs.clear();
        self.keys.clear();
        self.positions.clear();
        self.indexes.clear();
        self.places.clear();
        self.step_keys.clear();
        self.missing.clear();
        (self.misses, self.created) = (0, 0);
        reserve(&mut self.keys, count)?;
        reserve(&mut self.positions, count)?;
        reserve(&mut self.indexes, count)?;
        reserve(&mut self.places, count)?;
        refill(&mut self.table, 0, (2 * count).next_power_of_two())
    }

    /// Notes an occurrence of a key.
    #[inline(always)]
    fn note(&mut self, key: i64) {
        let last = self.table.len() - 1;
        let mut entry = hash(key) as usize & last;
        let index = loop {
            match self.table[entry] {
                0 => {
                    self.keys.push(key);
                    self.table[entry] = self.keys.len() as u32;
                    break self.keys.len() as u32 - 1;
                }
                known if self.keys[known as usize - 1] == key => break known - 1,
                _ => entry = (entry + 1) & last,
            }
        };
        self.indexes.push(index);
    }

    /// Makes room for the weights of every key.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn begin_reading(&mut self, dim: usize) -> Result<()> {
        // Every row is written: only those that the buffer lacks have to be made.
        let len = self.keys.len() * dim;
        self.floats.truncate(len);
        let more = len - self.floats.len();
        reserve(&mut self.floats, more)?;
        self.floats.resize(len, 0.0);
        self.has_row.clear();
        self.missing.clear();
        (self.misses, self.created) = (0, 0);
        reserve(&mut self.has_row, self.keys.len())?;
        reserve(&mut self.missing, self.keys.len())
    }

    /// Counts how often the missing keys occur. `occurrences` has a number for each key of the
    /// batch; None: 1 each.
    pub(super) fn count_misses(&mut self, occurrences: Option<&[u32]>) {
        let given = self.indexes.iter().zip(&self.positions);
        let missing = given.filter(|(index, _)| !self.has_row[**index as usize]);
        self.misses = match occurrences {
            None => missing.count() as u64,
            Some(numbers) => {
                missing.map(|(_, position)| u64::from(numbers[*position as usize])).sum()
            }
        };
    }

    /// Sets the weights of a key that has a row.
    pub(super) fn set_row(&mut self, index: usize, weights: &[f32]) {
        self.floats[index * weights.len()..(index + 1) * weights.len()].copy_from_slice(weights);
        self.has_row[index] = true;
    }

    /// Merges the floats of each key, `dim` a position of the batch. `occurrences` are those of the
    /// batch's keys; None: one for each time a key is given.
    pub(super) fn merge(
        &mut self,
        (floats, occurrences): (&[f32], Option<&[u32]>),
        dim: usize,
        merge: Merge,
    ) -> std::result::Result<(), WrongFloat> {
        self.step_keys.clear();
        self.floats.clear();
        if merge == Merge::Keys {
            return Ok(());
        }
        let sequential = merge == Merge::Gradients(Duplicates::Sequential);
        let steps = if sequential { self.positions.len() } else { self.keys.len() };
        self.floats.try_reserve(steps * dim).map_err(|_| WrongFloat::Memory)?;
        let mut valid = true;
        let mut seen = 0;
        for (number, (&position, &index)) in self.positions.iter().zip(&self.indexes).enumerate() {
            if let Some(&later) = self.positions.get(number + AHEAD) {
                let start = later as usize * dim;
                prefetch_floats(&floats[start..start + dim], 4);
            }
            let (position, index) = (position as usize, index as usize);
            let given = &floats[position * dim..(position + 1) * dim];
            if merge != Merge::Last {
                valid &= are_gradients(given);
            }
            if sequential || index == seen {
                seen = index + 1;
                self.floats.extend_from_slice(given);
                continue;
            }
            let merged = &mut self.floats[index * dim..(index + 1) * dim];
            if merge == Merge::Last {
                merged.copy_from_slice(given);
            } else {
                merged.iter_mut().zip(given).for_each(|(sum, gradient)| *sum += gradient);
            }
        }
        if !valid {
            // Only a refusal pays for finding the float.
            let keys = self.indexes.iter().map(|index| self.keys[*index as usize]);
            let positions = self.positions.iter().map(|position| *position as usize);
            return Err(WrongFloat::first(keys.zip(positions), floats, dim));
        }
        match merge {
            Merge::Gradients(Duplicates::Sequential) => return self.list_steps(),
            Merge::Gradients(Duplicates::Mean) => self.divide(dim, occurrences)?,
            _ => {}
        }
        if merge == Merge::Last { Ok(()) } else { self.check_sums(dim) }
    }

    /// Lists the keys of the steps, unless each key has one.
    fn list_steps(&mut self) -> std::result::Result<(), WrongFloat> {
        if self.positions.len() > self.keys.len() {
            self.step_keys.try_reserve(self.indexes.len()).map_err(|_| WrongFloat::Memory)?;
            self.step_keys.extend(self.indexes.iter().map(|index| self.keys[*index as usize]));
        }
        Ok(())
    }

    /// The keys of the steps, in their order.
    pub(super) fn keys_of_steps(&self) -> &[i64] {
        if self.step_keys.is_empty() { &self.keys } else { &self.step_keys }
    }

    /// What an entry in the journal has of the part: the keys of the steps.
    pub(super) fn keys_in_journal(&self) -> IoSlice<'_> {
        IoSlice::new(bytemuck::cast_slice(self.keys_of_steps()))
    }

    /// As [`Part::keys_in_journal`]: their floats.
    pub(super) fn floats_in_journal(&self) -> IoSlice<'_> {
        IoSlice::new(bytemuck::cast_slice(&self.floats))
    }

    /// How many steps there are.
    pub(super) fn steps(&self) -> usize {
        self.keys_of_steps().len()
    }

    /// Whether each key has one step.
    pub(super) fn is_one_step_each(&self) -> bool {
        self.step_keys.is_empty()
    }

    /// The index in `keys` of a step's key.
    #[inline(always)]
    pub(super) fn index_of(&self, step: usize) -> usize {
        if self.is_one_step_each() { step } else { self.indexes[step] as usize }
    }

    /// The place of a step's row.
    #[inline(always)]
    pub(super) fn place_of(&self, step: usize) -> Place {
        self.places[self.index_of(step)]
    }

    /// The gradient of a step.
    #[inline(always)]
    pub(super) fn gradient(&self, step: usize, dim: usize) -> &[f32] {
        &self.floats[step * dim..(step + 1) * dim]
    }

    /// Makes means of sums.
    fn divide(
        &mut self,
        dim: usize,
        occurrences: Option<&[u32]>,
    ) -> std::result::Result<(), WrongFloat> {
        refill(&mut self.counts, 0, self.keys.len()).map_err(|_| WrongFloat::Memory)?;
        for (index, position) in self.indexes.iter().zip(&self.positions) {
            let count = &mut self.counts[*index as usize];
            let more = occurrences.map_or(1, |numbers| numbers[*position as usize]);
            *count = count.saturating_add(more);
        }
        for (sum, &count) in self.floats.chunks_exact_mut(dim).zip(&self.counts) {
            // Rounding may carry a mean of the largest gradients beyond the largest.
            let mean = |sum: f32| (sum / count as f32).clamp(-MAX_GRADIENT, MAX_GRADIENT);
            sum.iter_mut().for_each(|float| *float = mean(*float));
        }
        Ok(())
    }

    /// Refuses sums that are too large. Gradients within the limit can add up to one beyond it.
    fn check_sums(&self, dim: usize) -> std::result::Result<(), WrongFloat> {
        if are_gradients(&self.floats) {
            return Ok(());
        }
        let index = self.floats.chunks_exact(dim).position(|sum| !are_gradients(sum));
        Err(WrongFloat::Sum(index.map_or(0, |index| self.keys[index])))
    }
}

impl From<WrongFloat> for Error {
    fn from(wrong: WrongFloat) -> Error {
        match wrong {
            WrongFloat::Float { key, position, column, float } => Error::invalid(format!(
                "the gradient of key {key} (position {position}, column {column}) is {float:?}; \
                 {GRADIENT_WORDS} are needed, and no row was changed"
            )),
            WrongFloat::Nothing => {
                Error::bug("a batch was refused for a wrong float, and has none")
            }
            WrongFloat::Sum(key) => Error::invalid(format!(
                "the gradients of key {key} add up to more than 1e18; smaller ones are needed, and \
                 no row was changed"
            )),
            WrongFloat::Memory => Error::out_of_memory(
                "the bytes of memory that the call needs cannot be had; make smaller calls",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_refused_for_its_first_wrong_float() {
        let floats = [1.0, f32::NAN, 1.0, 2e18, 1.0, 1.0];
        let wrong = |keys: &[i64], positions: &[u32]| {
            let merge = Merge::Gradients(Duplicates::Sum);
            let (keys, positions) = (keys.to_vec(), positions.to_vec());
            let indexes = (0..keys.len() as u32).collect();
            let mut part = Part { keys, positions, indexes, ..Part::default() };
            part.merge((&floats, None), 2, merge).unwrap_err()
        };
        let parts = [WrongFloat::Sum(6), wrong(&[7, 8], &[2, 1]), wrong(&[9], &[0])];
        let named = |wrong: WrongFloat| Error::from(wrong).message().to_owned();
        let first = parts.into_iter().min_by_key(WrongFloat::order).map(named).unwrap();
        assert!(first.contains("key 9 (position 0, column 1) is NaN"), "{first}");
        let alone = named(wrong(&[7, 8], &[2, 1]));
        assert!(alone.contains("key 8 (position 1, column 1) is 2e18"), "{alone}");
    }
}
