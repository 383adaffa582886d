//! damo's own threads: each has a name, and a panic of its work becomes an error.

use std::cell::Cell;
use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{Builder, JoinHandle};

use crate::error::{Error, Result};
use crate::file_size_limit::start_thread;

thread_local! {
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Tells that a thread has begun.
#[derive(Clone)]
pub(crate) struct Beginning(Sender<()>);

/// Waits for threads that begin.
pub(crate) struct Beginnings(Receiver<()>);

/// Lets a starter wait until its threads have begun. A thread's first allocation ends the process
/// if a limit leaves no memory, and our caller may set such a limit once we return.
pub(crate) fn beginnings() -> (Beginning, Beginnings) {
    let (sender, receiver) = mpsc::channel();
    (Beginning(sender), Beginnings(receiver))
}

impl Beginning {
    /// To be called by the new thread.
    pub(crate) fn has_begun(self) {
        // The C library sets a thread's memory up at its first allocation.
        drop(hint::black_box(Box::new(0_u64)));
        drop(self.0);
    }
}

impl Beginnings {
    /// Waits until each [`Beginning`] was used or dropped.
    pub(crate) fn wait(self) {
        // Nothing is ever sent.
        let _ = self.0.recv();
    }
}

/// Starts a thread, and waits until it has begun; `what` is what messages call it.
///
/// # Errors
/// `IO` when the system cannot start it.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let (beginning, beginnings) = beginnings();
    let work = move || {
        beginning.has_begun();
        mark_own();
        work()
    };
    let thread = start_thread(Builder::new().name(name.to_owned()), work)
        .map_err(|error| Error::io(format!("{what} cannot be made here: {error}")))?;
    beginnings.wait();
    Ok(thread)
}

/// Notes that the present thread is damo's own.
pub(crate) fn mark_own() {
    IS_OWN.set(true);
}

/// Whether the present thread was marked by [`mark_own`]: those of [`start`], and damo-open. The
/// helpers (workers, readers, parallel scans, dumps, rounds) make no calls of their own, and are
/// not.
pub(crate) fn is_own() -> bool {
    IS_OWN.try_with(Cell::get).unwrap_or(false)
}

/// Does work whose panic must not end the thread; `who` is what messages call the thread.
///
/// # Errors
/// Those of the work; `PANIC` when it panicked.
pub(crate) fn catch<T>(who: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::bug(format_args!("{who} panicked"))))
}

/// A number of the present thread. Threads that have ended may have had the same.
pub(crate) fn token() -> usize {
    thread_local! {
        static TOKEN: u8 = const { 0 };
    }
    TOKEN.try_with(|token| std::ptr::from_ref(token).addr()).unwrap_or(0)
}
