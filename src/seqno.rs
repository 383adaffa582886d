//! The sequence number of a call: its position in the storage's life.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A call's sequence number. The first call has 1, and each call has a larger one than all calls
/// before it, over all groups and openings. Each row carries that of its last change.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[repr(transparent)]
#[serde(transparent)]
pub(crate) struct Seqno(u64);

impl Seqno {
    /// Smaller than every call's: no call.
    pub(crate) const NONE: Seqno = Seqno(0);
    /// Larger than every call's.
    pub(crate) const MAX: Seqno = Seqno(u64::MAX);

    pub(crate) const fn new(seqno: u64) -> Seqno {
        Seqno(seqno)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// The next call's.
    pub(crate) const fn next(self) -> Seqno {
        Seqno(self.0 + 1)
    }

    /// The previous call's; this one must not be [`Seqno::NONE`].
    pub(crate) const fn previous(self) -> Seqno {
        Seqno(self.0 - 1)
    }

    pub(crate) const fn saturating_add(self, calls: u64) -> Seqno {
        Seqno(self.0.saturating_add(calls))
    }
}

impl fmt::Display for Seqno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// A sequence number that threads share.
#[derive(Debug, Default)]
pub(crate) struct AtomicSeqno(AtomicU64);

impl AtomicSeqno {
    pub(crate) const fn new(seqno: Seqno) -> AtomicSeqno {
        AtomicSeqno(AtomicU64::new(seqno.0))
    }

    #[inline(always)]
    pub(crate) fn load(&self, ordering: Ordering) -> Seqno {
        Seqno(self.0.load(ordering))
    }

    pub(crate) fn store(&self, seqno: Seqno, ordering: Ordering) {
        self.0.store(seqno.0, ordering);
    }

    pub(crate) fn fetch_max(&self, seqno: Seqno, ordering: Ordering) {
        self.0.fetch_max(seqno.0, ordering);
    }
}
