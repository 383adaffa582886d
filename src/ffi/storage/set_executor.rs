//! `damo_storage_set_executor`: the host's threads for one storage.

use std::ffi::c_void;

use super::damo_storage;
use crate::error::damo_status;
use crate::ffi::{arguments, damo_executor, executor, guard};

/// As damo_executor_set, for this storage alone. It takes precedence over the executor of the
/// process; run NULL returns to that one.
///
/// The executor stays set, and needs its context, until all handles of the storage, its embeddings
/// and its iterators are freed.
///
/// Errors: as damo_executor_set, and
/// - INVALID_ARGUMENT: a NULL handle.
/// - FORKED: in a forked child, for run NULL, too.
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
