//! The number of a failure, for hosts whose calls move between threads.
//!
//! The last error belongs to a thread, and a host such as Go may ask for it on another one. Every
//! host can read errno together with the call: on the call's own thread, before anything else
//! happens there. So a failed call leaves its number in errno. The latest failures of the process
//! are kept here under their numbers, and any thread can ask for them.

use std::ffi::{CString, c_char};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{arguments, guard};
use crate::error::{Error, Status, damo_status};
use crate::locks::UntracedMutex;

/// The number of the first failure of a process; later failures count up from it. It is above every
/// errno of the operating system.
pub const DAMO_FAILURE_FIRST: i32 = 1_073_741_824;

/// How many failures are kept. A power of two.
const KEPT: u32 = 4096;

/// All zeros at first, so that it takes no room in the file.
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
    // Nothing waits: a process that was forked may have inherited a lock that is never released.
    // Such a failure is not kept, and its number is known to nobody.
    if let Some(mut kept) = place(number).and_then(|place| place.try_lock()) {
        *kept = Kept { number, status: status as i32, message: Some(message.clone()) };
    }
    number
}

/// Leaves `number` in errno. The last thing that a call does.
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

/// The status of the failed call that left this number in errno. OK when no failure has this
/// number, or when it is not kept any more: the process keeps the latest 4096.
///
/// Every call that fails leaves the number of its failure in errno, from DAMO_FAILURE_FIRST on. A
/// call that succeeds may leave anything there. This is for hosts that may run a call and the
/// question after it on two threads, such as Go without LockOSThread. Their languages read errno
/// together with the call: cgo's second result, .NET's SetLastError, Java's captureCallState,
/// ctypes' use_errno. In C damo_last_error_code and damo_last_error_message are enough.
///
/// May be called on any thread, any number of times.
#[unsafe(no_mangle)]
pub extern "C" fn damo_failure_code(failure: i32) -> damo_status {
    find(failure).map_or(Status::Ok, |(status, _)| status)
}

/// Writes the message of the failed call that left this number in errno into buffer, with a NUL at
/// the end.
///
/// *message_len becomes the length of the message without the NUL, also when the buffer is too
/// small; message_len may be NULL. Call it with buffer NULL and buffer_len 0 to learn the length.
///
/// Errors: NOT_FOUND when no failure that is kept has this number; INVALID_ARGUMENT for a NULL
/// buffer with a length, and for a buffer that is too small, whose content is then unchanged.
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
                format!("failure is {failure}, which is none of the latest {KEPT} failures of this process"),
            )
        })?;
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::give_text(message.to_bytes(), "message", (buffer, buffer_len), message_len) }
    })
}
