//! `damo_step_add_bags`: a part with one row a bag of keys.

use std::ffi::c_char;

use super::{damo_step, locked};
use crate::bags::{Offsets, Pooling};
use crate::error::{Error, Result, damo_status};
use crate::ffi::{arguments, damo_embedding, guard};
use crate::step::GivenBags;

/// Adds a part with one row a bag. A bag is some consecutive keys. Their rows are pooled to one, as
/// torch.nn.functional.embedding_bag does.
///
/// - embedding: as for damo_step_add_keys. The padding key is left out of bags: it is in no sum,
///   mean or largest value, and gets no gradient.
/// - keys: keys_len keys. A key may occur several times.
/// - offsets: the index of each bag's first key, in ascending order. The first is 0. Two that are
///   equal make a bag without keys, whose row is zeros.
/// - has_last_offset: whether offsets has one more number behind those of the bags: keys_len.
/// - pooling: "sum", "mean" or "max". If several keys of a bag have the largest value of a column,
///   the first one counts.
/// - weights: keys_len floats that rows are multiplied with, for "sum" only; or NULL.
///
/// Keys, offsets and weights are copied. Sums are float32, added in the order of keys.
///
/// Errors, after which the step has the parts that it had:
/// - INVALID_ARGUMENT: those of damo_step_add_keys; offsets that are not those of bags (the message
///   has the index and value); an unknown pooling; weights with another pooling than "sum".
/// - OUT_OF_MEMORY, FORKED.
/// - BUSY: another thread is using the step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_add_bags(
    step: *mut damo_step,
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    offsets: *const i64,
    offsets_len: usize,
    has_last_offset: bool,
    pooling: *const c_char,
    weights: *const f32,
) -> damo_status {
    guard::status("damo_step_add_bags", || {
        // SAFETY: the contract of `arguments`; weights are NULL or as many as keys.
        let (mut step, embedding, keys, offsets, pooling, weights) = unsafe {
            let weights_len = if weights.is_null() { 0 } else { keys_len };
            (
                locked(step)?,
                arguments::handle(embedding, "embedding")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice(offsets, offsets_len, "offsets")?,
                arguments::text(pooling, "pooling")?,
                arguments::slice(weights, weights_len, "weights")?,
            )
        };
        let offsets = Offsets { offsets, has_last: has_last_offset };
        let has_weights = weights.len() == keys.len() && !weights.is_empty();
        let weights = has_weights.then_some(weights);
        let bags = GivenBags { offsets, pooling: pooling_of(pooling)?, weights };
        step.add(&embedding.inner, keys, Some(bags))
    })
}

fn pooling_of(name: &str) -> Result<Pooling> {
    let known = [Pooling::Sum, Pooling::Mean, Pooling::Max];
    known.into_iter().find(|pooling| pooling.name() == name).ok_or_else(|| {
        Error::invalid(format!("pooling is '{name}'; 'sum', 'mean' or 'max' is needed"))
    })
}
