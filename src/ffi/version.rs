//! Versions: what was compiled, what was loaded.

use std::ffi::c_char;

/// The number of the binary interface. tests/header.rs writes it into the header.
///
/// cbindgen:ignore
pub const DAMO_ABI_VERSION: u32 = 1;

/// The version of the library that is loaded, such as "0.1.0". Never NULL, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn damo_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The number of the binary interface of the library that is loaded; see DAMO_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn damo_abi_version() -> u32 {
    DAMO_ABI_VERSION
}
