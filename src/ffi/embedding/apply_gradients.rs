//! `damo_embedding_apply_gradients`: one step of the optimizer.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Steps the optimizer: applies gradients to the rows of keys.
///
/// - keys: keys_len keys. A key without a row gets one first. The option duplicates says what
///   happens to a key that is given twice.
/// - gradients: keys_len x dim floats, in key order. The options clip_value, clip_row_norm and
///   clip_norm limit them (damo_embedding_new).
///
/// The group's global step rises by one a call. All rows of the call and the step change together
/// or not at all.
///
/// With the option non_finite "skip" a call with a gradient that is NaN, infinite or beyond 1e18 in
/// size is skipped: it returns OK, and neither rows nor the global step have changed. The statistic
/// steps_skipped counts such calls. To know whether a call was skipped, use a damo_step with one
/// part (damo_step_skipped).
///
/// Errors, after which nothing has changed (for IO see "Input and output errors" above):
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a gradients_len that is not
///   keys_len x dim; a gradient that is NaN, infinite or beyond 1e18 in size (the message names its
///   key).
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED; NOT_SUPPORTED with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_apply_gradients(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    gradients: *const f32,
    gradients_len: usize,
) -> damo_status {
    guard::status("damo_embedding_apply_gradients", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, keys, gradients) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice(gradients, gradients_len, "gradients")?,
            )
        };
        embedding.inner.apply_gradients(keys, gradients)
    })
}
