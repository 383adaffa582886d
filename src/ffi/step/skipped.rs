//! `damo_step_skipped`: whether the latest gradients were skipped.

use super::{damo_step, locked};
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Writes to *skipped whether the latest damo_step_apply_gradients was skipped, as the option
/// non_finite "skip" says: 1 then, and 0 if it was applied, has failed, or there was none.
///
/// A trainer that scales its loss makes the scale smaller then. damo_storage_stat has the number of
/// skipped steps, as steps_skipped.
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
