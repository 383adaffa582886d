//! `damo_step_lookup_at`: the rows of all parts, at the global steps that the caller expects.

use super::{damo_rows, damo_step, expected_steps, locked, outputs as outputs_of};
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// As damo_step_lookup, if the parts' groups are at the given global steps. It is for callers that
/// send calls again: see damo_step_apply_gradients_once.
///
/// - steps: parts_len global steps, in the order of the parts, each a number >= 0 or DAMO_ANY_STEP.
///   NULL: any. Parts of one group have the same step, or DAMO_ANY_STEP.
/// - outputs, parts_len: as in damo_step_lookup.
///
/// All rows of a group with a step are then of that step: calls that change the group wait until
/// this one is over, and so do other such lookups of the group.
///
/// Errors: as damo_step_lookup, and
/// - STEP_MISMATCH: a group has another global step (the message has both). Nothing is written.
/// - INVALID_ARGUMENT: a step that is negative; different steps for one group. Nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_lookup_at(
    step: *mut damo_step,
    steps: *const i64,
    outputs: *const damo_rows,
    parts_len: usize,
) -> damo_status {
    guard::status("damo_step_lookup_at", || {
        // SAFETY: the contract of `arguments`, for each of the outputs.
        unsafe {
            let mut step = locked(step)?;
            let outputs = arguments::slice(outputs, parts_len, "outputs")?;
            let outputs = outputs_of(&step, outputs)?;
            let steps = expected_steps(steps, parts_len, "steps")?;
            step.lookup_at(&steps, outputs)
        }
    })
}
