//! `damo_embedding_group`: the group's number.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Writes the group's number, which DAMO_GROUP_BY_NAME leaves open, to *group.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle or group.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_group(
    embedding: *const damo_embedding,
    group: *mut u32,
) -> damo_status {
    guard::status("damo_embedding_group", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, group) = unsafe {
            (arguments::handle(embedding, "embedding")?, arguments::out(group, "group")?)
        };
        *group = u32::from(embedding.inner.group().id());
        Ok(())
    })
}
