//! Eviction, after S3-FIFO: which row goes when another needs its place.
//!
//! A row that comes in is on trial while a sixteenth of the shard's rows come in after it. If
//! nobody has used it by then, it goes. So a scan, and the many keys that come once, take the
//! places of each other, and not those of rows in steady use. A key that comes back soon after it
//! went (`ghost`) is in steady use without a trial, and so is a row that has been used.
//!
//! Rows in steady use are evicted by a clock: it passes a row over once for each recent use, three
//! times at most. A row that is not on disk yet cannot go when it fails. It waits in a queue of its
//! own, and is among the first to go once it has been written.

use std::sync::atomic::Ordering;

use super::Shard;
use crate::cache::hash::hash;
use crate::cache::place::Place;
use crate::cache::slot::{ABSENT, ON_TRIAL, USED};

/// How many slots the clock looks at for one eviction before it gives up.
const CLOCK_STEPS: usize = 1024;
/// How many rows that wait are looked at for one eviction.
const LATE_LOOKS: usize = 4;

/// What becomes of a row whose trial is over.
#[derive(PartialEq, Eq)]
enum Verdict {
    Evicted,
    /// It is in steady use, or has gone already.
    Settled,
    /// It cannot be evicted now.
    Kept,
}

impl Shard {
    /// Takes a row out that may be evicted. The caller gets its place.
    pub(super) fn evict(&mut self) -> Option<Place> {
        self.fit_trial();
        self.evict_young()
            .or_else(|| self.evict_late())
            .or_else(|| self.advance_clock(ON_TRIAL))
            .or_else(|| self.advance_clock(0))
    }

    /// Puts a row that comes in on trial, unless its key was here a short while ago.
    pub(super) fn begin_trial(&mut self, hash: u64, place: Place) {
        if !self.trial.ghost.take(hash) && self.trial.begin(place) {
            self.hold(place).slot().set_to(ON_TRIAL, true);
        }
    }

    /// Evicts the first row that fails its trial, if one more has come in than can be on trial.
    fn evict_young(&mut self) -> Option<Place> {
        while let Some((place, later)) = self.trial.next_over() {
            later.iter().for_each(|later| self.slab().prefetch(*later, 0));
            match self.judge(place) {
                Verdict::Evicted => return Some(place),
                Verdict::Settled => {}
                Verdict::Kept if self.trial.keep_late(place) => {}
                Verdict::Kept => self.hold(place).slot().set_to(ON_TRIAL, false),
            }
        }
        None
    }

    /// Evicts a row that had failed before.
    fn evict_late(&mut self) -> Option<Place> {
        for _ in 0..LATE_LOOKS {
            let place = self.trial.next_late()?;
            match self.judge(place) {
                Verdict::Evicted => return Some(place),
                Verdict::Settled => {}
                Verdict::Kept => {
                    self.trial.keep_late(place);
                    return None;
                }
            }
        }
        None
    }

    /// Ends the trial of a row, if it can be evicted or has been used.
    fn judge(&mut self, place: Place) -> Verdict {
        let Some(slot) = self.slab().get(place).filter(|slot| slot.has(ON_TRIAL)) else {
            return Verdict::Settled;
        };
        if slot.is_cold() {
            let hash = hash(slot.key());
            if !self.take_out(place) {
                return Verdict::Kept;
            }
            self.trial.ghost.add(hash);
            return Verdict::Evicted;
        }
        let Some(row) = self.slab().try_hold(place) else { return Verdict::Kept };
        row.slot().set_to(ON_TRIAL, false);
        row.slot().forget_uses();
        Verdict::Settled
    }

    /// Advances the clock to a row that may be evicted and has no uses left, and takes it out.
    /// Leaves rows with the flag `spared` alone.
    fn advance_clock(&mut self, spared: u8) -> Option<Place> {
        let len = self.slab().len();
        for _ in 0..CLOCK_STEPS.min(4 * len) {
            self.hand = self.slab().after(self.hand);
            let place = self.hand;
            let slot = self.slab().slot(place);
            if slot.has(USED) && !slot.has(spared) && slot.pass() && self.take_out(place) {
                return Some(place);
            }
        }
        None
    }

    /// Evicts a row if that is possible now; the caller gets its place.
    pub(super) fn take_out(&self, place: Place) -> bool {
        let Some(mut row) = self.slab().try_hold(place) else { return false };
        if !row.may_be_evicted() {
            return false;
        }
        if !row.has(ABSENT) {
            self.group.is_complete.store(false, Ordering::Release);
        }
        let hash = hash(row.key());
        row.header_mut().clear_all();
        self.index().remove(hash, place);
        self.count_row(-1);
        self.group.evictions.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Makes the queues and the ghost fit the shard.
    pub(super) fn fit_trial(&mut self) {
        let slots = self.slab().len();
        if !self.trial.is_misfit(slots) {
            return;
        }
        let before = self.trial.bytes();
        self.trial.fit(slots);
        let now = self.trial.bytes();
        self.budget.take_anyway(now);
        self.budget.give_back(before);
        self.group.bytes.fetch_add(now, Ordering::Relaxed);
        self.group.bytes.fetch_sub(before, Ordering::Relaxed);
    }
}
