//! The memory budget of resident rows, shared by all groups with max-min fairness.
//!
//! A group may always grow to an equal share. What other groups leave unused is open to all, and a
//! group that grows to its share gets it back.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in use against bytes allowed.
pub(crate) struct Budget {
    /// The whole budget: rows and what is lent.
    bytes: usize,
    /// Bytes taken by RocksDB's indexes and filters.
    lent: AtomicUsize,
    used: AtomicUsize,
    groups: AtomicUsize,
}

/// One part in this many is a reserve, used when nothing can be evicted at once.
const RESERVE_PART: usize = 16;
/// At least one part in this many stays for rows, whatever is lent.
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

    /// Sets how much of the budget is lent to something other than rows.
    pub(crate) fn lend(&self, bytes: u64) {
        self.lent.store(usize::try_from(bytes).unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Bytes that rows may take, the reserve included.
    fn bytes(&self) -> usize {
        self.bytes.saturating_sub(self.lent.load(Ordering::Relaxed)).max(self.bytes / SMALLEST_PART)
    }

    /// Bytes that rows may take without the reserve.
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

    /// Takes the share back from a group that has no rows in memory and never will.
    pub(crate) fn remove_group(&self) {
        self.groups.fetch_sub(1, Ordering::Relaxed);
    }

    /// Bytes that every group may have, whatever the others do.
    pub(crate) fn fair_share(&self) -> usize {
        self.total() / self.groups.load(Ordering::Relaxed).max(1)
    }

    /// Takes `bytes` for a group that already has `held`; false when it may not.
    pub(super) fn take(&self, bytes: usize, held: usize) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        if used + bytes <= self.total() || held + bytes <= self.fair_share() {
            return true;
        }
        self.give_back(bytes);
        false
    }

    /// Takes `bytes`, from the reserve if needed; false when that is used up, too.
    pub(super) fn take_reserve(&self, bytes: usize) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        if used + bytes <= self.bytes() {
            return true;
        }
        self.give_back(bytes);
        false
    }

    /// Takes `bytes` unconditionally, for a call that needs more rows at once than the budget
    /// holds.
    pub(super) fn take_anyway(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes in use beyond the budget.
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
