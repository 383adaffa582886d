//! A file that would exceed the process's limit is an error of the call, and not the process's end.
//!
//! At such a write the system sends the thread SIGXFSZ, which ends the process unless it is
//! blocked, ignored or handled; the write then fails with EFBIG. What the process does with the
//! signal is the host's business. So it is blocked for the time of a call, and taken back before
//! the call returns. Where there is no limit nothing is done.
//!
//! Threads begin with what the thread that starts them has blocked. damo's own threads, and
//! RocksDB's, which are started when a database is opened, begin with the signal blocked whether
//! there is a limit or not: one may be set later, and RocksDB's threads serve all storages of the
//! process.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

/// Whether there was a limit when it was looked for last.
static IS_LIMITED: AtomicBool = AtomicBool::new(false);

/// Finds out whether there is a limit. Each call does that opens or closes something, or takes long
/// anyway.
pub(crate) fn look() {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: it writes the limit, of which there is room for one.
    let is_told = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, limit.as_mut_ptr()) } == 0;
    // SAFETY: it was written.
    let is_limited = is_told && unsafe { limit.assume_init() }.rlim_cur != libc::RLIM_INFINITY;
    IS_LIMITED.store(is_limited, Ordering::Relaxed);
}

/// While it is there the signal is blocked.
pub struct Blocked(());

/// Blocks the signal, if there is a limit and the host has not blocked it.
pub(crate) fn enter() -> Option<Blocked> {
    if IS_LIMITED.load(Ordering::Relaxed) { block() } else { None }
}

/// Blocks the signal on this thread, if the host has not, and on threads that it starts meanwhile.
pub fn block() -> Option<Blocked> {
    let signal = the_signal();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both point to sets, of which the second is written.
    if unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signal, before.as_mut_ptr()) }
        != 0
    {
        return None;
    }
    // SAFETY: it was written.
    let was_blocked = unsafe { libc::sigismember(before.as_ptr(), libc::SIGXFSZ) } == 1;
    // Made only when it is needed: dropping one unblocks the signal.
    (!was_blocked).then(|| Blocked(()))
}

/// Starts a thread that never gets the signal, whatever its starter has blocked.
///
/// # Errors
/// The system's, when it has no thread to give.
pub(crate) fn start_thread<T: Send + 'static>(
    builder: Builder,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let _writes_that_return = block();
    builder.spawn(work)
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let signal = the_signal();
        let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: each gets sets that are there, and the addresses of variables to write.
        unsafe {
            if libc::sigpending(pending.as_mut_ptr()) == 0
                && libc::sigismember(pending.as_ptr(), libc::SIGXFSZ) == 1
            {
                take(&raw const signal);
            }
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const signal, std::ptr::null_mut());
        }
    }
}

/// Takes the signal, which is pending. It may be pending for the whole process, and another thread
/// be faster: so there is no waiting for it where the system can do without.
///
/// # Safety
/// `signal` points to a set.
unsafe fn take(signal: *const libc::sigset_t) {
    #[cfg(not(target_vendor = "apple"))]
    {
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the caller's promise; nothing is written where NULL is given.
        unsafe { libc::sigtimedwait(signal, std::ptr::null_mut(), &raw const at_once) };
    }
    #[cfg(target_vendor = "apple")]
    {
        let mut taken = 0;
        // SAFETY: the caller's promise, and a variable to write.
        unsafe { libc::sigwait(signal, &raw mut taken) };
    }
}

fn the_signal() -> libc::sigset_t {
    let mut signal = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first makes it an empty set, to which the second adds.
    unsafe {
        libc::sigemptyset(signal.as_mut_ptr());
        libc::sigaddset(signal.as_mut_ptr(), libc::SIGXFSZ);
        signal.assume_init()
    }
}
