//! `damo_step_skipped`: whether the latest gradients were skipped.

use super::{damo_step, locked};
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Writes 1 to *skipped if the option non_finite "skip" made the latest damo_step_apply_gradients
/// skip its gradients. Writes 0 if that call applied them or failed, or if there was none.
///
/// A trainer that scales its loss makes the scale smaller after a skipped step. damo_storage_stat
/// has the number of skipped steps, as steps_skipped.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a NULL handle or skipped.
/// - BUSY: another thread is using the step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_skipped(step: *mut damo_step, skipped: *mut u8) -> damo_status {
    guard::status("damo_step_skipped", || {
        // SAFETY: the contract of `arguments`.
        let (step, skipped) = unsafe { (locked(step)?, arguments::out(skipped, "skipped")?) };
        *skipped = u8::from(step.skipped());
        Ok(())
    })
}
