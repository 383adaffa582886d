//! `damo_step_lookup`: the rows of all parts.

use super::{damo_rows, damo_step, locked, outputs as outputs_of};
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Writes the rows of all parts. Keys without a row get one, as in damo_embedding_lookup.
///
/// - outputs: parts_len of them, in the order of the parts. outputs[i] gets the rows of part i, of
///   dim floats each: one for each key, or one for each bag. With a stride they may be columns of
///   one matrix.
/// - parts_len: the number of parts.
///
/// A key that a filter does not admit reads as its initial weights, also in a bag.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; another number of outputs than parts; outputs whose number of
///   rows is not that of keys or bags; a stride below dim; overlapping rows; a NULL buffer with a
///   length. Nothing is written.
/// - BUSY: another thread is using the step.
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED. Outputs may be partly written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_lookup(
    step: *mut damo_step,
    outputs: *const damo_rows,
    parts_len: usize,
) -> damo_status {
    guard::status("damo_step_lookup", || {
        // SAFETY: the contract of `arguments`, for each of the outputs.
        unsafe {
            let mut step = locked(step)?;
            let outputs = arguments::slice(outputs, parts_len, "outputs")?;
            let outputs = outputs_of(&step, outputs)?;
            step.lookup(outputs)
        }
    })
}
