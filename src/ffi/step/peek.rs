//! `damo_step_peek`: the rows of all parts, creating none.

use super::{damo_rows, damo_step, locked, outputs as outputs_of};
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Writes the rows of all parts as damo_step_lookup does, but creates none: a key without a row
/// reads as zeros, also in a bag. No filter counts the keys.
///
/// - outputs, parts_len: as for damo_step_lookup.
///
/// Errors: as damo_step_lookup, but never POISONED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_peek(
    step: *mut damo_step,
    outputs: *const damo_rows,
    parts_len: usize,
) -> damo_status {
    guard::status("damo_step_peek", || {
        // SAFETY: the contract of `arguments`, for each of the outputs.
        unsafe {
            let mut step = locked(step)?;
            let outputs = arguments::slice(outputs, parts_len, "outputs")?;
            let outputs = outputs_of(&step, outputs)?;
            step.peek(outputs)
        }
    })
}
