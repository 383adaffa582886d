//! `damo_storage_compact`: everything on disk, merged into one sorted run.

use super::damo_storage;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Writes what has changed, and then merges everything on disk into one sorted run.
///
/// Rows that were overwritten or deleted then take no more space, and a row that is not in memory
/// takes one read. It takes as long as reading and writing the table; other calls go on meanwhile.
/// The storage merges in parts by itself while the table changes, so nobody needs to call this.
///
/// Errors: as damo_storage_flush, and
/// - NOT_SUPPORTED: the storage is open with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_compact(storage: *const damo_storage) -> damo_status {
    guard::long_call("damo_storage_compact", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(storage, "storage") }?.inner.compact()
    })
}
