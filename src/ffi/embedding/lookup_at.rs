//! `damo_embedding_lookup_at`: the weights of a batch, at the global step that the caller expects.

use super::{damo_embedding, expected_step};
use crate::error::damo_status;
use crate::ffi::arguments::Reading;
use crate::ffi::{arguments, guard};

/// As damo_embedding_lookup, if the group's global step is step. It is for callers that send calls
/// again: see damo_embedding_apply_gradients_once.
///
/// - step: a number >= 0; or DAMO_ANY_STEP, which makes this damo_embedding_lookup.
/// - the others: as in damo_embedding_lookup.
///
/// All rows are then of that step: calls that change the group wait until this one is over, and so
/// do other such lookups of the group.
///
/// Errors: as damo_embedding_lookup, and
/// - STEP_MISMATCH: the group has another global step (the message has it). Nothing is written.
/// - INVALID_ARGUMENT: a step that is negative. Nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_lookup_at(
    embedding: *const damo_embedding,
    step: i64,
    keys: *const i64,
    keys_len: usize,
    weights: *mut f32,
    weights_len: usize,
) -> damo_status {
    guard::status("damo_embedding_lookup_at", || {
        // SAFETY: the contract of `arguments`.
        let embedding = unsafe { arguments::handle(embedding, "embedding") }?;
        embedding.inner.check_floats("weights", weights_len, keys_len)?;
        // SAFETY: the contract of `arguments`.
        let Reading { keys, weights, .. } = unsafe {
            arguments::reading((keys, keys_len), (weights, weights_len), std::ptr::null_mut())
        }?;
        match expected_step(step, "step")? {
            Some(step) => embedding.inner.lookup_at(step, keys, weights),
            None => embedding.inner.lookup(keys, weights),
        }
    })
}
