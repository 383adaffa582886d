//! How much memory resident rows may take, shared by all groups, max-min fairly: a group may always grow to an equal
//! share; what others leave of theirs is anybody's, and is given back when they want it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in use against bytes allowed.
pub(crate) struct Budget {
    /// What rows may take while there is room to evict.
    total: usize,
    /// What they may take beyond, while every row that could go waits to be written.
    reserve: usize,
    used: AtomicUsize,
    groups: AtomicUsize,
}

/// The part of the budget that is kept for when nothing can be evicted at once.
const RESERVE_PART: usize = 8;

impl Budget {
    pub(crate) fn new(bytes: usize) -> Budget {
        let reserve = bytes / RESERVE_PART;
        Budget { total: bytes - reserve, reserve, used: AtomicUsize::new(0), groups: AtomicUsize::new(0) }
    }

    /// Bytes that rows may take without the reserve.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn add_group(&self) {
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    /// What every group may have, whatever the others do.
    pub(crate) fn fair_share(&self) -> usize {
        self.total / self.groups.load(Ordering::Relaxed).max(1)
    }

    /// Takes `bytes` for a group that has `held` already, if it may.
    pub(super) fn take(&self, bytes: usize, held: usize) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        if used + bytes <= self.total || held + bytes <= self.fair_share() {
            return true;
        }
        self.give_back(bytes);
        false
    }

    /// Takes `bytes` from the reserve.
    pub(super) fn take_reserve(&self, bytes: usize) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        if used + bytes <= self.total + self.reserve {
            return true;
        }
        self.give_back(bytes);
        false
    }

    /// Takes `bytes` whatever is in use: for a call that needs more rows at once than the budget holds.
    pub(super) fn take_anyway(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that should be given back.
    pub(crate) fn excess(&self) -> usize {
        self.used().saturating_sub(self.total)
    }

    /// True when new rows will soon need evictions.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.used() >= self.total - self.total / 8
    }
}
