//! One part of a group's resident rows behind a lock: an index from key to place, and a slab of
//! rows.

mod cut;
mod cutting;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::budget::Budget;
use super::hash::hash;
use super::index::Index;
use super::place::Place;
use super::slab::Slab;
use super::slot::{ABSENT, DIRTY, EPOCH, PINNED, Slot, USED, WRITING};
use crate::error::{Error, Result};
use crate::prefetch::{prefetch, prefetch_floats};

pub(crate) use cut::{CutRow, Kept};

use cut::ShardCut;

/// Counts of a group that can be read without locking a shard.
pub(super) struct GroupCounts {
    pub(super) bytes: AtomicUsize,
    /// True while every row of the group is resident: a key that is not resident has no row.
    pub(super) is_complete: AtomicBool,
    pub(super) evictions: AtomicU64,
    /// Bytes of the row copies kept for a cut.
    pub(super) kept_bytes: AtomicUsize,
}

/// Counts of one shard that can be read without its lock; written by the holder of the lock.
#[derive(Default)]
pub(super) struct ShardCounts {
    pub(super) rows: AtomicUsize,
    pub(super) dirty: AtomicUsize,
}

/// What to do when a new row finds no free slot, no budget and no row to evict.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Return None.
    Refuse,
    /// Grow anyway.
    Grow,
}

/// How many slots the clock looks at for one eviction before it gives up.
const CLOCK_STEPS: usize = 1024;
/// How many keys ahead of its use a row is fetched; a line of the index twice as many.
const AHEAD: usize = 16;

pub(crate) struct Shard {
    index: Index,
    slab: Slab,
    free: Vec<Place>,
    hand: Place,
    cut: ShardCut,
    budget: Arc<Budget>,
    group: Arc<GroupCounts>,
    counts: Arc<ShardCounts>,
}

impl Shard {
    pub(super) fn new(
        row_len: usize,
        (small_chunk, large_chunk): (usize, usize),
        budget: Arc<Budget>,
        group: Arc<GroupCounts>,
        counts: Arc<ShardCounts>,
    ) -> Shard {
        let slab = Slab::new(row_len, small_chunk, large_chunk);
        let (index, cut) = (Index::default(), ShardCut::default());
        Shard { index, slab, free: Vec::new(), hand: Place::FIRST, cut, budget, group, counts }
    }

    /// The place of a resident key.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, key: i64) -> Option<Place> {
        self.index.find(hash, |place| self.slab.slot(place).key == key)
    }

    /// As [`Shard::find`], for a key whose row may be at `place`.
    #[inline(always)]
    pub(crate) fn find_from(&self, place: Place, hash: u64, key: i64) -> Option<Place> {
        match self.slab.get(place) {
            Some(slot) if slot.key == key && slot.has(USED) => Some(place),
            _ => self.find(hash, key),
        }
    }

    /// Where [`Shard::find`] will most likely find the row; fetches the row's first `lines` cache
    /// lines.
    #[inline(always)]
    fn candidate(&self, hash: u64, lines: usize) -> Place {
        let Some(place) = self.index.candidate(hash) else { return Place::NOT_RESIDENT };
        self.prefetch_row(place, lines);
        place
    }

    /// Begins to look for `keys` in their order: fetches what the first ones need.
    pub(crate) fn begin_finding(&self, keys: &[i64], places: &mut Vec<Place>, lines: usize) {
        places.clear();
        keys.iter().take(2 * AHEAD).for_each(|key| self.index.prefetch(hash(*key)));
        places.extend(keys.iter().take(AHEAD).map(|key| self.candidate(hash(*key), lines)));
    }

    /// Looks for the key at `index`, the next one; fetches what the keys after it need. `places`
    /// has the candidates of the keys up to there.
    #[inline(always)]
    pub(crate) fn find_next(
        &self,
        keys: &[i64],
        places: &mut Vec<Place>,
        index: usize,
        lines: usize,
    ) -> Option<Place> {
        if let Some(later) = keys.get(index + 2 * AHEAD) {
            self.index.prefetch(hash(*later));
        }
        if let Some(later) = keys.get(index + AHEAD) {
            places.push(self.candidate(hash(*later), lines));
        }
        let key = keys[index];
        let found = self.find_from(places[index], hash(key), key);
        places[index] = found.unwrap_or(Place::NOT_RESIDENT);
        found
    }

    /// Looks for the key at `index`, whose row was at `places[index]` a while ago.
    #[inline(always)]
    pub(crate) fn find_again(
        &self,
        keys: &[i64],
        places: &mut [Place],
        index: usize,
    ) -> Option<Place> {
        if let Some(slot) = places.get(index + AHEAD).and_then(|later| self.slab.get(*later)) {
            prefetch(slot);
        }
        let found = self.find_from(places[index], hash(keys[index]), keys[index]);
        places[index] = found.unwrap_or(Place::NOT_RESIDENT);
        found
    }

    /// As [`Shard::prefetch_row`], for a row that was at `place` a while ago.
    #[inline(always)]
    pub(crate) fn prefetch_again(&self, place: Place, lines: usize) {
        if self.slab.get(place).is_some() {
            self.prefetch_row(place, lines);
        }
    }

    #[inline(always)]
    pub(crate) fn prefetch_row(&self, place: Place, lines: usize) {
        let (slot, row) = self.slab.both(place);
        prefetch(slot);
        prefetch_floats(row, lines);
    }

    #[inline(always)]
    pub(crate) fn slot(&self, place: Place) -> &Slot {
        self.slab.slot(place)
    }

    #[inline(always)]
    pub(crate) fn row(&self, place: Place) -> &[f32] {
        self.slab.both(place).1
    }

    #[inline(always)]
    pub(crate) fn both(&self, place: Place) -> (&Slot, &[f32]) {
        self.slab.both(place)
    }

    #[inline(always)]
    pub(crate) fn both_mut(&mut self, place: Place) -> (&mut Slot, &mut [f32]) {
        self.slab.both_mut(place)
    }

    /// Marks the row as different from the one on disk.
    #[inline(always)]
    pub(crate) fn mark_dirty(&mut self, place: Place) {
        let epoch = self.cut.epoch;
        let slot = self.slab.slot_mut(place);
        if !slot.has(DIRTY) {
            slot.set(DIRTY);
            slot.set_to(EPOCH, epoch);
            add(&self.counts.dirty, 1);
        }
    }

    /// Keeps the row where it is until [`Shard::unpin`].
    #[inline(always)]
    pub(crate) fn pin(&mut self, place: Place) {
        self.slab.slot_mut(place).set(PINNED);
    }

    #[inline(always)]
    pub(crate) fn unpin(&mut self, place: Place) {
        self.slab.slot_mut(place).clear(PINNED);
    }

    /// Sets whether the row is known to be absent.
    #[inline(always)]
    pub(crate) fn set_absent(&mut self, place: Place, absent: bool) {
        let slot = self.slab.slot_mut(place);
        if absent {
            slot.set(ABSENT);
        } else {
            slot.clear(ABSENT);
        }
    }

    /// Claims a place for a key that is not resident; the caller fills it in. None when the shard
    /// is full of rows that cannot be evicted now.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(crate) fn insert(&mut self, hash: u64, key: i64, full: Full) -> Result<Option<Place>> {
        debug_assert!(self.find(hash, key).is_none());
        let Some(place) = self.claim(full)? else { return Ok(None) };
        if let Err(error) = self.reserve_index() {
            self.free.push(place);
            return Err(error);
        }
        self.index.insert(hash, place);
        let slot = self.slab.slot_mut(place);
        *slot = Slot::default();
        slot.key = key;
        slot.set(USED);
        add(&self.counts.rows, 1);
        Ok(Some(place))
    }

    fn claim(&mut self, full: Full) -> Result<Option<Place>> {
        if self.free.is_empty() {
            let bytes = self.slab.bytes_of(self.slab.rows_of_next());
            let take =
                |shard: &Shard| shard.budget.take(bytes, shard.group.bytes.load(Ordering::Relaxed));
            if take(self) {
                self.grow()?;
            } else if let Some(victim) = self.evict() {
                return Ok(Some(victim));
            } else if self.budget.take_reserve(bytes) {
                self.grow()?;
            } else if full == Full::Grow {
                self.budget.take_anyway(bytes);
                self.grow()?;
            }
        }
        Ok(self.free.pop())
    }

    /// Adds a chunk; its bytes have already been taken from the budget.
    fn grow(&mut self) -> Result<()> {
        let rows = self.slab.rows_of_next();
        let bytes = self.slab.bytes_of(rows);
        let no_room = |why: &str| Error::out_of_memory(why);
        let grown = u32::try_from(self.slab.end())
            .map_err(|_| no_room("a shard of the cache has no numbers for more rows"))
            .and_then(|_| {
                self.free
                    .try_reserve(rows)
                    .map_err(|_| no_room("no memory for the cache's free slots"))?;
                self.slab.grow()
            });
        if let Err(error) = grown {
            self.budget.give_back(bytes);
            return Err(error);
        }
        self.free.extend(self.slab.last_chunk().rev());
        self.group.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn reserve_index(&mut self) -> Result<()> {
        if !self.index.is_full() {
            return Ok(());
        }
        let before = self.index.bytes();
        let rows = self.slab.places().filter(|(_, slot)| slot.has(USED));
        self.index.grow(rows.map(|(place, slot)| (hash(slot.key), place)))?;
        let more = self.index.bytes() - before;
        self.budget.take_anyway(more);
        self.group.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    /// Advances the clock to a row that may be evicted and has no uses left, and takes it out.
    fn evict(&mut self) -> Option<Place> {
        let len = self.slab.len();
        for _ in 0..CLOCK_STEPS.min(4 * len) {
            self.hand = self.slab.after(self.hand);
            let place = self.hand;
            let slot = self.slab.slot_mut(place);
            if slot.has(USED) && slot.pass() && slot.may_be_evicted() {
                self.take_out(place);
                self.group.evictions.fetch_add(1, Ordering::Relaxed);
                return Some(place);
            }
        }
        None
    }

    /// Drops a row that may be evicted; the caller gets its place.
    fn take_out(&mut self, place: Place) {
        let slot = self.slab.slot_mut(place);
        if !slot.has(ABSENT) {
            self.group.is_complete.store(false, Ordering::Release);
        }
        let hash = hash(slot.key);
        *slot = Slot::default();
        self.index.remove(hash, place);
        add(&self.counts.rows, usize::MAX);
    }

    /// Drops every row, dirty or not.
    pub(super) fn clear(&mut self) {
        let bytes = self.slab.bytes_of(self.slab.len()) + self.index.bytes();
        self.end_cut(true);
        self.index = Index::default();
        self.slab.clear();
        (self.free, self.hand) = (Vec::new(), Place::FIRST);
        self.counts.rows.store(0, Ordering::Relaxed);
        self.counts.dirty.store(0, Ordering::Relaxed);
        self.budget.give_back(bytes);
        self.group.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Frees the last chunk; its hot rows move to the places of cold rows. False when that is not
    /// possible now.
    pub(super) fn give_back(&mut self) -> bool {
        if self.slab.len() == 0 {
            return false;
        }
        let start = self.slab.start_of_last();
        self.free.retain(|place| *place < start);
        let mut emptied = Vec::new();
        let mut possible = true;
        for place in self.slab.last_chunk() {
            let slot = self.slab.slot(place).copy();
            if !slot.has(USED) {
                emptied.push(place);
                continue;
            }
            if slot.has(PINNED) {
                possible = false;
                continue;
            }
            // The clock may pick a place in this very chunk. That row is then evicted, and there is
            // no target.
            let target = if slot.is_cold() && slot.may_be_evicted() {
                None
            } else {
                self.target_below(start)
            };
            if !self.slab.slot(place).has(USED) {
                emptied.push(place);
                if let Some(target) = target {
                    self.free.push(target);
                }
            } else if let Some(target) = target {
                self.slab.copy(place, target);
                self.index.replace(hash(slot.key), place, target);
                *self.slab.slot_mut(place) = Slot::default();
                emptied.push(place);
            } else if slot.may_be_evicted() {
                self.take_out(place);
                self.group.evictions.fetch_add(1, Ordering::Relaxed);
                emptied.push(place);
            } else {
                possible = false;
            }
        }
        if !possible {
            self.free.extend(emptied);
            return false;
        }
        let bytes = self.slab.bytes_of(self.slab.rows_of_last());
        self.slab.shrink();
        if self.hand >= start {
            self.hand = Place::FIRST;
        }
        self.budget.give_back(bytes);
        self.group.bytes.fetch_sub(bytes, Ordering::Relaxed);
        true
    }

    /// A place below `end` to which a row can be moved.
    fn target_below(&mut self, end: Place) -> Option<Place> {
        if let Some(free) = self.free.pop() {
            return Some(free);
        }
        let victim = self.evict()?;
        (victim < end).then_some(victim)
    }

    /// Appends the keys and places of all dirty rows, or of those that nobody has used lately.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(crate) fn dirty_keys(&self, only_cold: bool, keys: &mut Vec<(i64, Place)>) -> Result<()> {
        let dirty = self.counts.dirty.load(Ordering::Relaxed);
        keys.try_reserve(dirty)
            .map_err(|_| Error::out_of_memory("no memory for the list of rows to write"))?;
        let wanted = |slot: &Slot| slot.has(DIRTY) && (slot.is_cold() || !only_cold);
        let rows = self.slab.places().filter(|(_, slot)| wanted(slot));
        keys.extend(rows.map(|(place, slot)| (slot.key, place)));
        Ok(())
    }

    /// Begins to write a dirty row, which may be at `place`: a change from now on makes it dirty
    /// again.
    pub(crate) fn begin_write(&mut self, key: i64, place: Place) -> Option<(&Slot, &[f32])> {
        let place = self.find_from(place, hash(key), key)?;
        let slot = self.slab.slot_mut(place);
        if !slot.has(DIRTY) {
            return None;
        }
        slot.clear(DIRTY);
        slot.set(WRITING);
        add(&self.counts.dirty, usize::MAX);
        Some(self.slab.both(place))
    }

    /// Ends the write that [`Shard::begin_write`] began; `written` says whether it succeeded.
    pub(crate) fn end_write(&mut self, key: i64, place: Place, written: bool) {
        let Some(place) = self.find_from(place, hash(key), key) else { return };
        let slot = self.slab.slot_mut(place);
        if !slot.has(WRITING) {
            return;
        }
        slot.clear(WRITING);
        if !written {
            self.mark_dirty(place);
        }
    }
}

/// Adds to a counter that only the holder of the shard's lock writes, which saves an atomic
/// addition.
#[inline(always)]
fn add(counter: &AtomicUsize, more: usize) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}
