//! Faults for tests of a journal's errors.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::seqno::Seqno;

/// What fails.
pub(super) struct Faults {
    /// There is no room beyond this byte of a segment.
    pub(super) disk: AtomicU64,
    /// The call that cannot be written.
    pub(super) unwritable: AtomicU64,
    /// Whether no segment can be synced.
    pub(super) unsyncable: AtomicBool,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            disk: AtomicU64::new(u64::MAX),
            unwritable: AtomicU64::new(u64::MAX),
            unsyncable: AtomicBool::new(false),
        }
    }
}

impl Faults {
    pub(super) fn check_room(&self, needed: u64) -> io::Result<()> {
        match needed > self.disk.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    pub(super) fn check_sync(&self) -> io::Result<()> {
        match self.unsyncable.load(Ordering::SeqCst) {
            true => Err(io::Error::other("no disk")),
            false => Ok(()),
        }
    }

    pub(super) fn check_write(&self, seqno: Seqno) -> io::Result<()> {
        match seqno.get() == self.unwritable.load(Ordering::SeqCst) {
            true => Err(io::Error::other("no sector")),
            false => Ok(()),
        }
    }
}
