//! `damo_params`: the bag that configures everything else.

use std::ffi::c_char;

use super::{arguments, guard};
use crate::error::damo_status;
use crate::params::{Params, Value};

/// A typed key/value bag that configures everything else.
///
/// Whoever it is given to copies what it needs, so it can be freed at once. Where a function takes a
/// const damo_params *, NULL means: nothing set, defaults throughout. Unknown keys, wrong types and values out of
/// range are refused where the bag is used, by an error that lists what is accepted. Unlike all other handles, a
/// bag must not be used by two threads at once.
pub struct damo_params {
    pub(super) inner: Params,
}

/// Makes an empty bag. Never NULL. Free it with damo_params_free.
#[unsafe(no_mangle)]
pub extern "C" fn damo_params_new() -> *mut damo_params {
    guard::handle("damo_params_new", || Ok(damo_params { inner: Params::new() }))
}

/// Sets an integer; also accepted wherever a float is wanted. A key set twice keeps the last value.
///
/// Errors: INVALID_ARGUMENT for a NULL bag and for a key that is NULL, empty or not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_params_set_int(
    params: *mut damo_params,
    key: *const c_char,
    value: i64,
) -> damo_status {
    // SAFETY: the contract of `arguments`.
    unsafe { set("damo_params_set_int", params, key, Value::Int(value)) }
}

/// Sets a float.
///
/// Errors: as damo_params_set_int; and INVALID_ARGUMENT for NaN and infinities.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_params_set_float(
    params: *mut damo_params,
    key: *const c_char,
    value: f64,
) -> damo_status {
    // SAFETY: the contract of `arguments`.
    unsafe { set("damo_params_set_float", params, key, Value::Float(value)) }
}

/// Sets a boolean.
///
/// Errors: as damo_params_set_int.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_params_set_bool(
    params: *mut damo_params,
    key: *const c_char,
    value: bool,
) -> damo_status {
    // SAFETY: the contract of `arguments`.
    unsafe { set("damo_params_set_bool", params, key, Value::Bool(value)) }
}

/// Sets a string, which is copied.
///
/// Errors: as damo_params_set_int; and INVALID_ARGUMENT for a value that is NULL or not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_params_set_str(
    params: *mut damo_params,
    key: *const c_char,
    value: *const c_char,
) -> damo_status {
    const FUNCTION: &str = "damo_params_set_str";
    guard::status(FUNCTION, || {
        // SAFETY: the contract of `arguments`.
        let (params, key, value) = unsafe {
            (
                arguments::handle_mut(params, "params")?,
                arguments::text(key, "key")?,
                arguments::text(value, "value")?,
            )
        };
        params.inner.set(key, value)
    })
}

unsafe fn set(
    function: &'static str,
    params: *mut damo_params,
    key: *const c_char,
    value: Value,
) -> damo_status {
    guard::status(function, || {
        // SAFETY: the contract of `arguments`.
        let (params, key) =
            unsafe { (arguments::handle_mut(params, "params")?, arguments::text(key, "key")?) };
        params.inner.set(key, value)
    })
}

/// Writes the bag as a JSON object, keys sorted, into buffer, with a NUL at the end.
///
/// *json_len becomes the length of the JSON without the NUL, also when the buffer is too small; json_len may be
/// NULL. Call it with buffer NULL and buffer_len 0 to learn the length; buffer_len = *json_len + 1 then suffices.
///
/// Errors: INVALID_ARGUMENT for a NULL bag, a NULL buffer with a length, and a buffer that is too small, whose
/// content is then unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_params_to_json(
    params: *const damo_params,
    buffer: *mut c_char,
    buffer_len: usize,
    json_len: *mut usize,
) -> damo_status {
    guard::status("damo_params_to_json", || {
        // SAFETY: the contract of `arguments`.
        let params = unsafe { arguments::handle(params, "params") }?;
        let json = params.inner.to_json();
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::give_json(&json, buffer, buffer_len, json_len) }
    })
}

/// Frees a bag. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_params_free(params: *mut damo_params) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(params) }
}
