//! `damo_embedding_prefetch`: rows in memory before they are used.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Brings the rows of keys into memory in the background, for a trainer that knows its next batch.
///
/// - keys: keys_len keys, which are copied.
///
/// Returns at once. It creates no row and changes none. Rows stay in memory until they are evicted,
/// so ask for a batch ahead, not for the whole table. It is a hint. If more than 2^24 (16 million)
/// keys would be waiting, these are left out. What goes wrong while reading comes out when the rows
/// are used.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length.
/// - IO: the background thread cannot be made.
/// - OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_prefetch(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
) -> damo_status {
    guard::status("damo_embedding_prefetch", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, keys) = unsafe {
            (arguments::handle(embedding, "embedding")?, arguments::slice(keys, keys_len, "keys")?)
        };
        embedding.inner.prefetch(keys)
    })
}
