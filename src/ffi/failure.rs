//! The number of a failure, for hosts whose calls move between threads.
//!
//! The last error belongs to a thread, and a host such as Go may ask for it on another one. But
//! every host can read errno together with the call, on the call's own thread. So a failed call
//! leaves its number in errno (`kept_failures`), and any thread may ask for it by that number.

use std::ffi::c_char;

use super::kept_failures::{KEPT, find};
use super::{arguments, guard};
use crate::error::{Error, Status, damo_status};

/// Returns the status of the failed call that left this number in errno.
///
/// Returns OK if no failure has this number, or if it is no longer kept: the process keeps the
/// latest 4096.
///
/// Every call that fails leaves the number of its failure in errno, DAMO_FAILURE_FIRST or above. A
/// call that succeeds may leave anything there. This is for hosts, such as Go without LockOSThread,
/// that may run a call and the question after it on two threads. Their languages read errno
/// together with the call: cgo's second result, .NET's SetLastError, Java's captureCallState,
/// ctypes' use_errno. In C damo_last_error_code and damo_last_error_message are enough.
///
/// May be called on any thread, any number of times.
#[unsafe(no_mangle)]
pub extern "C" fn damo_failure_code(failure: i32) -> damo_status {
    find(failure).map_or(Status::Ok, |(status, _)| status)
}

/// Writes the message of the failed call that left this number in errno into buffer.
///
/// - buffer: gets the message and a NUL. NULL with buffer_len 0 asks for the length only.
/// - message_len: becomes the length without the NUL, also when the buffer is too small. May be
///   NULL.
///
/// Errors:
/// - NOT_FOUND: no failure that is kept has this number.
/// - INVALID_ARGUMENT: a NULL buffer with a length; a buffer that is too small, which is left
///   unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_failure_message(
    failure: i32,
    buffer: *mut c_char,
    buffer_len: usize,
    message_len: *mut usize,
) -> damo_status {
    guard::status("damo_failure_message", || {
        let (_, message) = find(failure).ok_or_else(|| {
            Error::not_found(format!(
                "failure is {failure}, which is none of the latest {KEPT} failures of this \
                     process"
            ))
        })?;
        // SAFETY: the contract of `arguments`.
        unsafe {
            arguments::give_text(message.to_bytes(), "message", (buffer, buffer_len), message_len)
        }
    })
}
