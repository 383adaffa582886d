//! `damo_params`: the bag of parameters that configures everything else.

use std::ffi::c_char;

use super::{arguments, guard};
use crate::error::damo_status;
use crate::params::{Params, Value};

/// A typed key/value bag that configures everything else.
///
/// A function that takes a const damo_params * copies what it needs, so the bag can be freed right
/// after the call. NULL stands for an empty bag: every default holds. The function refuses unknown
/// keys, wrong types and values out of range, by an error that lists what is accepted.
///
/// A damo_params must not be used by two threads at once, nor may a damo_pin or a damo_step.
pub struct damo_params {
    pub(super) inner: Params,
}

/// Makes an empty bag. Never returns NULL. Free it with damo_params_free.
#[unsafe(no_mangle)]
pub extern "C" fn damo_params_new() -> *mut damo_params {
    guard::handle("damo_params_new", || Ok(damo_params { inner: Params::new() }))
}

/// Frees a bag. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_params_free(params: *mut damo_params) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(params) }
}

/// Sets key to an integer, which is also accepted wherever a float is needed.
///
/// A key that is set twice keeps the last value. The key is copied.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL bag; a key that is NULL, empty or not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_params_set_int(
    params: *mut damo_params,
    key: *const c_char,
    value: i64,
) -> damo_status {
    // SAFETY: the contract of `arguments`.
    unsafe { set("damo_params_set_int", params, key, Value::Int(value)) }
}

/// Sets key to a float.
///
/// Errors: as damo_params_set_int, and
/// - INVALID_ARGUMENT: NaN or an infinity.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_params_set_float(
    params: *mut damo_params,
    key: *const c_char,
    value: f64,
) -> damo_status {
    // SAFETY: the contract of `arguments`.
    unsafe { set("damo_params_set_float", params, key, Value::Float(value)) }
}

/// Sets key to a boolean.
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

/// Sets key to a string, which is copied.
///
/// Errors: as damo_params_set_int, and
/// - INVALID_ARGUMENT: a value that is NULL or not UTF-8.
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

/// Writes the bag as a JSON object, with its keys sorted, into buffer.
///
/// - buffer: gets the JSON and a NUL. NULL with buffer_len 0 asks for the length only; then
///   buffer_len = *json_len + 1 is enough.
/// - json_len: becomes the length without the NUL, also when the buffer is too small. May be NULL.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL bag; a NULL buffer with a length; a buffer that is too small, which
///   is left unchanged.
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
