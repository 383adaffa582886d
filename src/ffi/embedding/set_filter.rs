//! `damo_embedding_set_filter`: which filter decides which keys get rows.

use std::sync::Arc;

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::{arguments, damo_filter, guard};

/// Attaches a filter in place of the one that is attached; NULL attaches none.
///
/// The embedding keeps what it needs, so the handle can be freed. A filter may serve many
/// embeddings, of any group: keys of different groups are different keys. Which filter an embedding
/// has is not stored: attach it each time the group is opened. It may get the counts of a
/// checkpoint: see damo_filter.
///
/// From then on:
/// - damo_embedding_lookup first counts every occurrence of a key, except of the padding key. Then
///   it makes rows for the keys that have been counted often enough (the filter's parameter count).
///   All other keys read as their first weights, and take no row and no disk space. A lookup that
///   fails may have counted.
/// - damo_embedding_apply_gradients drops the gradients of those other keys, which must be valid
///   nevertheless. The global step rises as ever.
/// - A key that has a row is treated as without a filter: attaching one hides nothing trained.
/// - All other calls are as before: insert makes rows; peek, record and prefetch count nothing;
///   delete removes a row and leaves the count.
///
/// May be called while other threads use the embedding: calls under way may still use the filter
/// before. Attaching waits until a checkpoint that is being made or loaded is done.
///
/// After an error nothing is attached. The filter is as it was, unless the message says that it has
/// the counts: then attach it again.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL embedding; a filter whose file is in the folder filters of a storage
///   or checkpoint, where damo deletes files. When counts wait for this group: a filter with
///   another capacity, count or fpr; a filter that has counts of other groups, which they would
///   replace.
/// - CORRUPTION: the counts that wait are damaged.
/// - IO, OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_set_filter(
    embedding: *const damo_embedding,
    filter: *const damo_filter,
) -> damo_status {
    guard::long_call("damo_embedding_set_filter", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, filter) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::optional_handle(filter, "filter")?,
            )
        };
        embedding.inner.set_filter(filter.map(|filter| Arc::clone(&filter.inner)))
    })
}
