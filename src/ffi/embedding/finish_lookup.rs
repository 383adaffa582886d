//! `damo_embedding_finish_lookup`: makes the weights of a begun lookup those of now.

use super::damo_embedding;
use crate::error::{Error, damo_status};
use crate::ffi::arguments::{bytes, check_all_apart};
use crate::ffi::{arguments, damo_lookup, guard};

/// Finishes a lookup: makes its weights what damo_embedding_lookup of its keys writes now.
///
/// - embedding: the one that began the lookup.
/// - weights: keys_len x dim floats, as damo_embedding_begin_lookup has written them.
/// - positions: keys_len numbers. Gets the positions of the keys whose weights were written, in
///   ascending order; the weights of all other keys are as they were.
/// - positions_len: keys_len.
/// - changed: gets how many positions there are. The rest of positions may be written, too.
///
/// Rows that were changed, deleted, made or loaded from a checkpoint since, by whomever, are read
/// again. Rows are made, and a filter counts, as in a lookup. So training is bit for bit what it is
/// with damo_embedding_lookup here and no begun lookup. This costs less where few rows have
/// changed. With a filter, in a storage that is open with read_only, and for at most 256 keys or
/// more than 2^20, all keys are looked up again, and weights that have not changed are left alone.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; overlapping buffers; a lookup
///   that is finished, that another thread is finishing, or that was begun with another embedding;
///   a weights_len that is not keys_len x dim; a positions_len that is not keys_len. The lookup is
///   as it was.
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED. Weights may be partly written, and the lookup
///   may be finished: call damo_embedding_lookup instead.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_finish_lookup(
    embedding: *const damo_embedding,
    lookup: *const damo_lookup,
    weights: *mut f32,
    weights_len: usize,
    positions: *mut i64,
    positions_len: usize,
    changed: *mut usize,
) -> damo_status {
    guard::status("damo_embedding_finish_lookup", || {
        let written = [
            bytes(weights, weights_len, "weights"),
            bytes(positions, positions_len, "positions"),
            bytes(changed, 1, "changed"),
        ];
        check_all_apart(&[], &written)?;
        // SAFETY: the contract of `arguments`; none of the buffers overlaps another one.
        let (embedding, lookup, weights, positions, changed) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::handle(lookup, "lookup")?,
                arguments::slice_mut(weights, weights_len, "weights")?,
                arguments::slice_mut(positions, positions_len, "positions")?,
                arguments::out(changed, "changed")?,
            )
        };
        // Not waited for: in a forked child the thread that has the lock may not exist.
        let mut lookup = lookup.inner.try_lock().ok_or_else(|| {
            Error::invalid("another thread is finishing the lookup; finish it on one only")
        })?;
        *changed = embedding.inner.finish_lookup(&mut lookup, weights, positions)?;
        Ok(())
    })
}
