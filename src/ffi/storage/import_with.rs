//! `damo_storage_import_with`: an import with options.

use std::ffi::c_char;

use super::import_counted::give_counts;
use super::{damo_storage, with_path};
use crate::error::damo_status;
use crate::ffi::{arguments, damo_params, guard};
use crate::storage::ImportOptions;

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
        let (storage, path) = unsafe { with_path(storage, path) }?;
        // SAFETY: as above.
        let (options, imported, refused) = unsafe {
            (
                arguments::params(options, "options")?,
                arguments::optional_out(imported, "imported")?,
                arguments::optional_out(refused, "refused")?,
            )
        };
        let report = storage.import_with(path, &ImportOptions::read(options)?, |_, _| true)?;
        give_counts(&report, imported, refused);
        Ok(())
    })
}
