//! `damo_embedding_delete`: removes the rows of a batch.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Deletes the rows of keys. A later lookup makes a fresh row.
///
/// - keys: keys_len keys. A key without a row is not an error.
///
/// Errors, after which nothing has changed:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length.
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED; NOT_SUPPORTED with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_delete(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
) -> damo_status {
    guard::status("damo_embedding_delete", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, keys) = unsafe {
            (arguments::handle(embedding, "embedding")?, arguments::slice(keys, keys_len, "keys")?)
        };
        embedding.inner.delete(keys)
    })
}
