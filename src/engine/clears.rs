//! The clears of one group: whether one is under way, the sequence number of the latest, and
//! whether the disk has it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::rocks::Rocks;
use crate::rocks::documents::{CLEARED, of_group};
use crate::seqno::{AtomicSeqno, Seqno};

/// The sequence number of a group's latest clear on disk; 0 if it was never cleared.
///
/// # Errors
/// `IO`; `CORRUPTION` for a damaged document.
pub(super) fn read_cleared(rocks: &Rocks, group: u16) -> Result<Seqno> {
    match rocks.read_meta(&of_group(CLEARED, group))? {
        None => Ok(Seqno::NONE),
        Some(bytes) => seqno_of(&bytes).ok_or_else(|| {
            Error::corruption(format!(
                "the record of group '{group}' is damaged: its last clear is not 8 bytes"
            ))
        }),
    }
}

/// The sequence number in a document `cleared:NNNNN`; None when it is damaged.
pub(super) fn seqno_of(bytes: &[u8]) -> Option<Seqno> {
    bytes.try_into().ok().map(u64::from_le_bytes).map(Seqno::new)
}

/// The clears of a group. They have cache lines of their own, because every lookup reads them:
/// beside them, the group's step would change all the time.
#[repr(align(128))]
pub(super) struct Clears {
    /// A sequence lock: it rises when a clear begins and when it ends, so it is odd during one. It
    /// also rises when the rows are replaced.
    moments: AtomicU64,
    /// The sequence number of the latest clear; 0 when there was none.
    seqno: AtomicSeqno,
    /// The sequence number of the latest clear whose DeleteRange is on disk.
    on_disk: AtomicSeqno,
}

impl Clears {
    /// For a group that was just opened: its latest clear is on disk.
    pub(crate) fn new(seqno: Seqno) -> Clears {
        Clears {
            moments: AtomicU64::new(0),
            seqno: AtomicSeqno::new(seqno),
            on_disk: AtomicSeqno::new(seqno),
        }
    }

    /// Begins a clear. The caller holds the group's locks for writing and loading.
    pub(crate) fn begin(&self, seqno: Seqno) -> Clearing<'_> {
        self.moments.fetch_add(1, Ordering::AcqRel);
        self.seqno.store(seqno, Ordering::Release);
        Clearing(self)
    }

    /// Notes that the group's rows were replaced by those of another group. The latest clear of
    /// that group has this sequence number, and is on disk.
    pub(super) fn begin_anew(&self, seqno: Seqno) {
        self.moments.fetch_add(2, Ordering::AcqRel);
        self.seqno.store(seqno, Ordering::Release);
        self.on_disk.store(seqno, Ordering::Release);
    }

    /// The sequence number of the latest clear; 0 when there was none.
    pub(crate) fn latest(&self) -> Seqno {
        self.seqno.load(Ordering::Acquire)
    }

    /// The sequence lock's count: odd during a clear, never the same before and after one.
    pub(crate) fn moment(&self) -> u64 {
        self.moments.load(Ordering::Acquire)
    }

    /// Notes that the DeleteRange of this clear is on disk.
    pub(super) fn set_on_disk(&self, seqno: Seqno) {
        self.on_disk.store(seqno, Ordering::Release);
    }

    /// The sequence number of the latest clear, unless its DeleteRange is on disk.
    pub(crate) fn pending(&self) -> Option<Seqno> {
        let seqno = self.seqno.load(Ordering::Acquire);
        (self.on_disk.load(Ordering::Acquire) != seqno).then_some(seqno)
    }
}

/// A clear under way; dropping it ends the clear.
pub(super) struct Clearing<'a>(&'a Clears);

impl Drop for Clearing<'_> {
    fn drop(&mut self) {
        self.0.moments.fetch_add(1, Ordering::AcqRel);
    }
}
