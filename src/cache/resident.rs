//! What a shard has in memory, for threads that hold its lock and for threads that do not: the
//! index, the rows, and the state of a cut.
//!
//! A thread without the lock finds most rows: it misses one that comes in or moves at that moment.
//! It holds the row, and looks at the key again. So what it finds is right, and what it does not
//! find is looked for again with the lock. Rows come and go with the lock only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam_epoch::Guard;

use super::cut::{Cut, Kept};
use super::hash::hash;
use super::index::Index;
use super::place::Place;
use super::replaced::Replaced;
use super::row::Row;
use super::slab::{Hold, Slab};
use super::slot::{ABSENT, DIRTY, EPOCH};
use crate::kill_points::{Point, pass};
use crate::memory::room_for;

/// Counts of a group that can be read without locking a shard.
pub(super) struct GroupCounts {
    pub(super) bytes: AtomicUsize,
    /// True while every row of the group is resident: a key that is not resident has no row.
    pub(super) is_complete: AtomicBool,
    pub(super) evictions: AtomicU64,
    /// Bytes of the row copies kept for a cut.
    pub(super) kept_bytes: AtomicUsize,
}

/// The rows of a shard that are in memory.
pub(crate) struct Resident {
    pub(super) index: Replaced<Index>,
    pub(super) slab: Replaced<Slab>,
    pub(super) cut: Cut,
    pub(super) group: Arc<GroupCounts>,
    pub(super) counts: Counts,
}

/// Counts of a shard, on cache lines of their own: what readers look at stays in their caches.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Counts {
    /// Rows, as the holder of the lock counts them.
    pub(super) rows: AtomicUsize,
    pub(super) dirty: AtomicUsize,
}

impl Resident {
    pub(super) fn new(slab: Slab, group: Arc<GroupCounts>) -> Resident {
        Resident {
            index: Replaced::new(Index::default()),
            slab: Replaced::new(slab),
            cut: Cut::default(),
            group,
            counts: Counts::default(),
        }
    }

    /// Fetches what a search for a key begins with.
    #[inline(always)]
    pub(crate) fn prefetch_index(&self, hash: u64, guard: &Guard) {
        self.index.get(guard).prefetch(hash);
    }

    /// Where the row of a key will most likely be found; fetches its first `lines` cache lines.
    #[inline(always)]
    pub(crate) fn candidate(&self, hash: u64, lines: usize, guard: &Guard) -> Place {
        let candidate = self.index.get(guard).candidate(hash);
        let Some(place) = candidate else { return Place::NOT_RESIDENT };
        self.slab.get(guard).prefetch(place, lines);
        place
    }

    /// Fetches a row's header and its first `lines` cache lines. The row may have moved.
    #[inline(always)]
    pub(crate) fn prefetch_row(&self, place: Place, lines: usize, guard: &Guard) {
        self.slab.get(guard).prefetch(place, lines);
    }

    /// Copies the first floats of a key's row, which may be at `place`, if it is found and was last
    /// written at `cutoff` or later. Counts a use of the row.
    #[inline(always)]
    pub(crate) fn read(
        &self,
        place: Place,
        key: i64,
        cutoff: u64,
        copy: &mut [f32],
        guard: &Guard,
    ) -> bool {
        let is_row = self.slab.get(guard).read(place, key, cutoff, copy);
        is_row == Some(true) || self.find_and_read(key, cutoff, copy, guard)
    }

    /// As [`Resident::read`]. Returns where the row is.
    #[inline(always)]
    pub(crate) fn read_and_place(
        &self,
        place: Place,
        key: i64,
        cutoff: u64,
        copy: &mut [f32],
        guard: &Guard,
    ) -> Option<Place> {
        match self.slab.get(guard).read(place, key, cutoff, copy) {
            Some(true) => Some(place),
            _ => self.find_read_and_place(key, cutoff, copy, guard),
        }
    }

    #[cold]
    fn find_read_and_place(
        &self,
        key: i64,
        cutoff: u64,
        copy: &mut [f32],
        guard: &Guard,
    ) -> Option<Place> {
        let slab = self.slab.get(guard);
        let place = self.find(slab, key, guard)?;
        slab.read_or_wait(place, key, cutoff, copy).then_some(place)
    }

    #[cold]
    fn find_and_read(&self, key: i64, cutoff: u64, copy: &mut [f32], guard: &Guard) -> bool {
        let slab = self.slab.get(guard);
        let place = self.find(slab, key, guard);
        place.is_some_and(|place| slab.read_or_wait(place, key, cutoff, copy))
    }

    /// The row of a key, which may be at `place`, if nobody holds it.
    #[inline(always)]
    pub(crate) fn try_hold<'g>(&self, place: Place, key: i64, guard: &'g Guard) -> Hold<'g> {
        match self.slab.get(guard).try_hold_of(place, key) {
            Hold::Missed => self.find_and_try_hold(key, guard),
            held => held,
        }
    }

    /// The row of a key, if it is still at `place` and nobody holds it.
    #[inline(always)]
    pub(crate) fn try_hold_at<'g>(
        &self,
        place: Place,
        key: i64,
        guard: &'g Guard,
    ) -> Option<Row<'g>> {
        match self.slab.get(guard).try_hold_of(place, key) {
            Hold::Row(row) => Some(row),
            Hold::Missed | Hold::Busy => None,
        }
    }

    #[cold]
    fn find_and_try_hold<'g>(&self, key: i64, guard: &'g Guard) -> Hold<'g> {
        let slab = self.slab.get(guard);
        self.find(slab, key, guard).map_or(Hold::Missed, |place| slab.try_hold_of(place, key))
    }

    /// The row of a key. Waits if another thread holds it: that thread must not wait for this one.
    pub(crate) fn hold<'g>(&self, key: i64, guard: &'g Guard) -> Option<Row<'g>> {
        let slab = self.slab.get(guard);
        slab.hold_of(self.find(slab, key, guard)?, key)
    }

    fn find(&self, slab: &Slab, key: i64, guard: &Guard) -> Option<Place> {
        let is_right = |place: Place| slab.get(place).is_some_and(|slot| slot.is_of(key));
        self.index.get(guard).find(hash(key), is_right)
    }

    /// Call before a row is changed.
    #[inline(always)]
    pub(crate) fn before_change(&self, row: &Row<'_>) {
        pass(Point::RowIsNext);
        if self.cut.is_open.load(Ordering::Relaxed) {
            self.keep(row);
        }
    }

    /// Copies a row of a cut that is about to change.
    #[cold]
    fn keep(&self, row: &Row<'_>) {
        let epoch = self.cut.epoch.load(Ordering::Relaxed);
        if !row.has(DIRTY) || row.has(EPOCH) == epoch {
            return;
        }
        let absent = row.has(ABSENT);
        let failed = || self.cut.failed.store(true, Ordering::Relaxed);
        let Ok(mut floats) = room_for(if absent { 0 } else { row.floats().len() }) else {
            return failed();
        };
        if !absent {
            floats.extend_from_slice(row.floats());
        }
        let (time, updates, seqno) = (row.time(), row.updates(), row.seqno());
        let kept = Kept { absent, time, updates, seqno, floats };
        let mut all = self.cut.kept.lock();
        // A copy for a cut that has ended meanwhile would be taken for one of the next cut.
        if !self.cut.is_open.load(Ordering::Relaxed) {
            return;
        }
        if all.try_reserve(1).is_err() {
            return failed();
        }
        self.group.kept_bytes.fetch_add(kept.bytes(), Ordering::Relaxed);
        all.insert(row.key(), kept);
        row.slot().set_to(EPOCH, epoch);
    }

    /// Marks the row as different from the one on disk.
    #[inline(always)]
    pub(crate) fn mark_dirty(&self, row: &mut Row<'_>) {
        if !row.has(DIRTY) {
            row.slot().set_dirty(self.cut.epoch.load(Ordering::Relaxed));
            self.counts.dirty.fetch_add(1, Ordering::Relaxed);
        }
        pass(Point::RowChanged);
    }
}
