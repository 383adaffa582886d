//! Room behind a mapped segment's content: how much is reserved at a time.

use std::fs::File;
use std::io::{self, IoSlice};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use super::write::write_all_at;

/// What is reserved at least: a page, which has the header.
pub(super) const LEAST: u64 = 4096;
/// What is reserved at once: at first, and at most. Each time it doubles, since a journal that
/// grows fast goes on growing.
const FIRST_STEP: u64 = 256 << 10;
pub(super) const LONGEST_STEP: u64 = 8 << 20;

/// How room is prepared.
pub(super) struct Room {
    /// Bytes to reserve the next time.
    pub(super) step: u64,
    /// Somebody is preparing room, without the lock of the state.
    pub(super) is_preparing: bool,
    /// There was not as much room as wanted. The thread leaves it to callers to try again.
    pub(super) has_failed: bool,
    /// Bytes that were copied since pages were last made writable.
    pub(super) copied: u64,
    /// The thread is to end.
    pub(super) has_stopped: bool,
}

impl Room {
    pub(super) fn new() -> Room {
        Room {
            step: FIRST_STEP,
            is_preparing: false,
            has_failed: false,
            copied: 0,
            has_stopped: false,
        }
    }
}

/// Reserves disk space from byte `from` up to `wanted`, or only to `needed` if there is not enough.
/// Returns where it ends.
///
/// # Errors
/// The system's error.
pub(super) fn reserve(file: &File, from: u64, wanted: u64, needed: u64) -> io::Result<u64> {
    let up_to =
        |to: u64| retry_on_intr(|| fallocate(file, FallocateFlags::empty(), from, to - from));
    let needed = needed.max(from + 1);
    match up_to(wanted.max(needed)) {
        Ok(()) => Ok(wanted.max(needed)),
        Err(Errno::NOSPC | Errno::FBIG | Errno::DQUOT) if needed < wanted => {
            up_to(needed)?;
            Ok(needed)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes zeros into room that is reserved and that no call has yet. The system then keeps these
/// bytes in large pieces of memory, and a mapping of them becomes writable for a third of the
/// processor's time that single pages take. It is for speed only: where it fails, copies take
/// longer.
pub(super) fn fill(file: &File, from: u64, to: u64) {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    const PIECES: usize = 16;
    let mut at = from;
    while at < to {
        let mut pieces = Vec::with_capacity(PIECES);
        while at < to && pieces.len() < PIECES {
            let len = (to - at).min(ZEROS.len() as u64);
            pieces.push(IoSlice::new(&ZEROS[..len as usize]));
            at += len;
        }
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        if write_all_at(file, &mut pieces, at - len as u64).is_err() {
            return;
        }
    }
}

/// Whether a file system cannot reserve space at all.
pub(super) fn is_refused(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    errno.is_some_and(|errno| {
        [Errno::OPNOTSUPP, Errno::NOSYS, Errno::NODEV, Errno::INVAL].contains(&errno)
    })
}
