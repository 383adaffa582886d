//! Buffers whose size the caller's arguments decide: when there is no memory for one, an error, where `Vec` would abort
//! the process.

use crate::error::{Error, Result, Status};

/// Room for `len` values, or an error where `Vec` would abort the process.
///
/// # Errors
/// `OUT_OF_MEMORY` naming the number of bytes.
pub fn room_for<T>(len: usize) -> Result<Vec<T>> {
    let mut room = Vec::new();
    room.try_reserve_exact(len).map_err(|_| refused::<T>(len))?;
    Ok(room)
}

/// `len` copies of `value`, or an error where `vec!` would abort the process.
///
/// # Errors
/// As [`room_for`].
pub fn filled<T: Clone>(value: T, len: usize) -> Result<Vec<T>> {
    let mut room = room_for(len)?;
    room.resize(len, value);
    Ok(room)
}

/// Room for `more` values behind those that are there.
///
/// # Errors
/// As [`room_for`].
pub fn reserve<T>(room: &mut Vec<T>, more: usize) -> Result<()> {
    room.try_reserve(more).map_err(|_| refused::<T>(room.len().saturating_add(more)))
}

fn refused<T>(len: usize) -> Error {
    let bytes = len.saturating_mul(size_of::<T>());
    Error::new(Status::OutOfMemory, format!("{bytes} bytes of memory cannot be had; make smaller calls"))
}
