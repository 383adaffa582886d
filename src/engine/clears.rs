//! The clears of one group: how many there were, which was the last, and which of them the disk has.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::rocks::Rocks;
use crate::rocks::documents::{CLEARED, of_group};

/// The number of a group's latest clear on disk; 0 if it was never cleared.
///
/// # Errors
/// `IO`; `CORRUPTION` for a damaged document.
pub(super) fn read_cleared(rocks: &Rocks, group: u16) -> Result<u64> {
    match rocks.read_meta(&of_group(CLEARED, group))? {
        None => Ok(0),
        Some(bytes) => number_of(&bytes).ok_or_else(|| {
            Error::corruption(format!(
                "the record of group '{group}' is damaged: its last clear is not 8 bytes"
            ))
        }),
    }
}

/// The number in a document `cleared:NNNNN`; None when it is damaged.
pub(super) fn number_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// The clears of a group. On cache lines of its own: every lookup reads it, and the group's step
/// beside it would change all the time.
#[repr(align(128))]
pub(super) struct Clears {
    /// A sequence lock: rises when a clear begins and when it ends, so it is odd during one.
    moments: AtomicU64,
    /// The number of the latest clear; 0 when there was none.
    number: AtomicU64,
    /// The number of the latest clear whose DeleteRange is on disk.
    on_disk: AtomicU64,
}

impl Clears {
    /// For a group that was just opened: its latest clear is on disk.
    pub(crate) fn new(number: u64) -> Clears {
        Clears {
            moments: AtomicU64::new(0),
            number: AtomicU64::new(number),
            on_disk: AtomicU64::new(number),
        }
    }

    /// Begins a clear. The caller holds the group's locks for writing and loading.
    pub(crate) fn begin(&self, number: u64) -> Clearing<'_> {
        self.moments.fetch_add(1, Ordering::AcqRel);
        self.number.store(number, Ordering::Release);
        Clearing(self)
    }

    /// Notes that the group's rows were replaced by those of a group whose latest clear, with this
    /// number, is on disk.
    pub(super) fn begin_anew(&self, number: u64) {
        self.number.store(number, Ordering::Release);
        self.on_disk.store(number, Ordering::Release);
    }

    /// The number of the latest clear; 0 when there was none.
    pub(crate) fn latest(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Odd during a clear; never the same before and after one.
    pub(crate) fn moment(&self) -> u64 {
        self.moments.load(Ordering::Acquire)
    }

    /// Notes that the DeleteRange of the clear with this number is on disk.
    pub(super) fn set_on_disk(&self, number: u64) {
        self.on_disk.store(number, Ordering::Release);
    }

    /// The number of the latest clear, unless its DeleteRange is on disk.
    pub(crate) fn pending(&self) -> Option<u64> {
        let number = self.number.load(Ordering::Acquire);
        (self.on_disk.load(Ordering::Acquire) != number).then_some(number)
    }
}

/// A clear under way; dropping it ends the clear.
pub(super) struct Clearing<'a>(&'a Clears);

impl Drop for Clearing<'_> {
    fn drop(&mut self) {
        self.0.moments.fetch_add(1, Ordering::AcqRel);
    }
}
