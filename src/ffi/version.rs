//! `damo_version`: the release of the library that was loaded.

use std::ffi::c_char;

/// Returns the version of the loaded library, such as "0.1.0". Never NULL; do not free it.
#[unsafe(no_mangle)]
pub extern "C" fn damo_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
