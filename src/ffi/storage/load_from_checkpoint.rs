//! `damo_storage_load_from_checkpoint`: the content of a checkpoint in place of what is stored.

use std::ffi::c_char;

use super::{damo_storage, with_path};
use crate::error::damo_status;
use crate::ffi::{guard, own_stack};

/// Replaces everything that is stored by the content of a checkpoint.
///
/// - path: a checkpoint, or a storage that was closed. It stays as it is.
///
/// Embeddings that are open continue with the checkpoint's groups. A group that the checkpoint does
/// not have is empty then. The checkpoint is first read through and compared with its checksums;
/// then all calls wait for a moment.
///
/// After an error everything is as it was. There is one exception: if the message says that the
/// storage must be opened again, the checkpoint has taken its place, and opening finishes that.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle or path; a path that is a file, or a database that damo did
///   not write.
/// - NOT_FOUND: path does not exist.
/// - CORRUPTION: path is no checkpoint, or one that is damaged or not whole.
/// - NOT_SUPPORTED: another format; a storage that was not closed. Also: this storage is open with
///   read_only.
/// - BUSY: the checkpoint is open somewhere; a dump or an iterator of this storage is under way.
/// - ALREADY_EXISTS: a group that is open here has another dim, optimizer or name there.
/// - IO: a failed read or write; something that is no file of damo's, such as a file called
///   filters, lies where one of the checkpoint belongs.
/// - OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_load_from_checkpoint(
    storage: *const damo_storage,
    path: *const c_char,
) -> damo_status {
    guard::long_call("damo_storage_load_from_checkpoint", || {
        // SAFETY: the contract of `arguments`.
        let (storage, path) = unsafe { with_path(storage, path) }?;
        own_stack::run(|| storage.load_from_checkpoint(path))
    })
}
