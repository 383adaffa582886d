//! `damo_step_gradient_norm`: how large the latest gradients were.

use super::{damo_step, locked};
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Writes the 2-norm of the gradients of all keys together to *norm: that of the latest
/// damo_step_apply_gradients, before the option clip_norm made them smaller, and after the other
/// limits did; NaN if that call was skipped. It is added up in double precision, over the sums of
/// each key. For the norm alone, give a limit such as 1e300.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a NULL handle or norm; a step without the option clip_norm; the latest
///   damo_step_apply_gradients has failed, or its call was stored already, or there was none.
/// - BUSY: another thread is using the step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_gradient_norm(
    step: *mut damo_step,
    norm: *mut f64,
) -> damo_status {
    guard::status("damo_step_gradient_norm", || {
        // SAFETY: the contract of `arguments`.
        let (step, norm) = unsafe { (locked(step)?, arguments::out(norm, "norm")?) };
        *norm = step.gradient_norm()?;
        Ok(())
    })
}
