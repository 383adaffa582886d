//! Versions: what was compiled, what was loaded.

use std::ffi::c_char;

/// The number of the binary interface. tests/source/header.rs writes it into the header.
///
/// cbindgen:ignore
pub const DAMO_ABI_VERSION: u32 = 1;

/// Returns the version of the loaded library, such as "0.1.0". Never NULL; do not free it.
#[unsafe(no_mangle)]
pub extern "C" fn damo_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Returns the number of the loaded library's binary interface. See DAMO_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn damo_abi_version() -> u32 {
    DAMO_ABI_VERSION
}
