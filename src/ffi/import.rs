//! `damo_storage_import`: rows from files of damo-embedding, the earlier C++ implementation.

use std::ffi::c_char;
use std::path::Path;

use super::{arguments, damo_params, damo_storage, guard};
use crate::error::{Error, Result, Status, damo_status};
use crate::storage::{ImportOptions, Imported, Storage};

/// Imports the rows of a file that damo-embedding, the earlier C++ implementation, wrote.
///
/// - path: a checkpoint of any release from 1.0.5 to 1.1.12, or a dump, classic or counted.
///
/// docs/formats.md has the bytes of these files, docs/migrating.md the whole way over.
///
/// The groups of the file must have been opened in this storage once (damo_embedding_new), each
/// with the dim and the optimizer that it had. A row that exists is replaced.
/// - A row of a checkpoint keeps its update_time and update_num.
/// - A row of a dump gets the time of the import and the update count 0.
/// - A record without state gets the state of an inserted row.
/// - A record that does not fit is left out. damo_storage_import_counted tells how many there were,
///   damo_storage_import_report why. If no record fits, the call fails.
///
/// The file is read through first, and nothing changes unless it is whole. When the call returns
/// OK, the rows are on disk, whatever the durability. Memory does not grow with the file. Other
/// calls go on meanwhile, but the import may replace what they do to rows of the file: train
/// afterwards.
///
/// If the file is refused, nothing has changed. After a later error or a kill a part of the rows
/// may be there: import the file again.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle or path; a path that is not a file; a file with records of
///   which none fits the groups of this storage.
/// - NOT_FOUND: path does not exist.
/// - CORRUPTION: the file is truncated, longer than it says, or neither a checkpoint nor a dump
///   (the message names the record and the byte); the layout of its records cannot be told; no
///   record is sound.
/// - NOT_SUPPORTED: the storage is open with read_only.
/// - POISONED: a group is.
/// - IO, OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_import(
    storage: *const damo_storage,
    path: *const c_char,
) -> damo_status {
    guard::long_call("damo_storage_import", || {
        // SAFETY: the contract of `arguments`.
        let (storage, path) = unsafe { both(storage, path) }?;
        import(storage, path, &ImportOptions::default()).map(drop)
    })
}

/// As damo_storage_import, and reports how many records came in and how many were left out.
///
/// - imported: becomes the number of records that came in. May be NULL.
/// - refused: becomes the number of records that were left out. May be NULL.
///
/// If the file has a key twice, both records count as imported, and the last one is the row.
///
/// After an error the counts are unchanged.
///
/// Errors: as damo_storage_import.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_import_counted(
    storage: *const damo_storage,
    path: *const c_char,
    imported: *mut u64,
    refused: *mut u64,
) -> damo_status {
    guard::long_call("damo_storage_import_counted", || {
        // SAFETY: the contract of `arguments`.
        let (storage, path) = unsafe { both(storage, path) }?;
        // SAFETY: as above.
        let (imported, refused) = unsafe {
            (
                arguments::optional_out(imported, "imported")?,
                arguments::optional_out(refused, "refused")?,
            )
        };
        let report = import(storage, path, &ImportOptions::default())?;
        count(&report, imported, refused);
        Ok(())
    })
}

/// As damo_storage_import_counted, with options.
///
/// - options: may be NULL. Names (defaults):
///
/// ```text
///     format         "auto": what the file looks like (the default); "checkpoint"; "classic" or
///                    "counted", which are dumps
///     header_groups  classic: the width of the header (256, 1024 or 128, whichever adds up)
///     group          only this group (all)
/// ```
///
/// After an error the counts are unchanged.
///
/// Errors: as damo_storage_import, and
/// - INVALID_ARGUMENT: a wrong option; a file with records of which none is of the option group.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_import_with(
    storage: *const damo_storage,
    path: *const c_char,
    options: *const damo_params,
    imported: *mut u64,
    refused: *mut u64,
) -> damo_status {
    guard::long_call("damo_storage_import_with", || {
        // SAFETY: the contract of `arguments`.
        let (storage, path) = unsafe { both(storage, path) }?;
        // SAFETY: as above.
        let (options, imported, refused) = unsafe {
            (
                arguments::params(options, "options")?,
                arguments::optional_out(imported, "imported")?,
                arguments::optional_out(refused, "refused")?,
            )
        };
        let report = import(storage, path, &ImportOptions::read(options)?)?;
        count(&report, imported, refused);
        Ok(())
    })
}

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
        let report = storage.inner.last_import().ok_or_else(|| {
            Error::new(
                Status::NotFound,
                "nothing has been imported into storage since it was opened",
            )
        })?;
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::give_json(&report.to_json(), buffer, buffer_len, json_len) }
    })
}

fn import(storage: &Storage, path: &Path, options: &ImportOptions) -> Result<Imported> {
    storage.import_with(path, options, |_, _| true)
}

fn count(report: &Imported, imported: Option<&mut u64>, refused: Option<&mut u64>) {
    arguments::give(imported, report.imported);
    arguments::give(refused, report.refused_records());
}

/// # Safety
/// The contract of `arguments`.
unsafe fn both<'a>(
    storage: *const damo_storage,
    path: *const c_char,
) -> Result<(&'a Storage, &'a Path)> {
    // SAFETY: the caller's promise.
    unsafe { Ok((&arguments::handle(storage, "storage")?.inner, arguments::path(path, "path")?)) }
}
