//! Dumps of a storage: weights in a file for serving.

use std::ffi::{c_char, c_void};

use super::{arguments, damo_params, damo_storage, guard};
use crate::error::damo_status;
use crate::storage::DumpOptions;

/// Called from time to time during a long call, on that call's thread, with the rows that are done
/// and an estimate of all. user is the pointer that was given to the call. Return true to go on;
/// false ends the call with CANCELLED, and what it was making is removed. Must not throw, and must
/// not free the handle that the call is on.
pub type damo_progress =
    Option<unsafe extern "C" fn(user: *mut c_void, rows: u64, rows_estimate: u64) -> bool>;

/// Writes the weights of all rows, as they are at one moment, to the file path for serving. Other calls go on meanwhile; the
/// file appears under its name, replacing what was there, only when it is whole and on disk. docs/formats.md has the bytes of
/// all formats. condition may be NULL; names (defaults):
///
/// ```text
///     format         "classic": dims, counts, then key, group and float32 weights of each row (the default);
///                    "counted": the same, but the header lists only the groups that are dumped,
///                    as damo-embedding from 1.0.6 on writes it;
///                    "table": what damo_table_open maps into memory
///     expire_days    leave out rows that were not updated for so many days, fractions too (0: none)
///     min_count      leave out rows that were updated fewer times (0)
///     group          only this group (all)
///     header_groups  classic: groups that the header has place for (256); readers for 128 and 1024 exist, too
///     value_type     table: "float32" (the default), "float16" or "int8" (a scale and a bias a row)
///     since          table: an increment, with only what has changed since the table dump that had this number, and
///                    the keys that are gone; the group and min_count must be those of that dump.
///                    A dump can be followed for 30 days if it is one of the latest 256, until a
///                    checkpoint is loaded or a group of the dump is cleared
/// ```
///
/// Errors: INVALID_ARGUMENT for a NULL handle or path, a condition that is wrong, and groups that the classic header has no
/// place for (they are named); NOT_FOUND for a group that is not registered, and when no dump with the number since is
/// remembered; IO, CORRUPTION, OUT_OF_MEMORY, POISONED, FORKED. What was at path is as it was then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_dump(
    storage: *const damo_storage,
    path: *const c_char,
    condition: *const damo_params,
) -> damo_status {
    guard::long_call("damo_storage_dump", || {
        // SAFETY: the contract of `arguments`.
        let (storage, path, condition) = unsafe {
            (
                arguments::handle(storage, "storage")?,
                arguments::path(path, "path")?,
                arguments::params(condition, "condition")?,
            )
        };
        storage.inner.dump(path, DumpOptions::read(condition)?, |_, _| true).map(drop)
    })
}

/// As damo_storage_dump, and tells how far it is and what it has done.
///
/// progress may be NULL. Each of number, rows and removed may be NULL, otherwise it becomes, on success: what the
/// next increment has as since (damo_table_number of the file); rows in the file; keys that an increment says are
/// gone.
///
/// Errors: as damo_storage_dump; CANCELLED when progress returns false.
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
        let (storage, path, condition) = unsafe {
            (
                arguments::handle(storage, "storage")?,
                arguments::path(path, "path")?,
                arguments::params(condition, "condition")?,
            )
        };
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
        let dumped = storage.inner.dump(path, DumpOptions::read(condition)?, tell)?;
        let set = |out: Option<&mut u64>, value| {
            if let Some(out) = out {
                *out = value;
            }
        };
        set(number, dumped.number);
        set(rows, dumped.rows);
        set(removed, dumped.removed);
        Ok(())
    })
}
