//! What a call that changes rows wants of one shard: its distinct keys, and the steps on them.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::cache::hash;
use crate::error::Error;
use crate::optimizer::{MAX_GRADIENT, are_gradients};
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

/// How floats that come with keys are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    Gradients(Duplicates),
    /// The last row of a key counts: insert.
    Last,
    /// There are none: delete.
    Keys,
}

/// Floats that are asked for ahead of their use, in keys.
const AHEAD: usize = 12;

/// A slot that is to be left alone.
pub(super) const SKIP: u32 = u32::MAX;
/// A row that is not resident yet.
pub(super) const NOT_RESIDENT: u32 = u32::MAX - 1;

#[derive(Default)]
pub(super) struct Part {
    pub(super) shard: usize,
    /// Distinct keys in order of their first occurrence.
    pub(super) keys: Vec<i64>,
    /// For each step the index of its key in `keys`; empty when each key has one step.
    pub(super) steps: Vec<u32>,
    /// The key of each step; empty when each key has one step.
    pub(super) step_keys: Vec<i64>,
    /// `dim` floats a step.
    pub(super) floats: Vec<f32>,
    /// The slots of `keys`, once they are known.
    pub(super) slots: Vec<u32>,
    /// Occurrences of `keys`, for means.
    counts: Vec<u32>,
    index: HashTable<u32>,
}

/// What keeps a part from being made.
pub(super) enum WrongFloat {
    /// A float is not a gradient; the caller says which.
    Float,
    /// The gradients of a key add up to more than can be.
    Sum(i64),
    Memory,
}

impl Part {
    /// Empties the part for another call, keeping its buffers.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.steps.clear();
        self.step_keys.clear();
        self.floats.clear();
        self.slots.clear();
        self.counts.clear();
        self.index.clear();
    }

    /// Bytes of the buffers.
    pub(super) fn capacity(&self) -> usize {
        self.floats.capacity() * 4 + self.keys.capacity() * 40
    }

    /// Takes the shard's keys with their floats, `dim` each, from the caller's batch.
    pub(super) fn fill(
        &mut self,
        (keys, positions): (&[i64], &[u32]),
        floats: &[f32],
        dim: usize,
        merge: Merge,
    ) -> std::result::Result<(), WrongFloat> {
        self.reserve(keys.len(), dim, merge)?;
        let sequential = merge == Merge::Gradients(Duplicates::Sequential);
        let mut valid = true;
        for (index, (&key, &position)) in keys.iter().zip(positions).enumerate() {
            if let Some(&later) = positions.get(index + AHEAD)
                && merge != Merge::Keys
            {
                let start = later as usize * dim;
                prefetch_floats(&floats[start..start + dim], 4);
            }
            let (slot, is_new) = self.slot(key);
            let position = position as usize;
            let given = match merge {
                Merge::Keys => continue,
                _ => &floats[position * dim..(position + 1) * dim],
            };
            if merge != Merge::Last {
                valid &= are_gradients(given);
            }
            if sequential {
                self.steps.push(slot as u32);
                self.step_keys.push(key);
                self.floats.extend_from_slice(given);
            } else if is_new {
                self.floats.extend_from_slice(given);
                self.counts.push(1);
            } else {
                let merged = &mut self.floats[slot * dim..(slot + 1) * dim];
                if merge == Merge::Last {
                    merged.copy_from_slice(given);
                } else {
                    merged.iter_mut().zip(given).for_each(|(sum, gradient)| *sum += gradient);
                    self.counts[slot] += 1;
                }
            }
        }
        if !valid {
            return Err(WrongFloat::Float);
        }
        if merge == Merge::Gradients(Duplicates::Mean) {
            self.divide(dim);
        }
        if matches!(merge, Merge::Gradients(Duplicates::Sum | Duplicates::Mean)) {
            self.check_sums(dim)?;
        }
        // Keys that all came once are stepped once each, whatever was asked for.
        if sequential && self.steps.len() == self.keys.len() {
            self.steps.clear();
            self.step_keys.clear();
        }
        Ok(())
    }

    /// The keys of the steps, in their order.
    pub(super) fn keys_of_steps(&self) -> &[i64] {
        if self.step_keys.is_empty() { &self.keys } else { &self.step_keys }
    }

    fn reserve(
        &mut self,
        keys: usize,
        dim: usize,
        merge: Merge,
    ) -> std::result::Result<(), WrongFloat> {
        let memory = |_| WrongFloat::Memory;
        self.keys.try_reserve(keys).map_err(memory)?;
        self.slots.try_reserve(keys).map_err(memory)?;
        self.counts.try_reserve(keys).map_err(memory)?;
        if merge != Merge::Keys {
            self.floats.try_reserve(keys * dim).map_err(memory)?;
        }
        if merge == Merge::Gradients(Duplicates::Sequential) {
            self.steps.try_reserve(keys).map_err(memory)?;
            self.step_keys.try_reserve(keys).map_err(memory)?;
        }
        let distinct = &self.keys;
        self.index
            .try_reserve(keys, |&slot| hash(distinct[slot as usize]))
            .map_err(|_| WrongFloat::Memory)
    }

    /// The index of a key among the distinct ones, and whether it is new there.
    #[inline(always)]
    fn slot(&mut self, key: i64) -> (usize, bool) {
        let keys = &mut self.keys;
        let same = |&slot: &u32| keys[slot as usize] == key;
        match self.index.entry(hash(key), same, |&slot| hash(keys[slot as usize])) {
            Entry::Occupied(entry) => (*entry.get() as usize, false),
            Entry::Vacant(entry) => {
                let slot = self.keys.len();
                entry.insert(slot as u32);
                self.keys.push(key);
                (slot, true)
            }
        }
    }

    fn divide(&mut self, dim: usize) {
        for (sum, &count) in self.floats.chunks_exact_mut(dim).zip(&self.counts) {
            // Rounding may carry a mean of the largest beyond them.
            let mean = |sum: f32| (sum / count as f32).clamp(-MAX_GRADIENT, MAX_GRADIENT);
            sum.iter_mut().for_each(|float| *float = mean(*float));
        }
    }

    /// Gradients that are small enough can still add up to one that is not.
    fn check_sums(&self, dim: usize) -> std::result::Result<(), WrongFloat> {
        if are_gradients(&self.floats) {
            return Ok(());
        }
        let slot = self.floats.chunks_exact(dim).position(|sum| !are_gradients(sum));
        Err(WrongFloat::Sum(slot.map_or(0, |slot| self.keys[slot])))
    }
}

impl From<WrongFloat> for Error {
    fn from(refused: WrongFloat) -> Error {
        match refused {
            WrongFloat::Float => {
                Error::invalid("a gradient is not a number that rows can be stepped with")
            }
            WrongFloat::Sum(key) => Error::invalid(format!(
                "the gradients of key {key} add up to more than 1e18; smaller ones are needed, and no row was changed"
            )),
            WrongFloat::Memory => Error::out_of_memory(
                "the bytes of memory that the call needs cannot be had; make smaller calls",
            ),
        }
    }
}
