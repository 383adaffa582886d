//! Apply gradients of a step: those of outputs become those of keys, and all groups change as one
//! transaction.

use super::group::StepGroup;
use super::part::Part;
use super::{Step, shapes_of};
use crate::embedding::{Applied, CallId, Expected, Given, NonFinite, apply_together, is_stored};
use crate::error::{Error, Result, Status};
use crate::kernels::Rows;
use crate::memory::room_for;
use crate::optimizer::{GRADIENT_WORDS, is_gradient};

/// What one thread does: a group with the gradients of its parts.
struct Work<'a> {
    group: &'a mut StepGroup,
    parts: Vec<(usize, &'a Part, Rows<'a>)>,
    outcome: Result<()>,
}

impl Work<'_> {
    /// The gradients as the caller gave them, if they need no copy: one part, without bags or gaps.
    fn whole(&self) -> Option<&[f32]> {
        match &*self.parts {
            [(_, part, gradients)] if !part.has_bags() => gradients.as_slice(),
            _ => None,
        }
    }

    fn run(&mut self) -> Result<()> {
        let Some(dim) = self.group.embedding().map(|embedding| embedding.dim()) else {
            return Ok(());
        };
        if self.whole().is_some() {
            return Ok(());
        }
        let (keys, floats) = self.group.with_floats(dim)?;
        for (number, part, gradients) in &self.parts {
            part.backward(*number, keys, *gradients, floats)?;
        }
        Ok(())
    }
}

impl Step {
    /// Steps all groups with the gradients of the parts' rows, as one transaction. The gradients of
    /// a key are added up over all parts, or their mean is taken with the option duplicates "mean".
    /// The global step of each group with a part rises by one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for gradients that do not fit the parts, for floats that are no gradients
    /// (the message has part, row and column), and for pooling "max" without a lookup or peek since
    /// the part was added; those of
    /// [`Embedding::apply_gradients`](crate::embedding::Embedding::apply_gradients). Nothing has
    /// changed in any group.
    ///
    /// With the option `non_finite` "skip" it is no error that floats are no gradients, and
    /// [`Step::skipped`] says so. Nothing has changed then, either.
    pub fn apply_gradients(&mut self, gradients: &[Rows<'_>]) -> Result<()> {
        self.forget_outcome();
        self.apply(gradients, Vec::new(), None).map(drop)
    }

    /// As [`Step::apply_gradients`], once: returns false, and nothing changes, when this call or a
    /// later one of its client is stored, or it is skipped. `expected` has a global step for each
    /// part, None for any; or it is empty.
    ///
    /// # Errors
    /// `STEP_MISMATCH` when the call is not stored, and a group has another step than is expected;
    /// `INVALID_ARGUMENT` for two steps of one group, and for a number that only some of the groups
    /// have stored; as [`Step::apply_gradients`]. Nothing has changed in any group.
    pub fn apply_gradients_once(
        &mut self,
        call: CallId,
        expected: &[Option<i64>],
        gradients: &[Rows<'_>],
    ) -> Result<bool> {
        self.forget_outcome();
        let expected = self.expected_of_groups("expected", expected)?;
        self.apply(gradients, expected, Some(call))
    }

    fn apply(
        &mut self,
        gradients: &[Rows<'_>],
        expected: Vec<Option<Expected>>,
        once: Option<CallId>,
    ) -> Result<bool> {
        self.check_rows("gradients", shapes_of(gradients))?;
        let call = self.storage.begin_call()?;
        let engine = self.storage.engine();
        engine.check_writable()?;
        if self.is_stored(once)? {
            return Ok(false);
        }
        let groups = &mut self.groups[..self.groups_len];
        let keys = groups.iter().map(|group| group.len()).sum();
        let mut works = room_for(groups.len())?;
        works.extend(groups.iter_mut().map(|group| Work {
            group,
            parts: Vec::new(),
            outcome: Ok(()),
        }));
        for (number, (part, gradients)) in self.parts.iter().zip(gradients).enumerate() {
            works[part.group].parts.push((number, part, *gradients));
        }
        engine.pool.each(keys, &mut works, |work| {
            work.outcome = work.run();
            Ok(())
        })?;
        for work in &mut works {
            std::mem::replace(&mut work.outcome, Ok(()))?;
        }
        drop(call);
        let mut given = room_for(works.len())?;
        for (number, work) in works.iter().enumerate() {
            let Some(embedding) = work.group.embedding() else { continue };
            let expected = expected.get(number).copied().flatten();
            let gradients = work.whole().unwrap_or_else(|| work.group.floats(embedding.dim()));
            let (keys, occurrences) = (work.group.keys(), work.group.occurrences());
            given.push(Given { embedding, keys, occurrences, gradients, expected });
        }
        let applied = apply_together(&self.storage, &mut given, &self.clip, self.non_finite, once);
        let applied = applied.map_err(|error| match error.status() {
            Status::InvalidArgument => self.first_wrong(gradients).unwrap_or(error),
            _ => error,
        })?;
        self.is_skipped = applied == Applied::Skipped;
        self.norm = match applied {
            Applied::Done(norm) => norm,
            Applied::Skipped => self.clip.norm.map(|_| f64::NAN),
            Applied::Stored => None,
        };
        Ok(matches!(applied, Applied::Done(_)))
    }

    /// Whether the call is stored. Asked before anything else: a call that is sent again may come
    /// without the lookup that its gradients need.
    fn is_stored(&self, once: Option<CallId>) -> Result<bool> {
        let Some(call) = once else { return Ok(false) };
        let embeddings = self.groups[..self.groups_len].iter().filter_map(StepGroup::embedding);
        let embeddings: Vec<_> = embeddings.map(|embedding| &**embedding).collect();
        is_stored(&self.storage, call, embeddings.into_iter())
    }
}

impl Step {
    /// Forgets whether the latest call was skipped, and its norm. Each call begins with this. A
    /// caller that may refuse gradients itself calls it before.
    pub fn forget_outcome(&mut self) {
        (self.is_skipped, self.norm) = (false, None);
    }

    /// Whether the latest call of [`Step::apply_gradients`] was skipped. False if it has failed.
    pub fn skipped(&self) -> bool {
        self.is_skipped
    }

    /// The 2-norm of the gradients of all keys together: those of the latest call of
    /// [`Step::apply_gradients`], before the option clip_norm made them smaller. NaN if that call
    /// was skipped.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a step without the option; before the first call, and if the latest
    /// one has failed, or was stored already.
    pub fn gradient_norm(&self) -> Result<f64> {
        self.norm.ok_or_else(|| {
            Error::invalid(match self.clip.norm {
                None => "the step has no option clip_norm; it is needed to measure the norm",
                Some(_) => {
                    "no gradients were applied: the latest call has failed or was stored already, \
                     or there was none; call damo_step_apply_gradients first"
                }
            })
        })
    }

    /// The error for the first float that is no gradient, if there is one. Floats that go to no key
    /// do not matter, nor those of embeddings that would skip the call.
    fn first_wrong(&self, gradients: &[Rows<'_>]) -> Option<Error> {
        for (number, (part, rows)) in self.parts.iter().zip(gradients).enumerate() {
            let group = &self.groups[part.group];
            let of_group = group.embedding().map(|embedding| embedding.non_finite());
            if self.non_finite.or(of_group) == Some(NonFinite::Skip) {
                continue;
            }
            let keys = group.keys();
            for row in (0..rows.count()).filter(|row| part.has_entry(keys, *row)) {
                let floats = rows.row(row);
                if let Some(column) = floats.iter().position(|float| !is_gradient(*float)) {
                    return Some(Error::invalid(format!(
                        "gradients[{number}], row {row}, column {column} is {:?}; \
                         {GRADIENT_WORDS} are needed, and no row was changed",
                        floats[column]
                    )));
                }
            }
        }
        None
    }
}
