//! `damo_storage_import`: rows from files of the earlier implementation.

use std::ffi::c_char;
use std::path::Path;

use super::{arguments, damo_params, damo_storage, guard};
use crate::error::{Error, Result, Status, damo_status};
use crate::storage::{ImportOptions, Imported, Storage};

/// Brings in the rows of a file that damo-embedding, the earlier C++ implementation, wrote: a
/// checkpoint of any release from 1.0.5 to 1.1.12, or a dump, classic or counted. docs/formats.md
/// has the bytes of these files, docs/migrating.md the whole way over.
///
/// The groups of the file must have been opened in this storage once (damo_embedding_new), each
/// with the dim and the optimizer that it had. A row that exists is replaced. A row of a checkpoint
/// keeps its update_time and update_num; a row of a dump gets the time of the import and no
/// updates. A record without state gets the state of an inserted row. A record that does not fit is
/// left out: damo_storage_import_counted tells how many there were, damo_storage_import_report why.
/// If not one could be taken, the call fails. Memory does not grow with the file.
///
/// The file is read through first, and nothing is changed unless it is whole. When the call has
/// returned, the rows are on disk, whatever the durability. After a later error or a kill a part of
/// the rows may be there: import the file again. Other calls go on meanwhile, but the import may
/// replace what they do to rows of the file: train afterwards.
///
/// Errors: INVALID_ARGUMENT for a NULL handle or path, for a path that is not a file, and when the
/// file has records and none fits the groups of this storage; NOT_FOUND; CORRUPTION for a file that
/// is cut off, longer than it says, or neither a checkpoint nor a dump (the message names the record
/// and the byte), and when no record is sound; IO; OUT_OF_MEMORY; POISONED when a group is; FORKED.
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

/// As damo_storage_import, and writes how many records came in to *imported and how many were left
/// out to *refused; either may be NULL. If the file has a key twice, both records count as
/// imported, and the last one is the row.
///
/// Errors: as damo_storage_import; the counts are unchanged then.
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
            (arguments::optional_out(imported, "imported")?, arguments::optional_out(refused, "refused")?)
        };
        let report = import(storage, path, &ImportOptions::default())?;
        count(&report, imported, refused);
        Ok(())
    })
}

/// As damo_storage_import_counted, with options, which may be NULL; names (defaults):
///
/// ```text
///     format         "auto": what the file looks like (the default); "checkpoint"; "classic" or
///                    "counted", which are dumps
///     header_groups  classic: the width of its header (256, 1024 or 128, whichever adds up)
///     group          only this group (all)
/// ```
///
/// Errors: as damo_storage_import; INVALID_ARGUMENT for wrong options, and when the file has records
/// and none is of the option group. The counts are unchanged then.
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

/// Writes what became of the records of this storage's latest import into buffer, as a JSON object
/// with a NUL at the end:
///
/// ```text
///     records         records in the file
///     imported        of these, records that came in; after an error, those that are known to
///                     have come in before it
///     without_state   of the imported ones, those with weights only
///     other_groups    records of other groups than the option group
///     format          "checkpoint", or "classic" or "counted" for a dump
///     value_header    bytes before the floats of a checkpoint's value: 32 or 40; 0 for a dump
///     order           which comes first in a record, update_time or update_num: "time_first",
///                     "num_first"; "assumed" when no record shows it, and update_time is taken
///                     for the first; "absent" for a dump, which has neither
///     refused         a list, one object a reason: reason, records (how many), and first (what
///                     was wrong with the first of them). Reasons: unknown_group, key_mismatch
///                     (the value names another group or key), wrong_dim, wrong_length,
///                     not_finite, negative_square, bad_time, expired
/// ```
///
/// *json_len becomes the length of the JSON without the NUL, also when the buffer is too small;
/// json_len may be NULL. Call it with buffer NULL and buffer_len 0 to learn the length; buffer_len
/// = *json_len + 1 then suffices.
///
/// Errors: INVALID_ARGUMENT for a NULL handle, a NULL buffer with a length, and a buffer that is
/// too small, whose content is then unchanged; NOT_FOUND when nothing has been imported since the
/// storage was opened.
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
            Error::new(Status::NotFound, "nothing has been imported into storage since it was opened")
        })?;
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::give_json(&report.to_json(), buffer, buffer_len, json_len) }
    })
}

fn import(storage: &Storage, path: &Path, options: &ImportOptions) -> Result<Imported> {
    storage.import_with(path, options, |_, _| true)
}

fn count(report: &Imported, imported: Option<&mut u64>, refused: Option<&mut u64>) {
    if let Some(imported) = imported {
        *imported = report.imported;
    }
    if let Some(refused) = refused {
        *refused = report.refused_records();
    }
}

/// # Safety
/// The contract of `arguments`.
unsafe fn both<'a>(storage: *const damo_storage, path: *const c_char) -> Result<(&'a Storage, &'a Path)> {
    // SAFETY: the caller's promise.
    unsafe { Ok((&arguments::handle(storage, "storage")?.inner, arguments::path(path, "path")?)) }
}
