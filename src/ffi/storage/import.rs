//! `damo_storage_import`: rows from a file of damo-embedding, the earlier C++ implementation.

use std::ffi::c_char;

use super::{damo_storage, with_path};
use crate::error::damo_status;
use crate::ffi::guard;

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
        let (storage, path) = unsafe { with_path(storage, path) }?;
        storage.import(path, |_, _| true).map(drop)
    })
}
