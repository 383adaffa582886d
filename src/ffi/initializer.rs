//! `damo_initializer`: the first weights of a row.

use std::ffi::c_char;
use std::sync::Arc;

use super::{arguments, damo_params, guard};
use crate::error::damo_status;
use crate::initializer::Initializer;
use crate::limits;

/// The first weights of a row: a pure function of (seed, group, key).
///
/// Names and parameters (defaults):
///
/// ```text
///     zeros
///     ones
///     constant         value (0)
///     random_uniform   min (-1), max (1), seed (0)      alias uniform
///     random_normal    mean (0), stddev (1), seed (0)   alias normal
///     truncate_normal  mean (0), stddev (1), seed (0)   within 2 stddev; alias truncated_normal
///     xavier_uniform   seed (0)                         within sqrt(3 / dim); alias xavier
/// ```
///
/// May be used by many threads at once.
pub struct damo_initializer {
    pub(super) inner: Arc<Initializer>,
}

/// Makes an initializer by name. Free it with damo_initializer_free.
///
/// params may be NULL.
///
/// Returns NULL on failure and sets the last error:
/// - INVALID_ARGUMENT: a NULL name; an unknown name (the message lists the known ones); a parameter
///   that is unknown, of a wrong type or out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_initializer_new(
    name: *const c_char,
    params: *const damo_params,
) -> *mut damo_initializer {
    guard::handle("damo_initializer_new", || {
        // SAFETY: the contract of `arguments`.
        let (name, params) =
            unsafe { (arguments::text(name, "name")?, arguments::params(params, "params")?) };
        Ok(damo_initializer { inner: Arc::new(Initializer::new(name, params)?) })
    })
}

/// Frees an initializer. NULL is a no-op. Embeddings made with it keep what they need.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_initializer_free(initializer: *mut damo_initializer) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(initializer) }
}

/// Writes the first weights of the row (group, key) into weights.
///
/// weights_len is the row's dim. group is at most 65535.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a group above 65535.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_initializer_fill(
    initializer: *const damo_initializer,
    group: u32,
    key: i64,
    weights: *mut f32,
    weights_len: usize,
) -> damo_status {
    guard::status("damo_initializer_fill", || {
        // SAFETY: the contract of `arguments`.
        let (initializer, weights) = unsafe {
            (
                arguments::handle(initializer, "initializer")?,
                arguments::slice_mut(weights, weights_len, "weights")?,
            )
        };
        initializer.inner.fill(limits::group(group)?, key, weights);
        Ok(())
    })
}
