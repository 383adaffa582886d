//! A training step over several features: one lookup for all, and one transaction for all
//! gradients.
//!
//! A step has parts. Each part is an embedding with keys, and has one row a key, or one a bag
//! (`bags`). Parts of one embedding share their keys' rows and gradients. Knows arrays and
//! embeddings; rows and the journal are the engine's.

mod apply_gradients;
mod group;
mod lookup;
mod part;

use std::sync::Arc;

use crate::embedding::{Clip, Embedding, Expected, NonFinite, check_occurrences};
use crate::error::{Error, Result};
use crate::kernels::{Rows, RowsMut};
use crate::params::Params;
use crate::storage::Storage;
use group::StepGroup;
use part::Part;

pub use part::GivenBags;

/// The parts of a training step. They can be replaced by others, which use the same memory.
#[derive(Debug)]
pub struct Step {
    storage: Storage,
    /// The parts in their order. Those from `parts_len` on wait to be used again.
    parts: Vec<Part>,
    parts_len: usize,
    /// The groups, one for each embedding, in the order of their first parts. Those from
    /// `groups_len` on wait to be used again.
    groups: Vec<StepGroup>,
    groups_len: usize,
    clip: Clip,
    /// What is done with wrong gradients; None: what their embeddings say.
    non_finite: Option<NonFinite>,
    /// The norm of the latest call's gradients, if it was measured.
    norm: Option<f64>,
    is_skipped: bool,
}

impl Step {
    /// A step without parts.
    pub fn new(storage: Storage) -> Step {
        Step {
            storage,
            parts: Vec::new(),
            parts_len: 0,
            groups: Vec::new(),
            groups_len: 0,
            clip: Clip::default(),
            non_finite: None,
            norm: None,
            is_skipped: false,
        }
    }

    /// As [`Step::new`], with the options clip_value, clip_row_norm, clip_norm and non_finite.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an option that is none, or a value that is not accepted.
    pub fn with_options(storage: Storage, options: &Params) -> Result<Step> {
        let mut reader = options.reader("step");
        let clip = Clip::read(&mut reader)?;
        let non_finite = NonFinite::read(&mut reader)?;
        reader.finish()?;
        Ok(Step { clip, non_finite, ..Step::new(storage) })
    }

    /// How many parts there are.
    pub fn parts(&self) -> usize {
        self.parts_len
    }

    /// The dim of each part. Refuses `given` lists if that is not the number of parts.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for another number of lists than parts.
    pub fn dims(&self, given: usize) -> Result<Vec<usize>> {
        if given != self.parts_len {
            return Err(Error::invalid(format!(
                "parts_len is {given} and the step has {} parts; one list of rows a part is needed",
                self.parts_len
            )));
        }
        let dim = |part: &Part| self.groups[part.group].embedding().map_or(0, |group| group.dim());
        Ok(self.parts[..self.parts_len].iter().map(dim).collect())
    }

    /// Removes all parts. Their memory is kept for the next ones.
    pub fn clear(&mut self) {
        self.groups[..self.groups_len].iter_mut().for_each(StepGroup::clear);
        (self.parts_len, self.groups_len) = (0, 0);
    }

    /// Adds a part behind the others: one row a key, or one a bag. Keys and bags are copied.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an embedding of another storage, a second embedding of a group, and
    /// bags that are none; `FORKED`, `OUT_OF_MEMORY`. No part was added.
    pub fn add(
        &mut self,
        embedding: &Arc<Embedding>,
        keys: &[i64],
        bags: Option<GivenBags<'_>>,
    ) -> Result<()> {
        self.add_part(embedding, (keys, None), bags)
    }

    /// As [`Step::add`], for keys that occur several times and are given once. Lookups count every
    /// occurrence, as [`Embedding::lookup_counted`] does. The part has one row a key all the same,
    /// and each row has one gradient: the sum of those of its occurrences. The option duplicates
    /// "mean" divides it by their number.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when there is not a number above 0 for each key; those of [`Step::add`].
    pub fn add_counted(
        &mut self,
        embedding: &Arc<Embedding>,
        keys: &[i64],
        occurrences: &[u32],
    ) -> Result<()> {
        check_occurrences(keys, occurrences)?;
        self.add_part(embedding, (keys, Some(occurrences)), None)
    }

    fn add_part(
        &mut self,
        embedding: &Arc<Embedding>,
        (keys, occurrences): (&[i64], Option<&[u32]>),
        bags: Option<GivenBags<'_>>,
    ) -> Result<()> {
        self.storage.check_process()?;
        let number = self.group_of(embedding)?;
        if number == self.groups.len() {
            self.groups.push(StepGroup::default());
        }
        if self.parts_len == self.parts.len() {
            self.parts.push(Part::default());
        }
        let group = &mut self.groups[number];
        let part = &mut self.parts[self.parts_len];
        part.set(embedding.padding(), keys, bags)?;
        (part.group, part.first) =
            (number, if number == self.groups_len { 0 } else { group.len() });
        let is_new = number == self.groups_len;
        group.add(embedding, (keys, occurrences), self.parts_len, is_new)?;
        self.parts_len += 1;
        self.groups_len = self.groups_len.max(number + 1);
        Ok(())
    }

    /// The number of an embedding's group in this step; a new number if it has no part yet.
    fn group_of(&self, embedding: &Arc<Embedding>) -> Result<usize> {
        if !std::ptr::eq(embedding.storage().engine(), self.storage.engine()) {
            return Err(Error::invalid(format!(
                "embedding is of the storage '{}', and the step of '{}'; an embedding of the \
                 step's storage is needed",
                embedding.storage().dir().display(),
                self.storage.dir().display()
            )));
        }
        let id = embedding.group().id();
        for (number, group) in self.groups[..self.groups_len].iter().enumerate() {
            let Some(known) = group.embedding() else { continue };
            if Arc::ptr_eq(known, embedding) {
                return Ok(number);
            }
            if known.group().id() == id {
                return Err(Error::invalid(format!(
                    "embedding is another one of group {id} than that of part {}; use one \
                     embedding for all parts of a group",
                    group.parts().first().copied().unwrap_or_default()
                )));
            }
        }
        Ok(self.groups_len)
    }

    /// The step that is expected of each group, of a list with one step a part, or an empty one.
    /// `argument` is what it is called.
    fn expected_of_groups(
        &self,
        argument: &'static str,
        by_part: &[Option<i64>],
    ) -> Result<Vec<Option<Expected>>> {
        if !by_part.is_empty() {
            self.dims(by_part.len())?;
        }
        let mut by_group: Vec<Option<Expected>> = vec![None; self.groups_len];
        for (number, (part, step)) in self.parts.iter().zip(by_part).enumerate() {
            let (Some(step), known) = (*step, &mut by_group[part.group]) else { continue };
            let known = known.get_or_insert(Expected { step, argument, part: Some(number) });
            if known.step != step {
                let group = self.groups[part.group].embedding().map(|group| group.group().id());
                return Err(Error::invalid(format!(
                    "{argument}[{}] is {} and {argument}[{number}] is {step}, and both parts are \
                     of group {}; one step for each group is needed",
                    known.part.unwrap_or_default(),
                    known.step,
                    group.unwrap_or_default()
                )));
            }
        }
        Ok(by_group)
    }

    /// Refuses rows that are not those of the parts. `name` is what they are called.
    fn check_rows(
        &self,
        name: &str,
        given: impl ExactSizeIterator<Item = (usize, usize)>,
    ) -> Result<()> {
        let dims = self.dims(given.len())?;
        for (number, ((part, dim), given)) in self.parts.iter().zip(dims).zip(given).enumerate() {
            let ((count, given_dim), wanted) = (given, (part.rows(), dim));
            if (count, given_dim) != wanted {
                let (rows, what) = (wanted.0, if part.has_bags() { "bag" } else { "key" });
                return Err(Error::invalid(format!(
                    "{name}[{number}] has {count} rows of {given_dim} floats; {rows} rows of {} \
                     are needed, one a {what}",
                    wanted.1
                )));
            }
        }
        Ok(())
    }
}

/// For each list of rows: the number of rows, and their dim.
fn shapes_of(rows: &[Rows<'_>]) -> impl ExactSizeIterator<Item = (usize, usize)> {
    rows.iter().map(|rows| (rows.count(), rows.dim()))
}

/// As [`shapes_of`].
fn shapes_of_mut(rows: &[RowsMut<'_>]) -> impl ExactSizeIterator<Item = (usize, usize)> {
    rows.iter().map(|rows| (rows.count(), rows.dim()))
}
