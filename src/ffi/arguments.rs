//! Checks what C passes and turns it into Rust's types. Every error names the argument and its
//! value.
//!
//! All functions of `ffi` share this contract, which the header states:
//! - A handle is NULL, or was made by damo and has not been freed.
//! - A buffer that is not NULL has as many elements as the count beside it, and nobody else writes
//!   to it during the call.
//! - A string ends with NUL.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

use super::handle::{self, HandleKind};
use crate::error::{Error, Result};
use crate::kernels::{Rows, RowsMut, count_of};
use crate::params::Params;

/// An element type of buffers and results. Of those that are read, any bytes are a value.
pub(super) trait Plain: Copy {}
impl Plain for i64 {}
impl Plain for f32 {}
impl Plain for u8 {}
impl Plain for u64 {}
impl Plain for usize {}
impl Plain for f64 {}
impl Plain for u32 {}
impl Plain for *const f32 {}
impl Plain for *mut f32 {}
impl Plain for *mut super::damo_pin {}

/// A handle that must not be NULL.
///
/// # Safety
/// `pointer` is NULL or a live handle.
pub(super) unsafe fn handle<'a, T: HandleKind>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { optional_handle(pointer, name) }?.ok_or_else(|| null(name, "a handle"))
}

/// A handle that may be NULL.
///
/// # Safety
/// `pointer` is NULL or a live handle.
pub(super) unsafe fn optional_handle<'a, T: HandleKind>(
    pointer: *const T,
    name: &str,
) -> Result<Option<&'a T>> {
    // SAFETY: the caller's promise.
    unsafe { handle::get(pointer, name) }
}

/// As [`handle`], for the handle that its caller may change: one thread at a time uses it.
///
/// # Safety
/// `pointer` is NULL or a live handle that no other thread is using.
pub(super) unsafe fn handle_mut<'a, T: HandleKind>(
    pointer: *mut T,
    name: &str,
) -> Result<&'a mut T> {
    // SAFETY: the caller's promise.
    unsafe { handle::get_mut(pointer, name) }?.ok_or_else(|| null(name, "a handle"))
}

/// A bag of parameters; NULL means no parameter is given.
///
/// # Safety
/// `pointer` is NULL or a live handle that no other thread is changing.
pub(super) unsafe fn params<'a>(
    pointer: *const super::damo_params,
    name: &str,
) -> Result<&'a Params> {
    static NONE: std::sync::LazyLock<Params> = std::sync::LazyLock::new(Params::new);
    // SAFETY: the caller's promise.
    Ok(unsafe { optional_handle(pointer, name) }?.map_or(&NONE, |params| &params.inner))
}

/// A buffer to read.
///
/// # Safety
/// The module's contract for buffers.
pub(super) unsafe fn slice<'a, T: Plain>(
    pointer: *const T,
    len: usize,
    name: &str,
) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    check_buffer(pointer, len, name)?;
    // SAFETY: not NULL, aligned, no longer than an allocation can be. The rest is the caller's
    // promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// A buffer to write. C may pass uninitialised memory where a function only stores into it.
///
/// # Safety
/// The module's contract for buffers.
pub(super) unsafe fn slice_mut<'a, T: Plain>(
    pointer: *mut T,
    len: usize,
    name: &str,
) -> Result<&'a mut [T]> {
    if len == 0 {
        return Ok(&mut []);
    }
    check_buffer(pointer, len, name)?;
    // SAFETY: as in `slice`.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

/// Rows to read: `dim` floats each, `stride` floats from one to the next.
///
/// # Safety
/// The module's contract for buffers. It holds for the rows: others may write between them.
pub(super) unsafe fn rows<'a>(
    (pointer, len): (*const f32, usize),
    (dim, stride): (usize, usize),
    name: &str,
) -> Result<Rows<'a>> {
    let (first, count) = rows_at(pointer, len, (dim, stride), name)?;
    // SAFETY: the buffer has this many rows, and is not NULL and aligned if there are any. The rest
    // is the caller's promise.
    Ok(unsafe { Rows::from_raw(first, count, dim, stride) })
}

/// As [`rows`], to write.
///
/// # Safety
/// As [`rows`]; others may read between the rows, too.
pub(super) unsafe fn rows_mut<'a>(
    (pointer, len): (*mut f32, usize),
    (dim, stride): (usize, usize),
    name: &str,
) -> Result<RowsMut<'a>> {
    let (first, count) = rows_at(pointer.cast_const(), len, (dim, stride), name)?;
    // SAFETY: as in `rows`.
    Ok(unsafe { RowsMut::from_raw(first, count, dim, stride) })
}

/// The address of the first row, and the number of rows. The address is of no use for no rows.
fn rows_at(
    pointer: *const f32,
    len: usize,
    (dim, stride): (usize, usize),
    name: &str,
) -> Result<(NonNull<f32>, usize)> {
    if len > 0 {
        check_buffer(pointer, len, name)?;
    }
    let count = count_of(name, len, dim, stride)?;
    Ok((NonNull::new(pointer.cast_mut()).unwrap_or(NonNull::dangling()), count))
}

/// A result to write through a pointer.
///
/// # Safety
/// `pointer` is NULL or points to room for one value.
pub(super) unsafe fn out<'a, T: Plain>(pointer: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: the caller's promise.
    unsafe { optional_out(pointer, name) }?.ok_or_else(|| null(name, "the address of a variable"))
}

/// As [`out`], where NULL says that the result is not wanted.
///
/// # Safety
/// As [`out`].
pub(super) unsafe fn optional_out<'a, T: Plain>(
    pointer: *mut T,
    name: &str,
) -> Result<Option<&'a mut T>> {
    if !pointer.is_aligned() {
        return Err(misaligned(pointer, name));
    }
    // SAFETY: the caller's promise; alignment was checked.
    Ok(unsafe { pointer.as_mut() })
}

/// A bool to write through a pointer, as a byte: what the caller's variable holds before need not
/// be a bool.
///
/// # Safety
/// As [`out`].
pub(super) unsafe fn out_bool<'a>(pointer: *mut bool, name: &str) -> Result<&'a mut u8> {
    // SAFETY: the caller's promise; C's bool is a byte.
    unsafe { out(pointer.cast::<u8>(), name) }
}

/// As [`out_bool`], where NULL says that the result is not wanted.
///
/// # Safety
/// As [`out`].
pub(super) unsafe fn optional_out_bool<'a>(
    pointer: *mut bool,
    name: &str,
) -> Result<Option<&'a mut u8>> {
    // SAFETY: the caller's promise; C's bool is a byte.
    unsafe { optional_out(pointer.cast::<u8>(), name) }
}

/// Writes a result, if the caller wants it.
pub(super) fn give<T>(out: Option<&mut T>, value: T) {
    if let Some(out) = out {
        *out = value;
    }
}

/// A UTF-8 string.
///
/// # Safety
/// `pointer` is NULL or a string that ends with NUL.
pub(super) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { c_str(pointer, name) }?;
    bytes.to_str().map_err(|_| Error::invalid(format!("{name} is {bytes:?}; UTF-8 is needed")))
}

/// A path: any bytes that the operating system accepts.
///
/// # Safety
/// `pointer` is NULL or a string that ends with NUL.
pub(super) unsafe fn path<'a>(pointer: *const c_char, name: &str) -> Result<&'a Path> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { c_str(pointer, name) }?;
    Ok(Path::new(OsStr::from_bytes(bytes.to_bytes())))
}

/// As [`give_text`], for JSON.
///
/// # Safety
/// As [`give_text`].
pub(super) unsafe fn give_json(
    json: &str,
    buffer: *mut c_char,
    buffer_len: usize,
    json_len: *mut usize,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { give_text(json.as_bytes(), "json", (buffer, buffer_len), json_len) }
}

/// Writes the length of a text called `name` to `text_len`, and the text and a NUL into a buffer. A
/// NULL buffer of length 0 asks for the length only.
///
/// # Safety
/// The module's contract for buffers; `text_len` is NULL or points to room for one value.
pub(super) unsafe fn give_text(
    text: &[u8],
    name: &str,
    (buffer, buffer_len): (*mut c_char, usize),
    text_len: *mut usize,
) -> Result<()> {
    // SAFETY: the caller's promise.
    give(unsafe { optional_out(text_len, &format!("{name}_len")) }?, text.len());
    if buffer.is_null() && buffer_len == 0 {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    let buffer = unsafe { slice_mut(buffer.cast::<u8>(), buffer_len, "buffer") }?;
    let Some((start, end)) =
        buffer.split_at_mut_checked(text.len()).filter(|(_, end)| !end.is_empty())
    else {
        let what = if name == "json" { "JSON" } else { name };
        return Err(Error::invalid(format!(
            "buffer_len is {buffer_len}; {} bytes (the {what} and a NUL) are needed",
            text.len() + 1
        )));
    };
    start.copy_from_slice(text);
    if let Some(nul) = end.first_mut() {
        *nul = 0;
    }
    Ok(())
}

/// Refuses two buffers that share memory, of which one is written. Compares addresses only, before
/// a reference to either exists.
pub(super) fn check_apart<A, B>(
    first: (*const A, usize, &str),
    second: (*const B, usize, &str),
) -> Result<()> {
    // `slice` refuses a length that no buffer can have, with a better message.
    let range = |start: usize, len: usize, size: usize| {
        start..start.checked_add(len.checked_mul(size).unwrap_or(0)).unwrap_or(start)
    };
    let a = range(first.0.addr(), first.1, size_of::<A>());
    let b = range(second.0.addr(), second.1, size_of::<B>());
    if a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{} ({:p}) and {} ({:p}) overlap; separate buffers are needed",
        first.2, first.0, second.2, second.0
    )))
}

/// A buffer for [`check_all_apart`]: its address, its size in bytes, its name.
type Bytes<'a> = (*const u8, usize, &'a str);

/// The bytes of a buffer of `len` elements. A NULL buffer has none.
pub(super) fn bytes<T>(pointer: *const T, len: usize, name: &str) -> Bytes<'_> {
    let len = if pointer.is_null() { 0 } else { len };
    // An impossible length counts as 0 bytes here. `slice` refuses it.
    (pointer.cast(), len.checked_mul(size_of::<T>()).unwrap_or(0), name)
}

/// Refuses a written buffer that shares memory with any other buffer of the call.
pub(super) fn check_all_apart(read: &[Bytes<'_>], written: &[Bytes<'_>]) -> Result<()> {
    for (index, buffer) in written.iter().enumerate() {
        for other in read.iter().chain(written.iter().take(index)) {
            check_apart(*other, *buffer)?;
        }
    }
    Ok(())
}

/// The buffers of a call that reads rows and tells which exist.
pub(super) struct Reading<'a> {
    pub(super) keys: &'a [i64],
    pub(super) weights: &'a mut [f32],
    pub(super) found: Option<&'a mut [u8]>,
}

/// Checks that the buffers are apart. `found` is NULL or has one byte a key.
///
/// # Safety
/// The module's contract for buffers.
pub(super) unsafe fn reading<'a>(
    (keys, keys_len): (*const i64, usize),
    (weights, weights_len): (*mut f32, usize),
    found: *mut u8,
) -> Result<Reading<'a>> {
    let (keys_buffer, found_buffer) =
        ((keys, keys_len, "keys"), (found.cast_const(), keys_len, "found"));
    let weights_buffer = (weights.cast_const(), weights_len, "weights");
    check_apart(keys_buffer, weights_buffer)?;
    if !found.is_null() {
        check_apart(keys_buffer, found_buffer)?;
        check_apart(weights_buffer, found_buffer)?;
    }
    // SAFETY: the caller's promise; they do not overlap.
    let (keys, weights) =
        unsafe { (slice(keys, keys_len, "keys")?, slice_mut(weights, weights_len, "weights")?) };
    let found = match found.is_null() {
        true => None,
        // SAFETY: as above.
        false => Some(unsafe { slice_mut(found, keys_len, "found") }?),
    };
    Ok(Reading { keys, weights, found })
}

unsafe fn c_str<'a>(pointer: *const c_char, name: &str) -> Result<&'a CStr> {
    if pointer.is_null() {
        return Err(null(name, "a string"));
    }
    // SAFETY: not NULL; that it ends with NUL is the caller's promise.
    Ok(unsafe { CStr::from_ptr(pointer) })
}

fn check_buffer<T>(pointer: *const T, len: usize, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(Error::invalid(format!(
            "{name} is NULL and its length is {len}; a buffer of {len} elements, or NULL with \
             length 0, is needed"
        )));
    }
    if !pointer.is_aligned() {
        return Err(misaligned(pointer, name));
    }
    if len > isize::MAX as usize / size_of::<T>() {
        return Err(Error::invalid(format!(
            "the length of {name} is {len}; no buffer can be that long"
        )));
    }
    Ok(())
}

fn misaligned<T>(pointer: *const T, name: &str) -> Error {
    Error::invalid(format!(
        "{name} is {pointer:p}; an address aligned to {} bytes is needed",
        align_of::<T>()
    ))
}

fn null(name: &str, needed: &str) -> Error {
    Error::invalid(format!("{name} is NULL; {needed} is needed"))
}
