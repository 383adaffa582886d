//! `damo_step_add_keys_counted`: a part with one row a key, of keys that are given once.

use super::{damo_step, locked};
use crate::error::damo_status;
use crate::ffi::{arguments, damo_embedding, guard};

/// Adds a part with one row a key, as damo_step_add_keys does, with how often each key occurs.
///
/// - embedding, keys: as for damo_step_add_keys.
/// - occurrences: keys_len numbers, 1 or more each, which are copied.
///
/// damo_step_lookup and damo_step_peek count every occurrence, as damo_embedding_lookup_counted
/// does. damo_step_apply_gradients takes one gradient a key: the sum of those of its occurrences
/// (damo_gradients_sum). With the option duplicates "mean" it divides the sum by their number, over
/// all parts with the key. So rows are those of parts with every occurrence.
///
/// Errors, after which the step has the parts that it had:
/// - INVALID_ARGUMENT: those of damo_step_add_keys; an occurrences_len that is not keys_len; an
///   occurrence of 0.
/// - OUT_OF_MEMORY, FORKED.
/// - BUSY: another thread is using the step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_add_keys_counted(
    step: *mut damo_step,
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    occurrences: *const u32,
    occurrences_len: usize,
) -> damo_status {
    guard::status("damo_step_add_keys_counted", || {
        // SAFETY: the contract of `arguments`.
        let (mut step, embedding, keys, occurrences) = unsafe {
            (
                locked(step)?,
                arguments::handle(embedding, "embedding")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice(occurrences, occurrences_len, "occurrences")?,
            )
        };
        step.add_counted(&embedding.inner, keys, occurrences)
    })
}
