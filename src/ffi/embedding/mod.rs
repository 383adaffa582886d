//! `damo_embedding`: one group of a storage, as a trainer uses it. One file a verb.

// In the order of the header. rustfmt sorts only what has no blank line in between.
mod begin_lookup;
mod finish_lookup;
mod lookup;
mod lookup_counted;
mod peek;
mod prefetch;

mod apply_gradients;
mod sum_gradients;

mod insert;
mod insert_records;
mod record;

mod clear;
mod delete;

mod group;
mod step;

mod set_filter;
mod set_step;

mod lookup_at;

mod apply_gradients_once;

use std::sync::Arc;

use super::{arguments, damo_initializer, damo_optimizer, damo_params, damo_storage, guard};
use crate::embedding::Embedding;
use crate::error::{Error, Result};

pub use apply_gradients::*;
pub use apply_gradients_once::*;
pub use begin_lookup::*;
pub use clear::*;
pub use delete::*;
pub use finish_lookup::*;
pub use group::*;
pub use insert::*;
pub use insert_records::*;
pub use lookup::*;
pub use lookup_at::*;
pub use lookup_counted::*;
pub use peek::*;
pub use prefetch::*;
pub use record::*;
pub use set_filter::*;
pub use set_step::*;
pub use step::*;
pub use sum_gradients::*;

/// One group of a storage with its optimizer and initializer: what a trainer calls.
///
/// Keeps its storage open. May be used by many threads at once: each gradient is applied exactly
/// once, and two calls on the same key follow each other in an unspecified order.
pub struct damo_embedding {
    pub(super) inner: Arc<Embedding>,
}

/// As the group of damo_embedding_new: the group whose name is the option name.
///
/// A name that no group has gets the lowest free number.
pub const DAMO_GROUP_BY_NAME: u32 = 4_294_967_294;

/// As the global step that a call expects: any step will do.
pub const DAMO_ANY_STEP: i64 = 9_223_372_036_854_775_807;

/// Opens a group of a storage, and registers it if it is new. Free it with damo_embedding_free.
///
/// - storage, optimizer, initializer: can be freed before the embedding.
/// - dim: the number of weights in a row, 1..262144.
/// - group: a number in 0..65535, or DAMO_GROUP_BY_NAME.
/// - options: may be NULL. Names (defaults):
///
/// ```text
///     duplicates    what damo_embedding_apply_gradients does with a key that is given twice:
///                   "sequential": one step for each occurrence, in order (the default);
///                   "sum", "mean": one step with the sum or mean of its gradients, as PyTorch and
///                   FBGEMM do
///     name          the group's name: 1 to 255 bytes of UTF-8 without control characters. A group
///                   without a name gets it, for good. It is stored, and part of checkpoints (none)
///     padding_key   a key that reads as zeros, never has a row, and whose gradients are dropped
///                   (none)
///     clip_value, clip_row_norm, clip_norm
///                   limits > 0 of the gradients of a call, applied in this order (none): of each
///                   float; of the 2-norm of each key's gradient; of the 2-norm of the gradients of
///                   all keys of the call together
///     max_norm      a limit > 0 of the 2-norm of a row's weights (none). Not with the optimizer
///                   "none", which takes no steps
///     non_finite    what a call does with gradients that are NaN, infinite or beyond 1e18.
///                   "refuse": it is an error (the default). "skip": the call returns OK, changes
///                   nothing, and is counted (damo_storage_stat: steps_skipped)
/// ```
///
/// Gradients are clipped after those of a key were merged. When duplicates is "sequential", the
/// gradient of each occurrence is clipped by itself. A gradient whose norm is beyond its limit is
/// multiplied by limit / (norm + 1e-6), as torch.nn.utils.clip_grad_norm_ does. In a damo_step each
/// embedding's limits come first, and then those of the step.
///
/// The weights of a row whose norm is beyond max_norm are multiplied by max_norm / (norm + 1e-7):
/// after every step of the row, and when it is made, before its first step. torch.nn.Embedding
/// scales rows when they are looked up; here a lookup changes no row. Lookups read the same in both
/// if a model is trained with max_norm from the start. Rows that were inserted, imported, committed
/// from a pin or stored without the option stay as they are until their next step. The optimizer's
/// state is never scaled.
///
/// A group keeps its dim and its optimizer's name for good. Hyper-parameters, scheduler,
/// initializer and max_norm may differ at the next opening. Embeddings that have a group open at
/// the same time should have one initializer and one max_norm: after a crash, a row that one of
/// them made and another one trained is made with the other's.
///
/// Returns NULL on failure and sets the last error:
/// - INVALID_ARGUMENT: a NULL handle; a dim or group out of range; a wrong option; max_norm with
///   the optimizer "none"; DAMO_GROUP_BY_NAME without a name.
/// - ALREADY_EXISTS: the group has another dim, optimizer or name; the name is another group's; all
///   65536 groups are taken.
/// - NOT_FOUND: the group does not exist, and the storage is open with read_only.
/// - NOT_SUPPORTED: a name for a group without one, and the storage is open with read_only.
/// - IO, OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_new(
    storage: *const damo_storage,
    optimizer: *const damo_optimizer,
    initializer: *const damo_initializer,
    dim: usize,
    group: u32,
    options: *const damo_params,
) -> *mut damo_embedding {
    guard::handle("damo_embedding_new", || {
        // SAFETY: the contract of `arguments`.
        let (storage, optimizer, initializer, options) = unsafe {
            (
                arguments::handle(storage, "storage")?,
                arguments::handle(optimizer, "optimizer")?,
                arguments::handle(initializer, "initializer")?,
                arguments::params(options, "options")?,
            )
        };
        let (optimizer, initializer) =
            (Arc::clone(&optimizer.inner), Arc::clone(&initializer.inner));
        let inner =
            Embedding::new(storage.inner.clone(), optimizer, initializer, dim, group, options)?;
        Ok(damo_embedding { inner: Arc::new(inner) })
    })
}

/// Frees an embedding, and closes its storage if no other handle has it. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_free(embedding: *mut damo_embedding) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(embedding) }
}

/// A global step that a call expects; None for any. `name` is the argument's.
pub(super) fn expected_step(step: i64, name: &str) -> Result<Option<i64>> {
    match step {
        DAMO_ANY_STEP => Ok(None),
        0.. => Ok(Some(step)),
        _ => Err(Error::invalid(format!(
            "{name} is {step}; a number >= 0, or DAMO_ANY_STEP, is needed"
        ))),
    }
}
