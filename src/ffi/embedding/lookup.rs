//! `damo_embedding_lookup`: the weights of a batch; new keys get rows.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::arguments::Reading;
use crate::ffi::{arguments, guard};

/// Writes the weights of keys into weights, and creates the rows that are missing.
///
/// - keys: keys_len keys. A key given twice gives its row twice. The padding key reads as zeros.
/// - weights: keys_len x dim floats, in key order.
///
/// With a filter (damo_embedding_set_filter) only keys that were seen often enough get rows. In a
/// storage that is open with read_only no key gets one. A key that gets no row reads as its first
/// weights.
///
/// Errors, after which weights may be partly written:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; overlapping buffers; a
///   weights_len that is not keys_len x dim.
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_lookup(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    weights: *mut f32,
    weights_len: usize,
) -> damo_status {
    guard::status("damo_embedding_lookup", || {
        // SAFETY: the contract of `arguments`.
        let embedding = unsafe { arguments::handle(embedding, "embedding") }?;
        embedding.inner.check_floats("weights", weights_len, keys_len)?;
        // SAFETY: the contract of `arguments`.
        let Reading { keys, weights, .. } = unsafe {
            arguments::reading((keys, keys_len), (weights, weights_len), std::ptr::null_mut())
        }?;
        embedding.inner.lookup(keys, weights)
    })
}
