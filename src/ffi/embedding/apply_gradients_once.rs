//! `damo_embedding_apply_gradients_once`: gradients of a batch, for callers that send calls again.

use super::{damo_embedding, expected_step};
use crate::embedding::CallId;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// As damo_embedding_apply_gradients, once: a call that is stored already is not made again.
///
/// A caller that gets no answer does not know whether its call was made. It sends the call again,
/// with the same client and sequence, until it gets an answer.
///
/// - client: a number that the caller has given itself. No other caller has it.
/// - sequence: which of the client's calls this is. It rises over all of the client's calls, on
///   whatever groups; gaps are allowed.
/// - expected: the global step that the group must have before the call, a number >= 0, or
///   DAMO_ANY_STEP.
/// - keys, gradients: as in damo_embedding_apply_gradients.
/// - applied: becomes true when the call was made now. It becomes false, and nothing changes, when
///   the group already has this call of the client, or a later one; expected and gradients do not
///   matter then. It also becomes false when the call is skipped (option non_finite), which stores
///   nothing. May be NULL.
///
/// The client and its sequence are stored with the call, whole or not at all. They are part of
/// checkpoints, and damo_storage_describe lists them. 30 days after its latest call on a group a
/// client is forgotten there; damo_storage_forget_client forgets it at once. damo_embedding_clear
/// forgets no client.
///
/// A client has one call on a group under way at a time. Once a call is stored, an earlier one of
/// the client is not made any more.
///
/// With durability "checkpoint" a kill may leave rows that are newer than what is stored of
/// clients. Load the last checkpoint then.
///
/// A filter counts what lookups see. A lookup that is sent again is counted again.
///
/// Errors: as damo_embedding_apply_gradients, and
/// - STEP_MISMATCH: the call is not stored, and the group has another global step than is expected
///   (the message has it).
/// - INVALID_ARGUMENT: an expected step that is negative.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_apply_gradients_once(
    embedding: *const damo_embedding,
    client: u64,
    sequence: u64,
    expected: i64,
    keys: *const i64,
    keys_len: usize,
    gradients: *const f32,
    gradients_len: usize,
    applied: *mut bool,
) -> damo_status {
    guard::status("damo_embedding_apply_gradients_once", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, keys, gradients, applied) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice(gradients, gradients_len, "gradients")?,
                arguments::optional_out_bool(applied, "applied")?,
            )
        };
        let (call, expected) = (CallId { client, sequence }, expected_step(expected, "expected")?);
        let done = embedding.inner.apply_gradients_once(call, expected, keys, gradients)?;
        arguments::give(applied, u8::from(done));
        Ok(())
    })
}
