//! Room behind a mapped segment's content: how much is reserved at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

/// What is reserved at least: a page, which has the header.
pub(super) const LEAST: u64 = 4096;
/// What is reserved at once: at first, and at most. Each time it doubles, since a journal that
/// grows fast goes on growing.
const FIRST_STEP: u64 = 256 << 10;
pub(super) const LONGEST_STEP: u64 = 8 << 20;

/// Room that lasts longer is not worth filling: it would be on the disk before calls take it.
const SOON: Duration = Duration::from_secs(4);

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
    /// Bytes that were copied and written since room was last reserved, and when that was.
    pub(super) taken: Taken,
    /// The thread is to end.
    pub(super) has_stopped: bool,
}

/// What calls have taken of the latest room.
pub(super) struct Taken {
    pub(super) copied: u64,
    pub(super) written: u64,
    since: Instant,
}

impl Taken {
    pub(super) fn new() -> Taken {
        Taken { copied: 0, written: 0, since: Instant::now() }
    }

    /// Whether calls will soon copy into most of the next room.
    pub(super) fn is_by_copies(&self) -> bool {
        self.copied > self.written && self.since.elapsed() < SOON
    }
}

impl Room {
    pub(super) fn new() -> Room {
        Room {
            step: FIRST_STEP,
            is_preparing: false,
            has_failed: false,
            copied: 0,
            taken: Taken::new(),
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

/// Writes zeros into room that is reserved and that no call has yet. The system then has these
/// bytes in memory in pages of up to 64 KiB, and makes them writable for half of the processor's
/// time that single pages take. Larger pages would be written to the disk whole for each short
/// entry.
///
/// # Errors
/// The system's error.
pub(super) fn fill(file: &File, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = from;
    while at < to {
        // Pieces end at multiples of their length.
        let len = (ZEROS.len() as u64 - at % ZEROS.len() as u64).min(to - at);
        file.write_all_at(&ZEROS[..len as usize], at)?;
        at += len;
    }
    Ok(())
}

/// Whether a file system cannot reserve space at all.
pub(super) fn is_refused(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    errno.is_some_and(|errno| {
        [Errno::OPNOTSUPP, Errno::NOSYS, Errno::NODEV, Errno::INVAL].contains(&errno)
    })
}
