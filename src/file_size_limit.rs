//! Turns a write beyond the process's file size limit into an error of the call, instead of the
//! process's end.
//!
//! At such a write the system sends the thread SIGXFSZ, which ends the process unless the signal is
//! blocked, ignored or handled; the write then fails with EFBIG. The host decides what its process
//! does with the signal. So a call blocks the signal and restores it before it returns. Where there
//! is no limit nothing is done.
//!
//! A thread inherits its starter's blocked signals. damo's own threads, and RocksDB's, which start
//! when a database is opened, begin with the signal blocked whether or not there is a limit: one
//! may be set later, and RocksDB's threads serve all storages of the process.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

/// Whether there was a limit at the last look.
static IS_LIMITED: AtomicBool = AtomicBool::new(false);

/// Finds out whether there is a limit. Called by calls that open or close something, or that take
/// long anyway.
pub(crate) fn look() {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: it writes one limit, for which there is room.
    let is_told = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, limit.as_mut_ptr()) } == 0;
    // SAFETY: it was written.
    let is_limited = is_told && unsafe { limit.assume_init() }.rlim_cur != libc::RLIM_INFINITY;
    IS_LIMITED.store(is_limited, Ordering::Relaxed);
}

/// Keeps the signal blocked until it is dropped.
pub struct Blocked(());

/// Blocks the signal, if there is a limit and the host has not blocked it.
pub(crate) fn enter() -> Option<Blocked> {
    if IS_LIMITED.load(Ordering::Relaxed) { block() } else { None }
}

/// Blocks the signal on this thread, and on threads that it starts meanwhile, unless the host has
/// blocked it.
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
    // No value is made when the host had blocked the signal: dropping it would unblock the signal.
    (!was_blocked).then(|| Blocked(()))
}

/// Starts a thread that never gets the signal, whatever its starter has blocked.
///
/// # Errors
/// The system's error when it cannot start a thread.
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
        // SAFETY: each gets valid sets, and the addresses of variables to write.
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

/// Takes the pending signal. It may be pending for the whole process, and another thread may take
/// it first: so this does not wait where the system allows that.
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
