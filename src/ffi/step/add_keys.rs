//! `damo_step_add_keys`: a part with one row a key.

use super::{damo_step, locked};
use crate::error::damo_status;
use crate::ffi::{arguments, damo_embedding, guard};

/// Adds a part with one row a key, behind the others.
///
/// - embedding: of the step's storage. Several parts may have one embedding, but not two embeddings
///   of one group. It can be freed before the step.
/// - keys: keys_len keys, which are copied.
///
/// Errors, after which the step has the parts that it had:
/// - INVALID_ARGUMENT: a NULL handle; an embedding of another storage; another embedding of a group
///   than an earlier part's; a NULL buffer with a length.
/// - OUT_OF_MEMORY, FORKED.
/// - BUSY: another thread is using the step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_add_keys(
    step: *mut damo_step,
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
) -> damo_status {
    guard::status("damo_step_add_keys", || {
        // SAFETY: the contract of `arguments`.
        let (mut step, embedding, keys) = unsafe {
            (
                locked(step)?,
                arguments::handle(embedding, "embedding")?,
                arguments::slice(keys, keys_len, "keys")?,
            )
        };
        step.add(&embedding.inner, keys, None)
    })
}
