//! `damo_embedding_begin_lookup`: the weights of a batch as they are now, ahead of their lookup.

use super::damo_embedding;
use crate::ffi::arguments::Reading;
use crate::ffi::{arguments, damo_lookup, guard};
use crate::locks::Mutex;

/// Begins a lookup, for a trainer that knows its next batch. damo_embedding_finish_lookup finishes
/// it. Free it with damo_lookup_free.
///
/// - keys: keys_len keys, which are copied.
/// - weights: keys_len x dim floats, in key order. They are written as damo_embedding_peek writes
///   them: a key without a row reads as zeros.
///
/// Creates no row, and no filter counts the keys; statistics count them as those of a peek. Other
/// calls may use the same keys meanwhile. The weights can be sent to a GPU at once; finishing tells
/// which of them have changed since.
///
/// Returns NULL on failure and sets the last error; weights may be partly written:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; overlapping buffers; a
///   weights_len that is not keys_len x dim.
/// - OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_begin_lookup(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    weights: *mut f32,
    weights_len: usize,
) -> *mut damo_lookup {
    guard::handle("damo_embedding_begin_lookup", || {
        // SAFETY: the contract of `arguments`.
        let embedding = unsafe { arguments::handle(embedding, "embedding") }?;
        embedding.inner.check_floats("weights", weights_len, keys_len)?;
        // SAFETY: the contract of `arguments`.
        let Reading { keys, weights, .. } = unsafe {
            arguments::reading((keys, keys_len), (weights, weights_len), std::ptr::null_mut())
        }?;
        let lookup = embedding.inner.begin_lookup(keys, weights)?;
        Ok(damo_lookup { inner: Mutex::new(lookup) })
    })
}
