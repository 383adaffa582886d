//! `damo_storage_dump`: the weights of all rows, in a file for serving.

use std::ffi::c_char;

use super::{damo_storage, with_path};
use crate::error::damo_status;
use crate::ffi::{arguments, damo_params, guard};
use crate::storage::DumpOptions;

/// Writes the weights of all rows, as they are at one moment, to the file path for serving.
///
/// - path: a file, which is replaced if it exists.
/// - condition: may be NULL. Names (defaults):
///
/// ```text
///     format         "classic": dims, counts, then key, group and float32 weights of each row (the
///                    default);
///                    "counted": the same, but the header lists only the groups that are dumped, as
///                    damo-embedding from 1.0.6 on writes it;
///                    "table": what damo_table_open maps into memory
///     expire_days    leave out rows not updated for so many days, fractions too (0: no limit)
///     min_count      leave out rows that were updated fewer times (0)
///     group          only this group (all)
///     header_groups  classic: the number of groups the header has place for (256); readers for 128
///                    and 1024 exist, too
///     value_type     table: "float32" (the default), "float16" or "int8" (a scale and bias a row)
///     since          table: the number of a base dump. The file is then an increment: the rows
///                    changed since that dump, and the keys that are gone
/// ```
///
/// The file appears under its name only when it is whole and on disk. Other calls go on meanwhile.
/// docs/formats.md has the bytes of all formats.
///
/// An increment has the group and min_count of its base dump. A table dump can be the base of
/// increments for 30 days, if it is one of the latest 256. Loading a checkpoint, or clearing a
/// group of the dump, ends that earlier. A storage that is open with read_only remembers no dump.
///
/// Errors, after which the file at path is as it was:
/// - INVALID_ARGUMENT: a NULL handle or path; a path that cannot be a file's, or is inside a
///   storage's directory; a wrong condition; groups that the classic header has no place for (the
///   message names them).
/// - NOT_FOUND: the group is not registered; no base dump with the number since is remembered for
///   this group and min_count, or one of its groups was cleared.
/// - BUSY: path is being written, here or in another process.
/// - IO, CORRUPTION, OUT_OF_MEMORY, POISONED, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_dump(
    storage: *const damo_storage,
    path: *const c_char,
    condition: *const damo_params,
) -> damo_status {
    guard::long_call("damo_storage_dump", || {
        // SAFETY: the contract of `arguments`.
        let ((storage, path), condition) =
            unsafe { (with_path(storage, path)?, arguments::params(condition, "condition")?) };
        storage.dump(path, DumpOptions::read(condition)?, |_, _| true).map(drop)
    })
}
