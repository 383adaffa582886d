//! `damo_embedding_sum_gradients`: the gradients of a batch by key, before they are applied.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::arguments::{bytes, check_all_apart};
use crate::ffi::{arguments, guard};

/// Sums the gradients of a batch by key, as damo_embedding_apply_gradients does before it steps.
///
/// This is for trainers that need the norm of the sums before they step (to clip by the global
/// norm), or that add up several batches. When the option duplicates is "sum", a step with the sums
/// gives the same rows, bit for bit, as a step with the gradients. The sums are not clipped: only a
/// step clips them.
///
/// - keys: keys_len keys.
/// - gradients: keys_len x dim floats, in key order. Those of the padding key may be any floats.
/// - summed_keys: room for keys_len keys. Gets each key except the padding key once, in an
///   unspecified order.
/// - sums: room for keys_len x dim floats. Gets the sum of each key's gradients, dim floats, at the
///   same place. Sums are float32, added in the order of occurrence. When duplicates is "mean", the
///   mean is written. When it is "sequential", the sum is written, although
///   damo_embedding_apply_gradients takes one step for each occurrence.
/// - summed: becomes the number of keys that were written.
/// - norm: becomes the 2-norm of all sums together, added up in double precision. May be NULL.
/// - largest: becomes the largest absolute value among the sums. May be NULL.
///
/// Room that is not needed is left as it is. Nothing in the storage changes: no row is made, and no
/// filter counts. The storage may be open with read_only. Any number of threads may call this at
/// once, also beside calls that change rows.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a NULL handle or summed; a NULL buffer with a length; overlapping buffers; a
///   gradients_len that is not keys_len x dim; too little room; a gradient or sum that is NaN,
///   infinite or beyond 1e18 in size (the message names its key).
/// - IO: the storage has lost its database.
/// - OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_sum_gradients(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    gradients: *const f32,
    gradients_len: usize,
    summed_keys: *mut i64,
    summed_keys_len: usize,
    sums: *mut f32,
    sums_len: usize,
    summed: *mut usize,
    norm: *mut f64,
    largest: *mut f64,
) -> damo_status {
    guard::status("damo_embedding_sum_gradients", || {
        let read = [bytes(keys, keys_len, "keys"), bytes(gradients, gradients_len, "gradients")];
        let written = [
            bytes(summed_keys, summed_keys_len, "summed_keys"),
            bytes(sums, sums_len, "sums"),
            bytes(summed, 1, "summed"),
            bytes(norm, 1, "norm"),
            bytes(largest, 1, "largest"),
        ];
        check_all_apart(&read, &written)?;
        // SAFETY: the contract of `arguments`.
        let (embedding, keys, gradients) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice(gradients, gradients_len, "gradients")?,
            )
        };
        // SAFETY: as above; none of them overlaps another buffer.
        let (summed_keys, sums, summed, norm, largest) = unsafe {
            (
                arguments::slice_mut(summed_keys, summed_keys_len, "summed_keys")?,
                arguments::slice_mut(sums, sums_len, "sums")?,
                arguments::out(summed, "summed")?,
                arguments::optional_out(norm, "norm")?,
                arguments::optional_out(largest, "largest")?,
            )
        };
        let outcome = embedding.inner.sum_gradients(keys, gradients, summed_keys, sums)?;
        *summed = outcome.keys;
        arguments::give(norm, outcome.norm);
        arguments::give(largest, outcome.largest);
        Ok(())
    })
}
