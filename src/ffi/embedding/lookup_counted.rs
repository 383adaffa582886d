//! `damo_embedding_lookup_counted`: a lookup of distinct keys, with how often each occurs.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::arguments::{bytes, check_all_apart};
use crate::ffi::{arguments, guard};

/// Looks up a batch that has each key as often as occurrences says, but gives each key's row once.
///
/// For callers that make their keys distinct before they call. damo_keys_partition writes
/// distinct_keys and occurrences.
///
/// - keys: keys_len keys.
/// - occurrences: keys_len numbers, 1 or more each: how often the key occurs.
/// - weights: keys_len x dim floats, in key order.
///
/// Rows, the statistics and a filter (damo_embedding_set_filter) are then as after a
/// damo_embedding_lookup of a batch that has each key that many times, one after the other. If a
/// key is given twice, its numbers are added.
///
/// Errors, after which weights may be partly written:
/// - INVALID_ARGUMENT: those of damo_embedding_lookup; an occurrences_len that is not keys_len; an
///   occurrence of 0. Nothing is counted or written.
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_lookup_counted(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    occurrences: *const u32,
    occurrences_len: usize,
    weights: *mut f32,
    weights_len: usize,
) -> damo_status {
    guard::status("damo_embedding_lookup_counted", || {
        // SAFETY: the contract of `arguments`.
        let embedding = unsafe { arguments::handle(embedding, "embedding") }?;
        embedding.inner.check_floats("weights", weights_len, keys_len)?;
        let read =
            [bytes(keys, keys_len, "keys"), bytes(occurrences, occurrences_len, "occurrences")];
        check_all_apart(&read, &[bytes(weights.cast_const(), weights_len, "weights")])?;
        // SAFETY: the contract of `arguments`; the weights overlap nothing.
        let (keys, occurrences, weights) = unsafe {
            (
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice(occurrences, occurrences_len, "occurrences")?,
                arguments::slice_mut(weights, weights_len, "weights")?,
            )
        };
        embedding.inner.lookup_counted(keys, occurrences, weights)
    })
}
