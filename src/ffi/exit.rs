//! The end of a process in which RocksDB has, or had, background threads.
//!
//! RocksDB's exit handlers join its threads and destroy what its databases need. damo's handler
//! runs before them.
//! - In a forked child the threads do not exist, and joining them crashes. So the child exits in
//!   damo's handler, with its exit code, after flushing C's streams. POSIX advises forked children
//!   to do much the same.
//! - In the process itself damo's handler makes every later call return an error. A destructor that
//!   runs later would crash otherwise. Then RocksDB's threads end, if no storage is open
//!   (storage/process_end.rs).
//!
//! RocksDB makes static objects one by one while a process opens its first storage. Their
//! destructors would run before any handler that was registered earlier: a program that ended just
//! then crashed. So in the shared library `__cxa_atexit`, by which C++ registers destructors,
//! registers nothing: the objects live as long as the process.

use std::sync::Once;

use crate::error::Result;
use crate::memory::check_headroom;
use crate::{process, storage};

/// Registers damo's exit handler, after RocksDB's: handlers run in the reverse order. Call it
/// before opening a storage.
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

/// Registers the handler once more, so that it runs before the static objects are destroyed that
/// opening has made. Call it after opening a storage, also when that failed.
pub(super) fn after_opening() {
    static REGISTER: Once = Once::new();
    if process::has_touched_rocksdb() {
        REGISTER.call_once(register);
    }
}

// The linker puts this in the place of `__cxa_atexit` (build.rs): it registers nothing and returns
// success. The symbol is hidden.
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
        if process::is_forked_child() {
            // SAFETY: fflush(NULL) flushes what exit would have flushed. _exit takes a number and
            // does not return.
            unsafe {
                libc::fflush(std::ptr::null_mut());
                libc::_exit(status);
            }
        }
        process::end_calls();
        storage::end_threads();
    }

    // SAFETY: on_exit keeps a pointer to a function of this library, which must not be unloaded
    // (damo.h).
    unsafe { on_exit(at_exit, std::ptr::null_mut()) };
}

/// In other C libraries an exit handler does not learn the status to exit with, so forked children
/// must call _exit themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn register() {
    extern "C" fn at_exit() {
        if !process::is_forked_child() {
            process::end_calls();
            storage::end_threads();
        }
    }

    // SAFETY: as above.
    unsafe { libc::atexit(at_exit) };
}
