//! `damo_storage_dump_with_progress`: a dump that tells how far it is.

use std::ffi::{c_char, c_void};

use super::{damo_storage, with_path};
use crate::error::damo_status;
use crate::ffi::{arguments, damo_params, guard};
use crate::storage::DumpOptions;

/// Called from time to time during a long call, on its thread.
///
/// - user: the pointer that was given to the call.
/// - rows: the number of rows that are done.
/// - rows_estimate: an estimate of all rows.
///
/// Return true to go on. Returning false ends the call with CANCELLED, and what it was making is
/// removed.
///
/// It must not throw, and must not free the handle that the call is on.
pub type damo_progress =
    Option<unsafe extern "C" fn(user: *mut c_void, rows: u64, rows_estimate: u64) -> bool>;

/// As damo_storage_dump, and reports its progress and its result.
///
/// - progress: called with user from time to time. May be NULL.
/// - number: becomes the number of this dump, which the next increment has as since
///   (damo_table_number of the file). May be NULL.
/// - rows: becomes the number of rows in the file. May be NULL.
/// - removed: becomes the number of keys that an increment says are gone. May be NULL.
///
/// After an error the file at path is as it was, and number, rows and removed are unchanged.
///
/// Errors: as damo_storage_dump, and
/// - CANCELLED: progress returned false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_dump_with_progress(
    storage: *const damo_storage,
    path: *const c_char,
    condition: *const damo_params,
    progress: damo_progress,
    user: *mut c_void,
    number: *mut u64,
    rows: *mut u64,
    removed: *mut u64,
) -> damo_status {
    guard::long_call("damo_storage_dump_with_progress", || {
        // SAFETY: the contract of `arguments`.
        let ((storage, path), condition) =
            unsafe { (with_path(storage, path)?, arguments::params(condition, "condition")?) };
        // SAFETY: the contract of `arguments`.
        let (number, rows, removed) = unsafe {
            (
                arguments::optional_out(number, "number")?,
                arguments::optional_out(rows, "rows")?,
                arguments::optional_out(removed, "removed")?,
            )
        };
        let tell = |done: u64, estimate: u64| match progress {
            // SAFETY: a function of this type; what it may do with `user` is the caller's affair.
            Some(progress) => unsafe { progress(user, done, estimate) },
            None => true,
        };
        let dumped = storage.dump(path, DumpOptions::read(condition)?, tell)?;
        arguments::give(number, dumped.number);
        arguments::give(rows, dumped.rows);
        arguments::give(removed, dumped.removed);
        Ok(())
    })
}
