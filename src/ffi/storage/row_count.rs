//! `damo_storage_row_count`: the number of rows of a group.

use super::damo_storage;
use crate::error::damo_status;
use crate::ffi::iterator::read_group;
use crate::ffi::{arguments, guard};

/// Counts the rows that a group has now, and writes their number to *rows.
///
/// - group: a number in 0..65535, or DAMO_ALL_GROUPS.
///
/// It reads all rows; damo_storage_stat has a quick estimate. Other calls go on meanwhile.
///
/// Errors: as damo_iterator_new, and
/// - INVALID_ARGUMENT: a NULL rows.
/// - CORRUPTION: a row is damaged (the message names it).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_row_count(
    storage: *const damo_storage,
    group: u32,
    rows: *mut u64,
) -> damo_status {
    guard::long_call("damo_storage_row_count", || {
        // SAFETY: the contract of `arguments`.
        let (storage, rows) =
            unsafe { (arguments::handle(storage, "storage")?, arguments::out(rows, "rows")?) };
        *rows = storage.inner.row_count(read_group(group)?)?;
        Ok(())
    })
}
