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

/// What a call that begins work in RocksDB may need at once: caches, buffers and blocks, and what
/// the C library sets aside for each thread that is made.
const HEADROOM: usize = 64 << 20;
/// More threads than these hardly ever need memory at the same moment.
const MAX_THREADS: usize = 4;

/// Makes sure that there is memory for long work with so many new threads. RocksDB, and a thread
/// that is begun, end the process when they get none. Others may take it meanwhile, so this makes
/// that rare and not impossible. Nothing is written to it, so it costs microseconds.
///
/// # Errors
/// `OUT_OF_MEMORY` naming the number of bytes.
pub fn check_headroom(threads: usize) -> Result<()> {
    let bytes = HEADROOM * (1 + threads.min(MAX_THREADS));
    if can_be_had(bytes) {
        return Ok(());
    }
    Err(Error::new(
        Status::OutOfMemory,
        format!(
            "{bytes} bytes of memory cannot be had, which this may need for a while; raise the limit of the process's \
             address space, or free memory"
        ),
    ))
}

/// Whether so many bytes can be mapped now.
pub fn can_be_had(bytes: usize) -> bool {
    let mut room: Vec<u8> = Vec::new();
    let had = room.try_reserve_exact(bytes);
    // Otherwise the reservation, which nothing uses, would be left out.
    std::hint::black_box(&room);
    had.is_ok()
}

fn refused<T>(len: usize) -> Error {
    let bytes = len.saturating_mul(size_of::<T>());
    Error::new(
        Status::OutOfMemory,
        format!("{bytes} bytes of memory cannot be had; make smaller calls"),
    )
}
