//! The guard that every exported function runs inside: a panic becomes a status, an error becomes
//! the thread's last error.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::thread;

use super::float_state::FloatState;
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
}

/// As `PANIC`, for the library's own threads: the call for which they worked reports it.
static PANIC_ELSEWHERE: UntracedMutex<String> = UntracedMutex::new(String::new());

/// Runs the body of a function that returns a status.
pub(super) fn status(function: &'static str, body: impl FnOnce() -> Result<()>) -> Status {
    match run(body) {
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
    match run(body) {
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

fn run<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    let _float_state = FloatState::enter();
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
            if !is_guarded && !is_ours {
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
