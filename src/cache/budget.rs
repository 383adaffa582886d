//! How much memory resident rows may take, shared by all groups, max-min fairly: a group may always grow to an equal
//! share; what others leave of theirs is anybody's, and is given back when they want it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in use against bytes allowed.
pub(crate) struct Budget {
    /// What rows, and whatever else the budget is lent to, may take.
    bytes: usize,
    /// What something else than rows takes of it.
    lent: AtomicUsize,
    used: AtomicUsize,
    groups: AtomicUsize,
}

/// The part of the budget that is kept for when nothing can be evicted at once.
const RESERVE_PART: usize = 16;
/// At least so much of the budget is left for rows.
const SMALLEST_PART: usize = 4;

impl Budget {
    pub(crate) fn new(bytes: usize) -> Budget {
        Budget {
            bytes,
            lent: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            groups: AtomicUsize::new(0),
        }
    }

    /// Says what something else than rows takes of the budget.
    pub(crate) fn lend(&self, bytes: u64) {
        self.lent.store(usize::try_from(bytes).unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// What rows may take, the reserve included.
    fn bytes(&self) -> usize {
        self.bytes.saturating_sub(self.lent.load(Ordering::Relaxed)).max(self.bytes / SMALLEST_PART)
    }

    /// Bytes that rows may take while there is room to evict.
    pub(crate) fn total(&self) -> usize {
        let bytes = self.bytes();
        bytes - bytes / RESERVE_PART
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn add_group(&self) {
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    /// A group that has no rows in memory, and never will, has no share.
    pub(crate) fn remove_group(&self) {
        self.groups.fetch_sub(1, Ordering::Relaxed);
    }

    /// What every group may have, whatever the others do.
    pub(crate) fn fair_share(&self) -> usize {
        self.total() / self.groups.load(Ordering::Relaxed).max(1)
    }

    /// Takes `bytes` for a group that has `held` already, if it may.
    pub(super) fn take(&self, bytes: usize, held: usize) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        if used + bytes <= self.total() || held + bytes <= self.fair_share() {
            return true;
        }
        self.give_back(bytes);
        false
    }

    /// Takes `bytes` from the reserve.
    pub(super) fn take_reserve(&self, bytes: usize) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        if used + bytes <= self.bytes() {
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
        self.used().saturating_sub(self.total())
    }

    /// True when new rows will soon need evictions.
    pub(crate) fn is_nearly_full(&self) -> bool {
        let total = self.total();
        self.used() >= total - total / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_grow_to_its_share_and_to_what_others_leave() {
        let budget = Budget::new(1600);
        budget.add_group();
        budget.add_group();
        assert_eq!((budget.total(), budget.fair_share()), (1500, 750));
        assert!(budget.take(1200, 0) && !budget.is_nearly_full());
        assert!(!budget.take(301, 1200));
        assert_eq!(budget.used(), 1200, "what was refused is not in use");
        assert!(budget.take(750, 0), "the other group's share");
        assert_eq!(budget.excess(), 450);
        assert!(!budget.take(1, 750) && !budget.take_reserve(1));
        budget.take_anyway(50);
        budget.give_back(450);
        assert_eq!((budget.used(), budget.excess()), (1550, 50));
        assert!(!budget.take(1, 1200) && budget.take_reserve(50) && !budget.take_reserve(1));
        budget.give_back(1600);
        assert_eq!((budget.used(), budget.excess()), (0, 0));
    }

    #[test]
    fn what_is_lent_is_not_for_rows_but_a_part_is_always_theirs() {
        let budget = Budget::new(1600);
        budget.add_group();
        budget.lend(800);
        assert_eq!(budget.total(), 750);
        budget.lend(u64::MAX);
        assert_eq!(budget.total(), 375);
        assert!(budget.take(340, 0) && budget.is_nearly_full());
        budget.lend(0);
        assert!(!budget.is_nearly_full());
    }
}
