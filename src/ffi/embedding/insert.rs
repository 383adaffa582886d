//! `damo_embedding_insert`: pretrained weights as fresh rows.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Stores weights as fresh rows, for pretrained tables.
///
/// - keys: keys_len keys. Rows that exist are replaced. Of a key given twice the last one counts.
/// - weights: keys_len x dim floats, in key order.
///
/// A fresh row has the update count 0 and the optimizer's first state. With that state adam,
/// adagrad and their kin take large steps at first, which can ruin what was trained;
/// damo_embedding_insert_records stores the state, too. Under ftrl the weights follow from the
/// state: it is set so that steps continue from these weights.
///
/// Errors, after which nothing has changed:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a weights_len that is not
///   keys_len x dim; a weight that is NaN or infinite; the padding key.
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED; NOT_SUPPORTED with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_insert(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    weights: *const f32,
    weights_len: usize,
) -> damo_status {
    guard::status("damo_embedding_insert", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, keys, weights) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice(weights, weights_len, "weights")?,
            )
        };
        embedding.inner.insert(keys, weights)
    })
}
