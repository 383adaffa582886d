//! `damo_storage_verify`: everything stored is read and checked.

use super::damo_storage;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Reads everything that is stored, and checks every checksum and the form of every row.
///
/// - rows: becomes the number of rows. May be NULL.
///
/// Other calls go on meanwhile.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle.
/// - CORRUPTION: a file or row is damaged (the message names it).
/// - IO, OUT_OF_MEMORY, POISONED, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_verify(
    storage: *const damo_storage,
    rows: *mut u64,
) -> damo_status {
    guard::long_call("damo_storage_verify", || {
        // SAFETY: the contract of `arguments`.
        let (storage, rows) = unsafe {
            (arguments::handle(storage, "storage")?, arguments::optional_out(rows, "rows")?)
        };
        let verified = storage.inner.verify()?;
        arguments::give(rows, verified.rows);
        Ok(())
    })
}
