//! `damo_status`: what became of a call. The type itself is in `error`, which every layer uses.

use std::ffi::c_char;

use crate::error::Status;

/// Returns the name of a status, such as "BUSY", or "UNKNOWN" for a number that is no status.
///
/// Takes any int, so that it is safe to ask about a number from a newer library. Never NULL; do not
/// free it.
#[unsafe(no_mangle)]
pub extern "C" fn damo_status_name(status: i32) -> *const c_char {
    Status::from_code(status).map_or(c"UNKNOWN", Status::name).as_ptr()
}
