//! Handles know their kind. In many languages all handles have one type, so a program may pass one
//! of the wrong kind, or one that it has freed.
//!
//! A handle points to a word that tells its kind, followed by the struct. The word is checked where
//! NULL is, and overwritten when the handle is freed.

use std::ptr;

use super::*;
use crate::error::{Error, Result};

/// A kind of handle.
pub(super) trait HandleKind {
    /// Its name in messages.
    const NAME: &'static str;
    /// Its word.
    const WORD: u64;
}

macro_rules! kinds {
    ($($kind:ident $word:literal)*) => {
        $(impl HandleKind for $kind {
            const NAME: &'static str = stringify!($kind);
            const WORD: u64 = u64::from_le_bytes(*$word);
        })*

        /// The kind that a word tells.
        fn name_of(word: u64) -> Option<&'static str> {
            match word {
                $(<$kind as HandleKind>::WORD => Some(<$kind as HandleKind>::NAME),)*
                _ => None,
            }
        }
    };
}

kinds! {
    damo_params b"\xd4params\xd4"
    damo_initializer b"\xd4initia\xd4"
    damo_scheduler b"\xd4schedu\xd4"
    damo_optimizer b"\xd4optimi\xd4"
    damo_filter b"\xd4filter\xd4"
    damo_storage b"\xd4storag\xd4"
    damo_embedding b"\xd4embedd\xd4"
    damo_iterator b"\xd4iterat\xd4"
    damo_table b"\xd4table-\xd4"
    damo_lookup b"\xd4lookup\xd4"
    damo_step b"\xd4step--\xd4"
    damo_pin b"\xd4pin---\xd4"
}

/// The word of a freed handle, as long as nothing else uses its memory.
const FREED: u64 = u64::from_le_bytes(*b"\xd4freed-\xd4");

#[repr(C)]
pub(super) struct Boxed<T> {
    word: u64,
    value: T,
}

/// A new handle.
pub(super) fn make<T: HandleKind>(value: T) -> *mut T {
    Box::into_raw(Box::new(Boxed { word: T::WORD, value })).cast()
}

/// The struct of a handle; None for NULL.
///
/// # Errors
/// `INVALID_ARGUMENT` for a handle of another kind, one that was freed, and what is none.
///
/// # Safety
/// `handle` is NULL or points to what a handle of any kind points to, live as long as the result is
/// used.
pub(super) unsafe fn get<'a, T: HandleKind>(handle: *const T, name: &str) -> Result<Option<&'a T>> {
    // SAFETY: the caller's promise.
    unsafe { check(handle, name) }?;
    // SAFETY: it is NULL or has the word of a `Boxed<T>`, which only `make` gives.
    Ok(unsafe { handle.cast::<Boxed<T>>().as_ref() }.map(|boxed| &boxed.value))
}

/// As [`get`], for a handle that nobody else uses.
///
/// # Errors
/// As [`get`].
///
/// # Safety
/// As [`get`], and no other thread uses it.
pub(super) unsafe fn get_mut<'a, T: HandleKind>(
    handle: *mut T,
    name: &str,
) -> Result<Option<&'a mut T>> {
    // SAFETY: the caller's promise.
    unsafe { check(handle, name) }?;
    // SAFETY: as in `get`; the caller promises that nobody else has it.
    Ok(unsafe { handle.cast::<Boxed<T>>().as_mut() }.map(|boxed| &mut boxed.value))
}

/// Takes the struct out of a handle, to be dropped. None for NULL, and for what is no live handle
/// of this kind, which is left alone.
///
/// # Safety
/// As [`get`]; the handle is not used again.
pub(super) unsafe fn take<T: HandleKind>(handle: *mut T) -> Option<Box<Boxed<T>>> {
    // SAFETY: the caller's promise.
    if handle.is_null() || unsafe { check(handle, "") }.is_err() {
        return None;
    }
    let boxed = handle.cast::<Boxed<T>>();
    // SAFETY: the word says that `make` made it. Volatile, since nobody is to read it as far as the
    // compiler knows.
    unsafe { ptr::write_volatile(&raw mut (*boxed).word, FREED) };
    // SAFETY: as above, and the caller does not use it again.
    Some(unsafe { Box::from_raw(boxed) })
}

/// # Errors
/// See [`get`].
///
/// # Safety
/// See [`get`].
unsafe fn check<T: HandleKind>(handle: *const T, name: &str) -> Result<()> {
    if handle.is_null() {
        return Ok(());
    }
    let wanted = T::NAME;
    if !handle.cast::<u64>().is_aligned() {
        return Err(Error::invalid(format!(
            "{name} is {handle:p}, which is no handle; a {wanted} is needed"
        )));
    }
    // SAFETY: a handle of any kind begins with a word. Volatile, so that the word of one that was
    // freed is looked at, too.
    let word = unsafe { ptr::read_volatile(handle.cast::<u64>()) };
    if word == T::WORD {
        return Ok(());
    }
    Err(Error::invalid(match (name_of(word), word == FREED) {
        (Some(kind), _) => format!("{name} is a {kind}; a {wanted} is needed"),
        (None, true) => format!("{name} is a handle that was freed; a live {wanted} is needed"),
        (None, false) => {
            format!("{name} is {handle:p}, which is no live handle; a {wanted} is needed")
        }
    }))
}
