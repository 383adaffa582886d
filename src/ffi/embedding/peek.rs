//! `damo_embedding_peek`: the weights of a batch; nothing is created.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::arguments::Reading;
use crate::ffi::{arguments, guard};

/// As damo_embedding_lookup, but creates nothing: a key without a row reads as zeros.
///
/// - keys: keys_len keys.
/// - weights: keys_len x dim floats, in key order.
/// - found: keys_len bytes, or NULL. Each becomes 1 for a key with a row and 0 for one without.
///
/// After an error weights may be partly written.
///
/// Errors: as damo_embedding_lookup, without POISONED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_peek(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    weights: *mut f32,
    weights_len: usize,
    found: *mut u8,
) -> damo_status {
    guard::status("damo_embedding_peek", || {
        // SAFETY: the contract of `arguments`.
        let embedding = unsafe { arguments::handle(embedding, "embedding") }?;
        embedding.inner.check_floats("weights", weights_len, keys_len)?;
        // SAFETY: the contract of `arguments`.
        let Reading { keys, weights, found } =
            unsafe { arguments::reading((keys, keys_len), (weights, weights_len), found) }?;
        embedding.inner.peek(keys, weights, found)
    })
}
