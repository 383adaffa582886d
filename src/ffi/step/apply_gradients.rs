//! `damo_step_apply_gradients`: the gradients of all parts, as one transaction.

use super::{damo_rows, damo_step, gradients as gradients_of, locked};
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Steps all groups with the gradients of the parts' rows, as one transaction.
///
/// - gradients: parts_len of them, in the order of the parts: the gradients of what
///   damo_step_lookup writes, in the same layout. They are only read, and may overlap.
/// - parts_len: the number of parts.
///
/// A bag's gradient goes to its keys. With pooling "sum" each gets it, times its weight; with
/// "mean" each gets it divided by their number; with "max" each column goes to the key that had the
/// largest value in the latest damo_step_lookup or damo_step_peek of these parts. The gradients of
/// a key are added up over all bags and parts; with the option duplicates "mean", their mean is
/// taken. Then each key takes one optimizer step.
///
/// The global step of each group with a part rises by one. All groups change together or not at
/// all: in the journal (one entry and, with durability "power", one fsync), in checkpoints, dumps
/// and iterators. A lookup meanwhile may see some rows changed and others not.
///
/// With the option non_finite "skip" gradients that are NaN, infinite or beyond 1e18 are no error:
/// nothing changes, and damo_step_skipped says 1.
///
/// Keys without a row get one first, and those that a filter does not admit are left out, as in
/// damo_embedding_apply_gradients.
///
/// Errors, after which nothing has changed in any group:
/// - INVALID_ARGUMENT: a NULL handle; another number of gradients than parts; gradients whose
///   number of rows is not that of keys or bags; a stride below dim; a NULL buffer with a length; a
///   float that is NaN, infinite or beyond 1e18, if it goes to a key (the message has its part, row
///   and column); gradients of a key that add up to more than 1e18; pooling "max" without a lookup
///   or peek since the part was added.
/// - NOT_SUPPORTED: the storage is open with read_only.
/// - BUSY: another thread is using the step.
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_apply_gradients(
    step: *mut damo_step,
    gradients: *const damo_rows,
    parts_len: usize,
) -> damo_status {
    guard::status("damo_step_apply_gradients", || {
        // SAFETY: the contract of `arguments`, for each of the gradients.
        unsafe {
            let mut step = locked(step)?;
            step.forget_outcome();
            let gradients = arguments::slice(gradients, parts_len, "gradients")?;
            let gradients = gradients_of(&step, gradients)?;
            step.apply_gradients(&gradients)
        }
    })
}
