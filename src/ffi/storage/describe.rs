//! `damo_storage_describe`: everything but the rows, as JSON.

use std::ffi::c_char;

use super::damo_storage;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Writes everything the storage holds except its rows, as a JSON object, into buffer.
///
/// ```text
///     dir           the directory, absolute
///     read_only     null, or with the option read_only an object of
///                   - as_of_ms: the latest time on record in the storage, milliseconds since 1970;
///                     what came later is not seen
///                   - is_open_elsewhere: whether the storage was open when it was looked at, here
///                     or in another process, which may then have more in memory
///     checkpoint    the checkpoint id: of the checkpoint last made, loaded, or opened as this
///                   storage. 32 hexadecimal digits, different for each checkpoint; null if there
///                   was none
///     groups        a list, one object a group, in order of number:
///                   - group: the number
///                   - name: a string, or null
///                   - dim
///                   - row_len: floats of a row, with the optimizer's state
///                   - step
///                   - optimizer, initializer, scheduler (or null): what the group was last opened
///                     with, each an object of name and params
///                   - max_norm: the option that the group was last opened with, or null
///                   - clients: a list of those that are not forgotten, each an object of client,
///                     sequence, and time (of its latest call, milliseconds since 1970). See
///                     damo_embedding_apply_gradients_once
/// ```
///
/// - buffer: gets the JSON and a NUL. NULL with buffer_len 0 asks for the length only; then
///   buffer_len = *json_len + 1 is enough, unless other threads open groups or train meanwhile
///   (steps get longer).
/// - json_len: becomes the length without the NUL, also when the buffer is too small. May be NULL.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a buffer that is too small,
///   which is left unchanged.
/// - IO, CORRUPTION, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_describe(
    storage: *const damo_storage,
    buffer: *mut c_char,
    buffer_len: usize,
    json_len: *mut usize,
) -> damo_status {
    guard::status("damo_storage_describe", || {
        // SAFETY: the contract of `arguments`.
        let storage = unsafe { arguments::handle(storage, "storage") }?;
        let description = storage.inner.describe()?;
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::give_json(&description, buffer, buffer_len, json_len) }
    })
}
