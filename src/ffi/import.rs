//! `damo_storage_import`: rows from checkpoint files of the earlier implementation.

use std::ffi::c_char;
use std::path::Path;

use super::{arguments, damo_storage, guard};
use crate::error::{Error, Result, Status, damo_status};
use crate::storage::{Imported, Storage};

/// Brings in the rows of the file path, a checkpoint that the earlier C++ implementation wrote, of an older or a later
/// release. docs/formats.md has its bytes.
///
/// The groups of its records must have been opened in this storage once (damo_embedding_new), with the dim and the
/// optimizer that they had. A row that exists is replaced; update_time and update_num are kept; a record with weights only
/// gets a state of zeros. A record that does not fit is left out, and that is no error: damo_storage_import_counted tells how
/// many there were, damo_storage_import_report why. Memory does not grow with the file.
///
/// The file is first read through, and nothing is changed unless it is whole. Once the call has returned what came in is on
/// disk, whatever the durability. After an error later than that, or when the process is killed, a part of the rows may have
/// come in; import the file again then. Other calls go on meanwhile, but what they do to rows of the file may be replaced: train
/// afterwards.
///
/// Errors: INVALID_ARGUMENT for a NULL handle or path and for a path that is not a file; NOT_FOUND; CORRUPTION for a file
/// that is cut off, has more than it says, or is something else, naming the record and the byte; IO; OUT_OF_MEMORY; POISONED
/// when a group is; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_import(
    storage: *const damo_storage,
    path: *const c_char,
) -> damo_status {
    guard::status("damo_storage_import", || {
        // SAFETY: the contract of `arguments`.
        let (storage, path) = unsafe { both(storage, path) }?;
        import(storage, path).map(drop)
    })
}

/// As damo_storage_import, and writes how many records came in to *imported and how many were left out to *refused; either
/// may be NULL. Of a key that is there twice both records count as imported, and the last one is the row.
///
/// Errors: as damo_storage_import; the counts are unchanged then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_import_counted(
    storage: *const damo_storage,
    path: *const c_char,
    imported: *mut u64,
    refused: *mut u64,
) -> damo_status {
    guard::status("damo_storage_import_counted", || {
        // SAFETY: the contract of `arguments`.
        let (storage, path) = unsafe { both(storage, path) }?;
        // SAFETY: as above.
        let (imported, refused) = unsafe {
            (arguments::optional_out(imported, "imported")?, arguments::optional_out(refused, "refused")?)
        };
        let report = import(storage, path)?;
        if let Some(imported) = imported {
            *imported = report.imported;
        }
        if let Some(refused) = refused {
            *refused = report.refused_records();
        }
        Ok(())
    })
}

/// Writes what became of the records of this storage's latest import as a JSON object into buffer, with a NUL at the end:
///
/// ```text
///     records         in the file
///     imported        that are rows now
///     without_state   of these, with weights only
///     order           how the file has update_time and update_num: "time_first", "num_first"; "assumed", as time_first,
///                     when no record tells
///     refused         a list, one object a reason: reason, records, and first, what was wrong with the first of them.
///                     Reasons: unknown_group, key_mismatch (the value names another group or key), wrong_dim,
///                     wrong_length, not_finite, bad_time, expired
/// ```
///
/// *json_len becomes the length of the JSON without the NUL, also when the buffer is too small; json_len may be NULL. Call
/// it with buffer NULL and buffer_len 0 to learn the length; buffer_len = *json_len + 1 then suffices.
///
/// Errors: INVALID_ARGUMENT for a NULL handle, a NULL buffer with a length, and a buffer that is too small, whose content is
/// then unchanged; NOT_FOUND when nothing has been imported since the storage was opened.
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

fn import(storage: &Storage, path: &Path) -> Result<Imported> {
    storage.import(path, |_, _| true)
}

/// # Safety
/// The contract of `arguments`.
unsafe fn both<'a>(storage: *const damo_storage, path: *const c_char) -> Result<(&'a Storage, &'a Path)> {
    // SAFETY: the caller's promise.
    unsafe { Ok((&arguments::handle(storage, "storage")?.inner, arguments::path(path, "path")?)) }
}
