//! The number of a failure, for hosts whose calls move between threads.
//!
//! The last error belongs to a thread, and a host such as Go may ask for it on another one. But
//! every host can read errno together with the call, on the call's own thread. So a failed call
//! leaves its number in errno. This file keeps the latest failures of the process under their
//! numbers, for any thread.

use std::ffi::{CString, c_char};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{arguments, guard};
use crate::error::{Error, Status, damo_status};
use crate::locks::UntracedMutex;

/// The number of the first failure of a process. Later failures count up from it.
///
/// It is above every errno of the operating system.
pub const DAMO_FAILURE_FIRST: i32 = 1_073_741_824;

/// How many failures are kept. A power of two.
const KEPT: u32 = 4096;

/// A failure. All zeros at first, so that the array takes no room in the library's file.
struct Kept {
    number: i32,
    status: i32,
    message: Option<CString>,
}

static FAILURES: [UntracedMutex<Kept>; KEPT as usize] =
    [const { UntracedMutex::new(Kept { number: 0, status: 0, message: None }) }; KEPT as usize];
static NEXT: AtomicU32 = AtomicU32::new(0);

fn place(number: i32) -> Option<&'static UntracedMutex<Kept>> {
    FAILURES.get((number as u32 % KEPT) as usize)
}

/// Keeps a failure and gives its number.
pub(super) fn keep(status: Status, message: &CString) -> i32 {
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let number = DAMO_FAILURE_FIRST | (count & (DAMO_FAILURE_FIRST as u32 - 1)) as i32;
    // Does not wait: a forked child may have inherited a lock that is never released. Its failure
    // is then not kept.
    if let Some(mut kept) = place(number).and_then(|place| place.try_lock()) {
        *kept = Kept { number, status: status as i32, message: Some(message.clone()) };
    }
    number
}

/// Leaves `number` in errno. A call does this last.
pub(super) fn leave(number: i32) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: the address of this thread's errno, which every function may write.
    unsafe {
        #[cfg(target_os = "linux")]
        let errno = libc::__errno_location();
        #[cfg(target_os = "android")]
        let errno = libc::__errno();
        *errno = number;
    }
    #[cfg(target_vendor = "apple")]
    // SAFETY: as above.
    unsafe {
        *libc::__error() = number;
    }
}

fn find(number: i32) -> Option<(Status, CString)> {
    let kept = place(number)?.try_lock_for(std::time::Duration::from_millis(100))?;
    let message = kept.message.clone().filter(|_| kept.number == number)?;
    Some((Status::from_code(kept.status)?, message))
}

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
            Error::new(
                Status::NotFound,
                format!(
                    "failure is {failure}, which is none of the latest {KEPT} failures of this \
                     process"
                ),
            )
        })?;
        // SAFETY: the contract of `arguments`.
        unsafe {
            arguments::give_text(message.to_bytes(), "message", (buffer, buffer_len), message_len)
        }
    })
}
