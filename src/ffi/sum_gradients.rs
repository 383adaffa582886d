//! `damo_embedding_sum_gradients`: the gradients of a batch by key, before they are applied.

use super::arguments::{bytes, check_all_apart};
use super::{arguments, damo_embedding, guard};
use crate::error::damo_status;

/// Sums the gradients of a batch by key, as damo_embedding_apply_gradients does before it steps the
/// rows. For trainers that need the norm of the sums before they step (to clip by the global norm),
/// or that add up several batches. When the option "duplicates" is "sum", a step with the sums
/// gives the same rows, bit for bit, as a step with the gradients.
///
/// gradients has keys_len x dim floats, in key order. Each key except the padding key is written
/// once to summed_keys, in an unspecified order. The sum of its gradients, dim floats, is written
/// at the same place in sums. Sums are float32, added in the order of occurrence. When "duplicates"
/// is "mean", the mean is written. When it is "sequential", the sum is written, although
/// damo_embedding_apply_gradients takes one step for each occurrence.
///
/// summed_keys needs room for keys_len keys, and sums for keys_len x dim floats. Room that is not
/// needed is left as it is.
///
/// *summed becomes the number of keys that were written.
/// *norm becomes the 2-norm of all sums together, added up in double precision; may be NULL.
/// *largest becomes the largest absolute value among the sums; may be NULL.
///
/// Nothing in the storage changes: no row is made, and no filter counts. The storage may be
/// read_only. Any number of threads may call this at once, also beside calls that change rows.
/// Gradients of the padding key may be any floats.
///
/// Errors: INVALID_ARGUMENT for a NULL handle or summed, a NULL buffer with a length, overlapping
/// buffers, a gradients_len that is not keys_len x dim, too little room, and a gradient or sum that
/// is NaN, infinite or beyond 1e18 in size (the message names its key); OUT_OF_MEMORY; IO in a
/// storage that has lost its database; FORKED. Nothing is written then.
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
        if let Some(norm) = norm {
            *norm = outcome.norm;
        }
        if let Some(largest) = largest {
            *largest = outcome.largest;
        }
        Ok(())
    })
}
