//! `damo_step_clear`: a step without parts.

use super::{damo_step, locked};
use crate::error::damo_status;
use crate::ffi::guard;

/// Removes all parts of a step. Their memory is kept for the next ones.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle.
/// - BUSY: another thread is using the step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_clear(step: *mut damo_step) -> damo_status {
    guard::status("damo_step_clear", || {
        // SAFETY: the contract of `arguments`.
        let mut step = unsafe { locked(step) }?;
        step.clear();
        Ok(())
    })
}
