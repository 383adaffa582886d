//! `damo_storage_import_counted`: an import that counts its records.

use std::ffi::c_char;

use super::{damo_storage, with_path};
use crate::error::damo_status;
use crate::ffi::{arguments, guard};
use crate::storage::Imported;

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
        let (storage, path) = unsafe { with_path(storage, path) }?;
        // SAFETY: as above.
        let (imported, refused) = unsafe {
            (
                arguments::optional_out(imported, "imported")?,
                arguments::optional_out(refused, "refused")?,
            )
        };
        let report = storage.import(path, |_, _| true)?;
        give_counts(&report, imported, refused);
        Ok(())
    })
}

pub(super) fn give_counts(
    report: &Imported,
    imported: Option<&mut u64>,
    refused: Option<&mut u64>,
) {
    arguments::give(imported, report.imported);
    arguments::give(refused, report.refused_records());
}
