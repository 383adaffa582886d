//! An anonymous mapping that fails is tried again at once.
//!
//! RocksDB's cache ends the process when it cannot map memory. src/memory.rs checks beforehand that
//! there is enough, but a single failure after that would end the process. The linker puts `map` in
//! the place of the C library's mmap (build.rs).

#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

use std::ffi::{c_int, c_void};

const ATTEMPTS: usize = 8;

unsafe extern "C" {
    fn __real_mmap(
        at: *mut c_void,
        len: usize,
        access: c_int,
        flags: c_int,
        file: c_int,
        offset: i64,
    ) -> *mut c_void;
}

/// # Safety
/// As mmap.
pub(super) unsafe extern "C" fn map(
    at: *mut c_void,
    len: usize,
    access: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    let attempts = if flags & libc::MAP_ANONYMOUS != 0 { ATTEMPTS } else { 1 };
    let mut mapped = libc::MAP_FAILED;
    for _ in 0..attempts {
        // SAFETY: the caller's arguments.
        mapped = unsafe { __real_mmap(at, len, access, flags, file, offset) };
        if mapped != libc::MAP_FAILED {
            break;
        }
    }
    mapped
}
