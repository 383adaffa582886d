//! `damo_embedding_clear`: removes all rows of the group at once.

use super::damo_embedding;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Removes all rows of the group at once, and sets its global step to 0.
///
/// Use it to train a new model on the same group: schedules start anew. The group keeps its dim,
/// optimizer and name. Other groups do not change.
///
/// - Atomicity: every other call on the group, from any thread and handle, happens wholly before or
///   wholly after. An iterator, dump or checkpoint that began before has the rows of its moment.
/// - Durability: as damo_embedding_apply_gradients.
/// - Time: it writes as little for many rows as for few, and gives back the memory that they took.
///   It waits while changed rows are being written to disk, by damo_storage_flush for instance.
/// - Disk space: comes back at the next flush, or when files are merged (damo_storage_compact).
/// - Filters keep their counts: a key that was seen often enough gets a row at its next lookup. To
///   count anew, attach a new filter (reload false).
/// - Increments: none can follow a dump that was made before the clear. damo_storage_dump with the
///   number of such a dump as since returns NOT_FOUND. Make a full dump.
///
/// Errors, after which nothing has changed (for IO see "Input and output errors" above):
/// - INVALID_ARGUMENT: a NULL handle.
/// - POISONED, IO, FORKED; NOT_SUPPORTED with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_clear(embedding: *const damo_embedding) -> damo_status {
    guard::status("damo_embedding_clear", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(embedding, "embedding") }?.inner.clear()
    })
}
