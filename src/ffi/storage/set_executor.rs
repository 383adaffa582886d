//! `damo_storage_set_executor`: the host's threads for one storage.

use std::ffi::c_void;

use super::damo_storage;
use crate::error::damo_status;
use crate::ffi::{arguments, damo_executor, executor, guard};

/// As damo_executor_set, for this storage alone, and before the executor of the process.
///
/// Freeing the storage's handle does not take it back while embeddings or iterators of the storage
/// are left.
///
/// Errors: as damo_executor_set, and
/// - INVALID_ARGUMENT: a NULL handle.
/// - FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_set_executor(
    storage: *const damo_storage,
    run: damo_executor,
    context: *mut c_void,
    threads: usize,
) -> damo_status {
    guard::status("damo_storage_set_executor", || {
        // SAFETY: the contract of `arguments`.
        let storage = unsafe { arguments::handle(storage, "storage") }?;
        storage.inner.set_executor(executor::host(run, context, threads)?)
    })
}
