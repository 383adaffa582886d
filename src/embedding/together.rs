//! Apply gradients to several embeddings of a storage together.

use super::Embedding;
use crate::engine::rows::{Applied, Clip, Duplicates, Gradients, NonFinite, OfGroup};
use crate::error::Result;
use crate::memory::{filled, room_for};
use crate::storage::Storage;

/// The gradients of one embedding's keys.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Whose rows these are for.
    pub embedding: &'a Embedding,
    /// The keys, which may occur several times.
    pub keys: &'a [i64],
    /// `dim` floats a key.
    pub gradients: &'a [f32],
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
/// # Errors
/// As [`Embedding::apply_gradients`]. Nothing has changed in any group.
pub fn apply_together(
    storage: &Storage,
    given: &mut [Given<'_>],
    clip: &Clip,
    non_finite: Option<NonFinite>,
) -> Result<Applied> {
    let _call = storage.begin_call()?;
    let engine = storage.engine();
    engine.check_writable()?;
    given.sort_unstable_by_key(|given| given.embedding.group().id());
    let mut groups = room_for(given.len())?;
    for Given { embedding, keys, gradients } in given {
        embedding.check_floats("gradients", gradients.len(), keys.len())?;
        let duplicates = match embedding.options.duplicates {
            Duplicates::Sequential | Duplicates::Sum => Duplicates::Sum,
            Duplicates::Mean => Duplicates::Mean,
        };
        let non_finite = non_finite.unwrap_or(embedding.options.non_finite);
        let gradients =
            Gradients { duplicates, non_finite, ..embedding.gradients(keys, gradients) };
        let admitted = match embedding.attached.get() {
            None => None,
            Some(filter) => {
                let mut admitted = filled(0u8, keys.len())?;
                filter.check_batch(embedding.group().id().into(), keys, &mut admitted)?;
                Some(admitted)
            }
        };
        groups.push(OfGroup::new(&embedding.table, gradients, admitted.as_deref())?);
    }
    engine.apply_together(&groups, clip).map_err(|error| storage.in_dir(error))
}
