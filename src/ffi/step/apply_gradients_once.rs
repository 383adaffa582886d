//! `damo_step_apply_gradients_once`: the gradients of all parts, for callers that send calls again.

use super::{damo_rows, damo_step, expected_steps, gradients as gradients_of, locked};
use crate::embedding::CallId;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// As damo_step_apply_gradients, once: a call that is stored already is not made again.
///
/// A caller that gets no answer does not know whether its call was made. It sends the call again,
/// with the same client and sequence, until it gets an answer.
///
/// - client: a number that the caller has given itself. No other caller has it.
/// - sequence: which of the client's calls this is. It rises over all of the client's calls, on
///   whatever groups; gaps are allowed.
/// - expected: parts_len global steps, in the order of the parts: the steps that the groups must
///   have before the call, each a number >= 0 or DAMO_ANY_STEP. NULL: any. Parts of one group have
///   the same step, or DAMO_ANY_STEP.
/// - gradients, parts_len: as in damo_step_apply_gradients.
/// - applied: becomes true when the call was made now. It becomes false, and nothing changes, when
///   the groups already have this call of the client, or a later one; expected and gradients do not
///   matter then. It also becomes false when the call is skipped (see damo_step_skipped), which
///   stores nothing. May be NULL.
///
/// The client and its sequence are stored with the call, whole or not at all, for each group. They
/// are part of checkpoints, and damo_storage_describe lists them. 30 days after its latest call on
/// a group a client is forgotten there; damo_storage_forget_client forgets it at once.
/// damo_embedding_clear forgets no client.
///
/// A client has one call on a group under way at a time. Once a call is stored, an earlier one of
/// the client is not made any more.
///
/// With durability "checkpoint" a kill may leave rows that are newer than what is stored of
/// clients. Load the last checkpoint then.
///
/// Errors: as damo_step_apply_gradients, and
/// - STEP_MISMATCH: the call is not stored, and a group has another global step than is expected
///   (the message has both).
/// - INVALID_ARGUMENT: an expected step that is negative; different ones for one group; a sequence
///   that only some of the groups have stored, or a later one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_apply_gradients_once(
    step: *mut damo_step,
    client: u64,
    sequence: u64,
    expected: *const i64,
    gradients: *const damo_rows,
    parts_len: usize,
    applied: *mut bool,
) -> damo_status {
    guard::status("damo_step_apply_gradients_once", || {
        // SAFETY: the contract of `arguments`, for each of the gradients.
        unsafe {
            let mut step = locked(step)?;
            step.forget_outcome();
            let gradients = arguments::slice(gradients, parts_len, "gradients")?;
            let gradients = gradients_of(&step, gradients)?;
            let expected = expected_steps(expected, parts_len, "expected")?;
            let applied = arguments::optional_out_bool(applied, "applied")?;
            let call = CallId { client, sequence };
            let done = step.apply_gradients_once(call, &expected, &gradients)?;
            arguments::give(applied, u8::from(done));
            Ok(())
        }
    })
}
