//! A call's part in one shard: its distinct keys with the gradients of duplicates summed, and the
//! steps on them.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::cache::{Place, hash};
use crate::error::Error;
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

/// How many keys ahead of their use floats are prefetched.
const AHEAD: usize = 12;

/// The keys and floats of a call that belong to one shard.
#[derive(Default)]
pub(super) struct Part {
    pub(super) shard: usize,
    /// Distinct keys in order of their first occurrence.
    pub(super) keys: Vec<i64>,
    /// The index in `keys` of each step's key; empty when each key has one step.
    pub(super) steps: Vec<u32>,
    /// The key of each step; empty when each key has one step.
    pub(super) step_keys: Vec<i64>,
    /// `dim` floats a step.
    pub(super) floats: Vec<f32>,
    /// The places of the rows of `keys`, once they are known.
    pub(super) places: Vec<Place>,
    /// Why the part could not be made.
    pub(super) wrong: Option<WrongFloat>,
    /// Occurrences of `keys`, for means.
    counts: Vec<u32>,
    /// Indexes into `keys`, by key.
    index: HashTable<u32>,
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
    /// the batch, `floats` `dim` floats a position.
    pub(super) fn first(
        mut rows: impl Iterator<Item = (i64, usize)>,
        floats: &[f32],
        dim: usize,
    ) -> WrongFloat {
        let wrong = rows.find_map(|(key, position)| {
            let row = &floats[position * dim..(position + 1) * dim];
            let column = row.iter().position(|float| !is_gradient(*float))?;
            Some(WrongFloat::Float { key, position, column, float: row[column] })
        });
        wrong.unwrap_or(WrongFloat::Nothing)
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
    /// Empties the part for another call, and keeps its buffers.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.steps.clear();
        self.step_keys.clear();
        self.floats.clear();
        self.places.clear();
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
            let (distinct, is_new) = self.index_of(key);
            let position = position as usize;
            let given = match merge {
                Merge::Keys => continue,
                _ => &floats[position * dim..(position + 1) * dim],
            };
            if merge != Merge::Last {
                valid &= are_gradients(given);
            }
            if sequential {
                self.steps.push(distinct as u32);
                self.step_keys.push(key);
                self.floats.extend_from_slice(given);
            } else if is_new {
                self.floats.extend_from_slice(given);
                self.counts.push(1);
            } else {
                let merged = &mut self.floats[distinct * dim..(distinct + 1) * dim];
                if merge == Merge::Last {
                    merged.copy_from_slice(given);
                } else {
                    merged.iter_mut().zip(given).for_each(|(sum, gradient)| *sum += gradient);
                    self.counts[distinct] += 1;
                }
            }
        }
        if !valid {
            // Only a refusal pays for finding the float.
            let positions = positions.iter().map(|position| *position as usize);
            return Err(WrongFloat::first(keys.iter().copied().zip(positions), floats, dim));
        }
        self.finish(dim, merge)
    }

    /// Makes means of sums, looks at sums, and forgets the steps if every key came once: then each
    /// has one step.
    fn finish(&mut self, dim: usize, merge: Merge) -> std::result::Result<(), WrongFloat> {
        if merge == Merge::Gradients(Duplicates::Mean) {
            self.divide(dim);
        }
        if matches!(merge, Merge::Gradients(Duplicates::Sum | Duplicates::Mean)) {
            self.check_sums(dim)?;
        }
        let sequential = merge == Merge::Gradients(Duplicates::Sequential);
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
        self.places.try_reserve(keys).map_err(memory)?;
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
            .try_reserve(keys, |&index| hash(distinct[index as usize]))
            .map_err(|_| WrongFloat::Memory)
    }

    /// The index of a key among the distinct ones, and whether it is new there.
    #[inline(always)]
    fn index_of(&mut self, key: i64) -> (usize, bool) {
        let keys = &mut self.keys;
        let same = |&index: &u32| keys[index as usize] == key;
        match self.index.entry(hash(key), same, |&index| hash(keys[index as usize])) {
            Entry::Occupied(entry) => (*entry.get() as usize, false),
            Entry::Vacant(entry) => {
                let index = self.keys.len();
                entry.insert(index as u32);
                self.keys.push(key);
                (index, true)
            }
        }
    }

    fn divide(&mut self, dim: usize) {
        for (sum, &count) in self.floats.chunks_exact_mut(dim).zip(&self.counts) {
            // Rounding may carry a mean of the largest gradients beyond the largest.
            let mean = |sum: f32| (sum / count as f32).clamp(-MAX_GRADIENT, MAX_GRADIENT);
            sum.iter_mut().for_each(|float| *float = mean(*float));
        }
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
            Part::default().fill((keys, positions), &floats, 2, merge).unwrap_err()
        };
        let parts = [WrongFloat::Sum(6), wrong(&[7, 8], &[2, 1]), wrong(&[9], &[0])];
        let named = |wrong: WrongFloat| Error::from(wrong).message().to_owned();
        let first = parts.into_iter().min_by_key(WrongFloat::order).map(named).unwrap();
        assert!(first.contains("key 9 (position 0, column 1) is NaN"), "{first}");
        let alone = named(wrong(&[7, 8], &[2, 1]));
        assert!(alone.contains("key 8 (position 1, column 1) is 2e18"), "{alone}");
    }
}
