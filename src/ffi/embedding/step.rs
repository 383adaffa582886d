//! `damo_embedding_step`: the group's global step.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Writes the group's global step to *step.
///
/// It is the number of damo_embedding_apply_gradients calls so far, over all openings, or continues
/// from what it was last set to. It drives the scheduler.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle or step.
/// - FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_step(
    embedding: *const damo_embedding,
    step: *mut i64,
) -> damo_status {
    guard::status("damo_embedding_step", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, step) =
            unsafe { (arguments::handle(embedding, "embedding")?, arguments::out(step, "step")?) };
        *step = embedding.inner.step()?;
        Ok(())
    })
}
