//! Calls that a caller may send again: they are made once, or at one global step only.

use super::Embedding;
use crate::engine::rows::{Applied, Clip, Expected, HeldSteps, OfGroup, Once};
use crate::error::Result;
use crate::memory::room_for;
use crate::storage::Storage;

/// A call of a client that numbers its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId {
    /// Whose call it is: a number that the client has given itself.
    pub client: u64,
    /// Which of its calls. It rises from call to call; gaps are allowed.
    pub sequence: u64,
}

impl Embedding {
    /// As [`Embedding::apply_gradients`], once: returns false, and nothing changes, when this call
    /// or a later one of its client is stored, or it is skipped. With `expected` it is made at this
    /// global step only.
    ///
    /// A client has one call on a group under way at a time. It is forgotten 30 days after its
    /// latest call.
    ///
    /// # Errors
    /// `STEP_MISMATCH` when the call is not stored, and the group has another step; as
    /// [`Embedding::apply_gradients`]. Nothing has changed.
    pub fn apply_gradients_once(
        &self,
        call: CallId,
        expected: Option<i64>,
        keys: &[i64],
        gradients: &[f32],
    ) -> Result<bool> {
        let _call = self.storage.begin_call()?;
        let engine = self.storage.engine();
        engine.check_writable()?;
        self.check_floats("gradients", gradients.len(), keys.len())?;
        let admitted = self.attached.admitted(self.group().id(), keys)?;
        let given = self.gradients(keys, gradients);
        let group = OfGroup::new(&self.table, given, admitted.as_deref())?;
        let expected = expected.map(|step| Expected { step, argument: "expected", part: None });
        let once = Once::new(call.client, call.sequence, vec![expected])?;
        let applied = engine.apply_together(&[group], &Clip::default(), Some(&once))?;
        Ok(matches!(applied, Applied::Done(_)))
    }

    /// As [`Embedding::lookup`], if the group's global step is `step`. All rows are then of that
    /// step: calls that change the group wait.
    ///
    /// # Errors
    /// `STEP_MISMATCH` when it is another one: nothing is read. As [`Embedding::lookup`].
    pub fn lookup_at(&self, step: i64, keys: &[i64], weights: &mut [f32]) -> Result<()> {
        self.try_lookup_at(step, keys, weights).map_err(|error| self.storage.in_dir(error))
    }

    fn try_lookup_at(&self, step: i64, keys: &[i64], weights: &mut [f32]) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.check_floats("weights", weights.len(), keys.len())?;
        let expected = Expected { step, argument: "step", part: None };
        let _held = hold_steps(&mut [(self, expected)])?;
        self.look_up(self.batch(keys), weights)
    }
}

/// Holds embeddings of different groups at the steps that are expected of them.
///
/// # Errors
/// `STEP_MISMATCH`, `OUT_OF_MEMORY`.
pub(crate) fn hold_steps<'a>(wanted: &mut [(&'a Embedding, Expected)]) -> Result<HeldSteps<'a>> {
    wanted.sort_unstable_by_key(|(embedding, _)| embedding.group().id());
    HeldSteps::new(wanted.iter().map(|(embedding, expected)| (&*embedding.table, *expected)))
}

/// Whether a call on these groups is stored: this one or a later one of its client.
///
/// # Errors
/// `INVALID_ARGUMENT` if only some of the groups have it; `POISONED`, `OUT_OF_MEMORY`.
pub(crate) fn is_stored<'a>(
    storage: &Storage,
    call: CallId,
    embeddings: impl ExactSizeIterator<Item = &'a Embedding>,
) -> Result<bool> {
    let mut groups = room_for(embeddings.len())?;
    groups.extend(embeddings.map(|embedding| &*embedding.table));
    groups.sort_unstable_by_key(|table| table.group().id());
    Once::new(call.client, call.sequence, Vec::new())?.is_stored(storage.engine(), &groups)
}
