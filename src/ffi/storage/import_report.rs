//! `damo_storage_import_report`: what became of the records of the latest import.

use std::ffi::c_char;

use super::damo_storage;
use crate::error::{Error, damo_status};
use crate::ffi::{arguments, guard};

/// Writes what became of the records of the latest import, as a JSON object, into buffer.
///
/// ```text
///     records         records in the file
///     imported        of these, records that came in; after an error, those that are known to have
///                     come in before it
///     without_state   of the imported ones, those with weights only
///     other_groups    records of other groups than the option group
///     format          "checkpoint", or "classic" or "counted" for a dump
///     value_header    bytes before the floats of a checkpoint's value: 32 or 40; 0 for a dump
///     order           which is first in a record, update_time or update_num:
///                     "time_first", "num_first";
///                     "assumed": no record shows it, and update_time is taken for the first;
///                     "absent": a dump, which has neither
///     refused         a list, one object a reason:
///                     - reason: unknown_group, key_mismatch (the value names another group or
///                       key), wrong_dim, wrong_length, not_finite, negative_square, bad_time or
///                       expired
///                     - records: how many there were
///                     - first: what was wrong with the first of them
/// ```
///
/// - buffer: gets the JSON and a NUL. NULL with buffer_len 0 asks for the length only; then
///   buffer_len = *json_len + 1 is enough.
/// - json_len: becomes the length without the NUL, also when the buffer is too small. May be NULL.
///
/// An import whose file was refused while it was read through leaves the report as it was.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a buffer that is too small,
///   which is left unchanged.
/// - NOT_FOUND: nothing has been imported since the storage was opened.
/// - FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_import_report(
    storage: *const damo_storage,
    buffer: *mut c_char,
    buffer_len: usize,
    json_len: *mut usize,
) -> damo_status {
    guard::status("damo_storage_import_report", || {
        // SAFETY: the contract of `arguments`.
        let storage = unsafe { arguments::handle(storage, "storage") }?;
        // Before the report's lock: in a forked child the lock's owner may not exist.
        storage.inner.check_process()?;
        let report = storage.inner.last_import().ok_or_else(|| {
            Error::not_found("nothing has been imported into storage since it was opened")
        })?;
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::give_json(&report.to_json(), buffer, buffer_len, json_len) }
    })
}
