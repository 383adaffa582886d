//! Checkpoints of a storage: everything, to go on from.

use std::ffi::c_char;

use super::{arguments, damo_storage, guard, own_stack};
use crate::error::damo_status;

/// Makes path, which must not exist yet, a directory with everything as it is at one moment, to continue training from: rows,
/// optimizer state, groups with their names, global steps, and the filters of embeddings that are open (in the folder filters). It has every
/// call that returned before; other calls go on meanwhile. Files of rows are hard links, so that it takes no longer for a
/// large table than for a small one, beyond writing what has changed; on another file system they are copied. The directory appears
/// under its name only when it is whole.
///
/// A storage that is open with read_only gives checkpoints, too. The hard links change no byte of
/// its files; what the file system counts of them changes: the number of links, and the time
/// (ctime) at which that changed.
///
/// damo_storage_load_from_checkpoint brings it back; opening it with damo_storage_new works, too. damo_storage_describe says what
/// it is known by from then on, here and there, and so does the id in its checkpoint.json.
///
/// Errors: INVALID_ARGUMENT for a NULL handle or path, and a path without a name; ALREADY_EXISTS; IO, OUT_OF_MEMORY,
/// POISONED, FORKED; BUSY with read_only, when another handle had the storage open with durability
/// "checkpoint" as it was opened here: it may have parts of calls. There is no such directory then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_checkpoint(
    storage: *const damo_storage,
    path: *const c_char,
) -> damo_status {
    guard::long_call("damo_storage_checkpoint", || {
        // SAFETY: the contract of `arguments`.
        let (storage, path) =
            unsafe { (arguments::handle(storage, "storage")?, arguments::path(path, "path")?) };
        storage.inner.checkpoint(path)
    })
}

/// Replaces everything that is stored by what the checkpoint at path has, or a storage that was closed. The checkpoint stays as
/// it is. Embeddings that are open go on with its groups; a group of theirs that it does not have is empty then. It is read
/// through and compared with its checksums first; then calls wait for a moment.
///
/// Errors: INVALID_ARGUMENT for a NULL handle or path, and a path that is a file; NOT_FOUND; CORRUPTION when it is damaged or
/// not whole; NOT_SUPPORTED for another format and a storage that was not closed; BUSY while it is open somewhere, and
/// while a dump or an iterator of this storage is under way; ALREADY_EXISTS when a group that is open here has another dim,
/// optimizer or name there; IO, also when something that is no file of damo's lies where one of the checkpoint belongs, such as
/// a file called filters; OUT_OF_MEMORY, FORKED. What was stored is as it was then; only when the message says that the storage
/// is to be opened again, the checkpoint has taken its place, and opening finishes that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_load_from_checkpoint(
    storage: *const damo_storage,
    path: *const c_char,
) -> damo_status {
    guard::long_call("damo_storage_load_from_checkpoint", || {
        // SAFETY: the contract of `arguments`.
        let (storage, path) =
            unsafe { (arguments::handle(storage, "storage")?, arguments::path(path, "path")?) };
        own_stack::run(|| storage.inner.load_from_checkpoint(path))
    })
}
