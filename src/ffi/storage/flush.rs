//! `damo_storage_flush`: everything so far, durable.

use super::damo_storage;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Makes every call that returned before this one durable, whatever the option durability.
///
/// It also makes durable what the filters of the storage's embeddings have counted. Other calls go
/// on meanwhile.
///
/// After an error nothing that was stored before is lost. Flushing can be tried again.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle.
/// - IO: the disk refuses.
/// - POISONED: a group is; its rows are then not written.
/// - OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_flush(storage: *const damo_storage) -> damo_status {
    guard::long_call("damo_storage_flush", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(storage, "storage") }?.inner.flush()
    })
}
