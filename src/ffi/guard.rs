//! The guard that every exported function runs inside: a panic becomes a status, an error becomes
//! the thread's last error.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::float_state::{FloatState, HostState};
use super::handle::{self, HandleKind};
use super::last_error;
use crate::error::{Error, Result, Status};
use crate::file_size_limit;
use crate::locks::UntracedMutex;

thread_local! {
    /// How many guards this thread is inside of. Above 0 its panics are caught, and must not be
    /// printed.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The message and place of the last panic that was caught.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    /// Whether this thread, one of the host's, is doing a piece of a call's work.
    static IS_LENT: Cell<bool> = const { Cell::new(false) };
    /// The host's floating-point state before the present call. Kept only if executors are used.
    static HOSTS_FLOATS: Cell<Option<HostState>> = const { Cell::new(None) };
    /// Whether a call on this thread waits for a host's executor.
    static IS_WITHIN_EXECUTOR: Cell<bool> = const { Cell::new(false) };
}

/// Whether a host has ever lent its threads. Until then calls skip what executors need.
static EXECUTORS_ARE_USED: AtomicBool = AtomicBool::new(false);

/// As `PANIC`, for the library's own threads and lent ones: the call for which they worked reports
/// it.
static PANIC_ELSEWHERE: UntracedMutex<String> = UntracedMutex::new(String::new());

/// Runs the body of a function that returns a status.
pub(super) fn status(function: &'static str, body: impl FnOnce() -> Result<()>) -> Status {
    match check_not_within_executor().and_then(|()| run(body)) {
        Ok(()) => Status::Ok,
        Err(error) => last_error::set(function, error),
    }
}

/// As [`status`], for a function that takes long anyway: it also looks for a file size limit that
/// was set since the last handle was made.
pub(super) fn long_call(function: &'static str, body: impl FnOnce() -> Result<()>) -> Status {
    file_size_limit::look();
    status(function, body)
}

/// Runs the body of a function that returns a new handle, or NULL.
pub(super) fn handle<T: HandleKind>(
    function: &'static str,
    body: impl FnOnce() -> Result<T>,
) -> *mut T {
    file_size_limit::look();
    match check_not_within_executor().and_then(|()| run(body)) {
        Ok(value) => handle::make(value),
        Err(error) => {
            last_error::set(function, error);
            std::ptr::null_mut()
        }
    }
}

/// Frees a handle. Does nothing with what is no live handle of this kind.
///
/// Never touches the last error: a finalizer may run between a failed call and the reading of its
/// message.
///
/// # Safety
/// As [`handle::take`].
pub(super) unsafe fn free<T: HandleKind>(handle: *mut T) {
    // Freeing the last handle of a storage writes what has changed.
    file_size_limit::look();
    // SAFETY: the caller's promise.
    if let Some(boxed) = unsafe { handle::take(handle) } {
        // Nobody could be told of a panic while closing.
        let _ = run(|| {
            drop(boxed);
            Ok(())
        });
    }
}

/// Runs a part of a call's work on a thread that the host has lent. `work` does not panic.
pub(super) fn lent(work: &dyn Fn()) {
    let _float_state = FloatState::enter();
    let _writes_that_return = file_size_limit::enter();
    let was_lent = IS_LENT.try_with(|lent| lent.replace(true)).unwrap_or(false);
    work();
    let _ = IS_LENT.try_with(|lent| lent.set(was_lent));
}

/// Notes that a host lends threads: [`executor`] may be called from now on.
pub(super) fn note_executor() {
    EXECUTORS_ARE_USED.store(true, Ordering::Relaxed);
}

/// Runs a host's executor, during a call of damo. Until it returns, other calls on this thread are
/// refused, if they can fail: they could wait for this one.
pub(super) fn executor(run: impl FnOnce()) {
    let was_within = IS_WITHIN_EXECUTOR.try_with(|within| within.replace(true)).unwrap_or(false);
    // Threads that the host starts now inherit its floating-point state, and not damo's.
    let hosts = HOSTS_FLOATS.try_with(Cell::get).ok().flatten();
    let damos = hosts.map(HostState::enter);
    run();
    drop(damos);
    let _ = IS_WITHIN_EXECUTOR.try_with(|within| within.set(was_within));
}

#[inline]
fn check_not_within_executor() -> Result<()> {
    let is_within = || IS_WITHIN_EXECUTOR.try_with(Cell::get).unwrap_or(false);
    if EXECUTORS_ARE_USED.load(Ordering::Relaxed) && is_within() {
        return Err(Error::busy(
            "called from within an executor, on the thread of a call that waits for it; an \
             executor must not call damo",
        ));
    }
    Ok(())
}

fn run<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    let float_state = FloatState::enter();
    if EXECUTORS_ARE_USED.load(Ordering::Relaxed) {
        let _ = HOSTS_FLOATS.try_with(|hosts| hosts.set(Some(float_state.of_host())));
    }
    let _writes_that_return = file_size_limit::enter();
    silence_caught_panics();
    let depth = DEPTH.try_with(|depth| depth.replace(depth.get() + 1)).unwrap_or(0);
    // Unwind safety: the group's poison flag guards what a panic may leave half-made.
    let outcome = panic::catch_unwind(AssertUnwindSafe(body));
    let result = match outcome {
        Ok(result) => result,
        Err(payload) => {
            let mut what = PANIC.try_with(|panic| panic.take()).unwrap_or_default();
            if what.is_empty() {
                what = PANIC_ELSEWHERE.lock().clone();
            }
            // Dropping a payload runs its code, which may panic again. That second payload is
            // leaked.
            if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(second);
            }
            Err(Error::new(Status::Panic, format!("a bug in damo: {what}")))
        }
    };
    let _ = DEPTH.try_with(|slot| slot.set(depth));
    result
}

/// Installs a panic hook that does not print, since a library must not. Panics on other threads
/// outside a guard still go to the hook before it.
fn silence_caught_panics() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_guarded = DEPTH.try_with(Cell::get).unwrap_or(0) > 0;
            let is_ours = thread::current().name().is_some_and(|name| name.starts_with("damo-"));
            let is_lent = || IS_LENT.try_with(Cell::get).unwrap_or(false);
            if !is_guarded && !is_ours && !is_lent() {
                return previous(info);
            }
            let words = info.payload_as_str().unwrap_or("panicked");
            let place =
                info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
            let text = format!("{words}{}", place.unwrap_or_default());
            if is_guarded {
                let _ = PANIC.try_with(|panic| panic.replace(text));
            } else {
                *PANIC_ELSEWHERE.lock() = text;
            }
        }));
    });
}
