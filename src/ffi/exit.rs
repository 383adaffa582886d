//! The end of processes in which RocksDB has, or had, background threads.
//!
//! RocksDB's exit handlers join its threads and destroy what its databases need. In a child forked while the threads ran
//! they do not exist, and joining them crashes; so the child leaves before those handlers, with its exit code and C's
//! streams flushed, much as POSIX advises forked children to do. In the process itself calls are refused from here on,
//! so that a destructor which comes later gets an error and not a crash.

//!
//! While a process opens its first storage, RocksDB makes static objects one by one, and their destructors would run before any
//! handler that was registered earlier: a program that ended just then crashed. In the shared library, where C++ registers a
//! destructor (`__cxa_atexit`), nothing is registered: the objects live as long as the process does.

use std::sync::Once;

use crate::error::Result;
use crate::memory::check_headroom;
use crate::storage;

/// To be called before a storage is opened. Handlers run in the reverse order of their registration, and RocksDB must
/// have registered its own before.
///
/// # Errors
/// `OUT_OF_MEMORY`: RocksDB would end the process.
pub(super) fn before_opening() -> Result<()> {
    static REGISTER: Once = Once::new();
    if !REGISTER.is_completed() {
        check_headroom(0)?;
    }
    REGISTER.call_once(|| {
        storage::load_rocksdb();
        register();
    });
    Ok(())
}

/// To be called after a storage was opened, or was not. Opening makes more of RocksDB's static objects; registered once
/// more, damo's handler runs before those are destroyed too.
pub(super) fn after_opening() {
    static REGISTER: Once = Once::new();
    if storage::has_touched_rocksdb() {
        REGISTER.call_once(register);
    }
}

// What build.rs has the linker put in place of `__cxa_atexit`: success, and nothing registered. Nobody else sees it.
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
std::arch::global_asm!(
    ".globl __wrap___cxa_atexit",
    ".hidden __wrap___cxa_atexit",
    ".type __wrap___cxa_atexit, @function",
    "__wrap___cxa_atexit:",
    "xorl %eax, %eax",
    "retq",
    options(att_syntax)
);
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "aarch64"))]
std::arch::global_asm!(
    ".globl __wrap___cxa_atexit",
    ".hidden __wrap___cxa_atexit",
    ".type __wrap___cxa_atexit, %function",
    "__wrap___cxa_atexit:",
    "mov w0, #0",
    "ret",
);

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn register() {
    use std::ffi::{c_int, c_void};

    unsafe extern "C" {
        fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }

    extern "C" fn at_exit(status: c_int, _: *mut c_void) {
        if storage::is_forked_child() {
            // SAFETY: fflush(NULL) flushes what exit would have flushed; _exit takes a number and does not return.
            unsafe {
                libc::fflush(std::ptr::null_mut());
                libc::_exit(status);
            }
        }
        storage::process_is_exiting();
    }

    // SAFETY: on_exit keeps a pointer to a function of this library, which the header asks not to unload.
    unsafe { on_exit(at_exit, std::ptr::null_mut()) };
}

/// Other C libraries tell an exit handler no status to leave with; there forked children must call _exit themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn register() {
    extern "C" fn at_exit() {
        if !storage::is_forked_child() {
            storage::process_is_exiting();
        }
    }

    // SAFETY: as above.
    unsafe { libc::atexit(at_exit) };
}
