//! Lookup and peek of a step: the rows of all parts.

use std::sync::Arc;

use super::group::StepGroup;
use super::part::Part;
use super::{Step, shapes_of_mut};
use crate::embedding::{Embedding, Expected, KeyBatch, hold_steps};
use crate::engine::pool::Help;
use crate::error::{Error, Result};
use crate::kernels::RowsMut;
use crate::memory::room_for;

/// How the rows of keys are read.
type Read = fn(&Embedding, KeyBatch<'_>, &mut [f32]) -> Result<()>;

/// What one thread does: a group with its parts and their outputs.
struct Work<'a> {
    group: &'a mut StepGroup,
    parts: Vec<(&'a mut Part, RowsMut<'a>)>,
    outcome: Result<()>,
}

impl Step {
    /// Writes the rows of each part to its outputs, as [`Embedding::lookup`] and pooling do.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for outputs that do not fit the parts; those of [`Embedding::lookup`].
    /// Outputs may be partly written then.
    pub fn lookup(&mut self, outputs: Vec<RowsMut<'_>>) -> Result<()> {
        self.read(outputs, Vec::new(), Embedding::look_up)
    }

    /// As [`Step::lookup`], if groups have the global steps that are `expected` of them: one a
    /// part, None for any, or an empty list. All rows are then of these steps: calls that change
    /// the groups wait.
    ///
    /// # Errors
    /// `STEP_MISMATCH` when a group has another step: nothing is read. `INVALID_ARGUMENT` for two
    /// steps of one group; as [`Step::lookup`].
    pub fn lookup_at(&mut self, expected: &[Option<i64>], outputs: Vec<RowsMut<'_>>) -> Result<()> {
        let expected = self.expected_of_groups("steps", expected)?;
        self.read(outputs, expected, Embedding::look_up)
    }

    /// As [`Step::lookup`], but makes no rows: a key without a row reads as zeros.
    ///
    /// # Errors
    /// As [`Step::lookup`].
    pub fn peek(&mut self, outputs: Vec<RowsMut<'_>>) -> Result<()> {
        self.read(outputs, Vec::new(), Embedding::peek_rows)
    }

    fn read(
        &mut self,
        outputs: Vec<RowsMut<'_>>,
        expected: Vec<Option<Expected>>,
        read: Read,
    ) -> Result<()> {
        self.check_rows("outputs", shapes_of_mut(&outputs))?;
        let _call = self.storage.begin_call()?;
        let groups = &mut self.groups[..self.groups_len];
        let wanted = groups.iter().zip(expected);
        let wanted: Vec<_> = wanted
            .filter_map(|(group, expected)| Some((Arc::clone(group.embedding()?), expected?)))
            .collect();
        let wanted = wanted.iter().map(|(embedding, expected)| (&**embedding, *expected));
        let _held = hold_steps(&mut wanted.collect::<Vec<_>>())?;
        let keys = groups.iter().map(|group| group.len()).sum();
        let mut works = room_for(groups.len())?;
        works.extend(groups.iter_mut().map(|group| Work {
            group,
            parts: Vec::new(),
            outcome: Ok(()),
        }));
        for (part, outputs) in self.parts.iter_mut().zip(outputs) {
            part.forget_winners();
            works[part.group].parts.push((part, outputs));
        }
        // damo's own threads: a group's lookup is shared itself, and may wait for other calls.
        self.storage.engine().pool.each_on(Help::Own, keys, &mut works, |work| {
            work.outcome = work.run(read);
            Ok(())
        })?;
        works
            .into_iter()
            .try_for_each(|work| work.outcome)
            .map_err(|error: Error| self.storage.in_dir(error))
    }
}

impl Work<'_> {
    fn run(&mut self, read: Read) -> Result<()> {
        let Some(embedding) = self.group.embedding().cloned() else { return Ok(()) };
        let dim = embedding.dim();
        // Rows without pooling, one behind the other, are read straight into the output.
        if let [(part, outputs)] = &mut *self.parts
            && !part.has_bags()
            && let Some(outputs) = outputs.as_slice()
        {
            let (keys, occurrences) = (self.group.keys(), self.group.occurrences());
            return read(&embedding, embedding.counted_batch(keys, occurrences), outputs);
        }
        let (keys, occurrences, weights) = self.group.with_all(dim)?;
        read(&embedding, embedding.counted_batch(keys, occurrences), weights)?;
        for (part, outputs) in std::mem::take(&mut self.parts) {
            part.forward(keys, weights, outputs)?;
        }
        Ok(())
    }
}
