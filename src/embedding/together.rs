//! Apply gradients to several embeddings of a storage together.

use super::{CallId, Embedding};
use crate::engine::rows::{
    Applied, Clip, Duplicates, Expected, Gradients, NonFinite, OfGroup, Once,
};
use crate::error::Result;
use crate::memory::room_for;
use crate::storage::Storage;

/// The gradients of one embedding's keys.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Whose rows these are for.
    pub embedding: &'a Embedding,
    /// The keys, which may occur several times.
    pub keys: &'a [i64],
    /// How often each key occurs; None: once for each time it is given. A key that occurs several
    /// times has the sum of its gradients.
    pub occurrences: Option<&'a [u32]>,
    /// `dim` floats a key.
    pub gradients: &'a [f32],
    /// The global step that its group must have, for a call of a client.
    pub expected: Option<Expected>,
}

/// Steps rows of several groups as one transaction. Each group's global step rises by one.
///
/// The embeddings are of `storage`, and each of another group. The gradients of a key are added up,
/// or their mean is taken with the option duplicates "mean". They are clipped as each embedding's
/// options say, and then all together by `clip`. Otherwise rows change as with
/// [`Embedding::apply_gradients`].
///
/// Returns the norm of all gradients before `clip`, if it has a limit for it.
///
/// If gradients of some embeddings are wrong, all changes are refused or skipped together: skipped,
/// if all of these embeddings say so. `non_finite` takes the place of what embeddings say.
///
/// With `once` the call is made unless it, or a later one of its client, is stored.
///
/// # Errors
/// As [`Embedding::apply_gradients`] and [`Embedding::apply_gradients_once`]. Nothing has changed
/// in any group.
pub fn apply_together(
    storage: &Storage,
    given: &mut [Given<'_>],
    clip: &Clip,
    non_finite: Option<NonFinite>,
    once: Option<CallId>,
) -> Result<Applied> {
    let _call = storage.begin_call()?;
    let engine = storage.engine();
    engine.check_writable()?;
    given.sort_unstable_by_key(|given| given.embedding.group().id());
    let mut groups = room_for(given.len())?;
    let mut wanted = room_for(once.map_or(0, |_| given.len()))?;
    for Given { embedding, keys, occurrences, gradients, expected } in given {
        embedding.check_floats("gradients", gradients.len(), keys.len())?;
        let duplicates = match embedding.options.duplicates {
            Duplicates::Sequential | Duplicates::Sum => Duplicates::Sum,
            Duplicates::Mean => Duplicates::Mean,
        };
        let non_finite = non_finite.unwrap_or(embedding.options.non_finite);
        let batch = embedding.counted_batch(keys, *occurrences);
        let gradients =
            Gradients { batch, duplicates, non_finite, ..embedding.gradients(keys, gradients) };
        let admitted = embedding.attached.admitted(embedding.group().id(), keys)?;
        wanted.extend(once.map(|_| *expected));
        groups.push(OfGroup::new(&embedding.table, gradients, admitted.as_deref())?);
    }
    let once = once.map(|call| Once::new(call.client, call.sequence, wanted)).transpose()?;
    engine.apply_together(&groups, clip, once.as_ref()).map_err(|error| storage.in_dir(error))
}
