//! The latest failures of the process, under their numbers, for any thread.

use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::Status;
use crate::locks::UntracedMutex;

/// The number of the first failure of a process. Later failures count up from it.
///
/// It is above every errno of the operating system.
pub const DAMO_FAILURE_FIRST: i32 = 1_073_741_824;

/// How many failures are kept. A power of two.
pub(super) const KEPT: u32 = 4096;

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

pub(super) fn find(number: i32) -> Option<(Status, CString)> {
    let kept = place(number)?.try_lock_for(std::time::Duration::from_millis(100))?;
    let message = kept.message.clone().filter(|_| kept.number == number)?;
    Some((Status::from_code(kept.status)?, message))
}
