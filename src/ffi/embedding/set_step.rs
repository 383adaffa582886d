//! `damo_embedding_set_step`: sets the global step.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Sets the group's global step, and stores it.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a negative step.
/// - POISONED, IO, FORKED; NOT_SUPPORTED with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_set_step(
    embedding: *const damo_embedding,
    step: i64,
) -> damo_status {
    guard::status("damo_embedding_set_step", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(embedding, "embedding") }?.inner.set_step(step)
    })
}
