//! Buffers whose size depends on a caller's arguments: without memory for one there is an error,
//! where `Vec` would abort the process.

use crate::error::{Error, Result};
use crate::limits::MAX_WORK_THREADS;

/// Room for `len` values, or an error where `Vec` would abort the process.
///
/// # Errors
/// `OUT_OF_MEMORY` naming the number of bytes.
pub fn room_for<T>(len: usize) -> Result<Vec<T>> {
    #[cfg(test)]
    if shortage::refuses(len.saturating_mul(size_of::<T>())) {
        return Err(refused::<T>(len));
    }
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

/// Makes `room` hold `len` copies of `value`. What it held keeps its memory.
///
/// # Errors
/// As [`room_for`].
pub fn refill<T: Clone>(room: &mut Vec<T>, value: T, len: usize) -> Result<()> {
    room.clear();
    reserve(room, len)?;
    room.resize(len, value);
    Ok(())
}

/// Room for `more` values behind the present ones.
///
/// # Errors
/// As [`room_for`].
pub fn reserve<T>(room: &mut Vec<T>, more: usize) -> Result<()> {
    room.try_reserve(more).map_err(|_| refused::<T>(room.len().saturating_add(more)))
}

/// The memory that a call with new work in RocksDB may need at once: caches, buffers and blocks,
/// and the C library's share of each new thread.
const HEADROOM: usize = 64 << 20;
/// Checks that there is memory for long work with this many new threads, or with
/// `MAX_WORK_THREADS` if that is less. RocksDB, and a thread that starts, end the process when they
/// get no memory. Other threads may take it after the check, so the check makes that end rare, not
/// impossible. Nothing is written to the memory, so the check costs microseconds.
///
/// # Errors
/// `OUT_OF_MEMORY` naming the number of bytes.
pub fn check_headroom(threads: usize) -> Result<()> {
    let bytes = headroom(threads);
    if can_be_had(bytes) {
        return Ok(());
    }
    Err(Error::out_of_memory(format!(
        "{bytes} bytes of memory cannot be had, which this may need for a while; raise the limit \
         of the process's address space, or free memory"
    )))
}

fn headroom(threads: usize) -> usize {
    HEADROOM * (1 + threads.min(MAX_WORK_THREADS))
}

/// Whether this many bytes can be mapped now.
pub fn can_be_had(bytes: usize) -> bool {
    let mut room: Vec<u8> = Vec::new();
    let had = room.try_reserve_exact(bytes);
    // Keeps the compiler from removing the unused reservation.
    std::hint::black_box(&room);
    had.is_ok()
}

fn refused<T>(len: usize) -> Error {
    let bytes = len.saturating_mul(size_of::<T>());
    Error::out_of_memory(format!("{bytes} bytes of memory cannot be had; make smaller calls"))
}

/// Lets tests run short of memory.
#[cfg(test)]
pub(crate) mod shortage {
    use std::cell::Cell;

    thread_local! {
        static REFUSED: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// Runs `work`, while this thread is refused room for `bytes` bytes and more.
    pub(crate) fn from<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
        REFUSED.set(bytes);
        let done = work();
        REFUSED.set(usize::MAX);
        done
    }

    pub(super) fn refuses(bytes: usize) -> bool {
        bytes >= REFUSED.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_of_a_merge_has_its_memory() {
        assert_eq!(headroom(0), 64 << 20);
        assert_eq!(headroom(MAX_WORK_THREADS), (1 + MAX_WORK_THREADS) * (64 << 20));
        assert_eq!(headroom(1024), headroom(MAX_WORK_THREADS));
    }
}
