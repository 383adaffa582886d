//! `damo_storage_checkpoint`: everything that training continues from, in a directory.

use std::ffi::c_char;

use super::{damo_storage, with_path};
use crate::error::damo_status;
use crate::ffi::guard;

/// Makes a checkpoint: a directory with everything as it is at one moment, to continue training.
///
/// - path: the directory. It must not exist yet, but its parent must.
///
/// A checkpoint has every call that returned before: rows, optimizer state, groups with their
/// names, global steps, and the filters of embeddings that are open (in the folder filters). Other
/// calls go on meanwhile. The directory appears under its name only when it is whole.
///
/// Files of rows are hard links. So a large table takes no longer than a small one, beyond writing
/// what has changed. On another file system the files are copied.
///
/// A storage that is open with read_only gives checkpoints, too. The hard links change no byte of
/// its files. What the file system records about them changes: the number of links, and the time
/// (ctime) of that change.
///
/// damo_storage_load_from_checkpoint loads a checkpoint; damo_storage_new opens one as a storage.
/// The checkpoint id is in its checkpoint.json. damo_storage_describe tells it, too, both here and
/// in a storage that was made of the checkpoint.
///
/// Errors, after which there is no such directory:
/// - INVALID_ARGUMENT: a NULL handle or path; a path without a name, or inside a storage's
///   directory.
/// - ALREADY_EXISTS: path exists.
/// - BUSY: with read_only, another handle had the storage open with durability "checkpoint" when it
///   was opened here, so that it may have parts of calls.
/// - IO, OUT_OF_MEMORY, POISONED, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_checkpoint(
    storage: *const damo_storage,
    path: *const c_char,
) -> damo_status {
    guard::long_call("damo_storage_checkpoint", || {
        // SAFETY: the contract of `arguments`.
        let (storage, path) = unsafe { with_path(storage, path) }?;
        storage.checkpoint(path)
    })
}
