//! The queues of rows that came in lately, each of which is on trial: if nobody uses it, it goes
//! before the rows in steady use do.
//!
//! A queue has a row's place. The row itself says whether it is on trial (`slot`): a place whose
//! row is not has lost its row meanwhile.

use std::collections::VecDeque;

use super::ghost::Ghost;
use super::place::Place;

/// One part in this many of a shard's rows are on trial.
const YOUNG_PART: usize = 16;
/// At most one part in this many have failed, and wait until they can be evicted.
const LATE_PART: usize = 8;
/// The ghost remembers as many keys as one part in this many of the rows.
const GHOST_PART: usize = 1;

/// How many rows ahead of its end of trial a row is fetched.
const AHEAD: usize = 8;

/// What becomes of rows on trial. All zeros before the first eviction: rows that fill a cache are
/// no newer than others.
#[derive(Default)]
pub(super) struct Trial {
    /// In the order in which they came.
    young: VecDeque<Place>,
    /// Rows whose trial is over, and that nobody has used. They could not be evicted: most often
    /// because they were not on disk yet.
    late: VecDeque<Place>,
    /// Keys of rows whose trial has ended with their eviction.
    pub(super) ghost: Ghost,
    /// The number of the shard's slots that this is made for.
    slots: usize,
}

impl Trial {
    pub(super) fn bytes(&self) -> usize {
        (self.young.capacity() + self.late.capacity()) * size_of::<Place>() + self.ghost.bytes()
    }

    /// Whether this is too small or too large for a shard of so many slots.
    #[inline(always)]
    pub(super) fn is_misfit(&self, slots: usize) -> bool {
        self.slots < slots - slots / 8 || self.slots > 2 * slots
    }

    /// Makes this fit a shard of so many slots. Without memory for it, it stays smaller.
    pub(super) fn fit(&mut self, slots: usize) {
        self.ghost = Ghost::default();
        if slots == 0 {
            *self = Trial::default();
            return;
        }
        self.slots = slots;
        let (young, late) = (slots / YOUNG_PART + 2, slots / LATE_PART);
        for (queue, wanted) in [(&mut self.young, young), (&mut self.late, late)] {
            queue.shrink_to(wanted);
            // Where there is no memory, rows have no trial.
            let _ = queue.try_reserve_exact(wanted.saturating_sub(queue.len()));
        }
        self.ghost = Ghost::of(slots / GHOST_PART);
    }

    /// Begins the trial of a row; false when there is no room for it.
    pub(super) fn begin(&mut self, place: Place) -> bool {
        push(&mut self.young, place)
    }

    /// The oldest row, if its trial is over, and one whose trial is over soon.
    pub(super) fn next_over(&mut self) -> Option<(Place, Option<Place>)> {
        if self.young.len() <= self.slots / YOUNG_PART {
            return None;
        }
        let place = self.young.pop_front()?;
        Some((place, self.young.get(AHEAD).copied()))
    }

    /// Keeps a row that has failed until it can be evicted; false when there is no room for it.
    pub(super) fn keep_late(&mut self, place: Place) -> bool {
        push(&mut self.late, place)
    }

    /// The row that has waited longest.
    pub(super) fn next_late(&mut self) -> Option<Place> {
        self.late.pop_front()
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.young.iter().chain(&self.late).copied()
    }

    /// Forgets all places from `end` on.
    pub(super) fn forget_from(&mut self, end: Place) {
        self.young.retain(|place| *place < end);
        self.late.retain(|place| *place < end);
    }
}

/// Appends without taking memory.
fn push(queue: &mut VecDeque<Place>, place: Place) -> bool {
    let has_room = queue.len() < queue.capacity();
    if has_room {
        queue.push_back(place);
    }
    has_room
}
