//! One part of a group's resident rows behind a lock: what brings rows in, takes them out and moves
//! them. The rows themselves are used without the lock, too (`resident`).
#![allow(unsafe_code)]

mod cutting;
#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::budget::Budget;
use super::hash::hash;
use super::index::Index;
use super::place::Place;
use super::resident::Resident;
use super::row::Row;
use super::slab::Slab;
use super::slot::{ABSENT, DIRTY, MAX_USES, Slot, USED, WRITING};
use crate::error::{Error, Result};
use crate::prefetch::prefetch;

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
/// The most lines of a row that are fetched before it is written.
const MOST_LINES: usize = 4;

pub(crate) struct Shard {
    resident: Arc<Resident>,
    free: Vec<Place>,
    hand: Place,
    budget: Arc<Budget>,
}

impl Deref for Shard {
    type Target = Resident;

    #[inline(always)]
    fn deref(&self) -> &Resident {
        &self.resident
    }
}

impl Shard {
    pub(super) fn new(resident: Arc<Resident>, budget: Arc<Budget>) -> Shard {
        Shard { resident, free: Vec::new(), hand: Place::FIRST, budget }
    }

    #[inline(always)]
    fn index(&self) -> &Index {
        // SAFETY: only methods that borrow the shard for writing replace the index.
        unsafe { self.resident.index.get_locked() }
    }

    #[inline(always)]
    fn slab(&self) -> &Slab {
        // SAFETY: only methods that borrow the shard for writing replace the slab.
        unsafe { self.resident.slab.get_locked() }
    }

    /// The place of a resident key.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, key: i64) -> Option<Place> {
        self.index().find(hash, |place| self.slab().slot(place).key() == key)
    }

    /// As [`Shard::find`], for a key whose row may be at `place`.
    #[inline(always)]
    pub(crate) fn find_from(&self, place: Place, hash: u64, key: i64) -> Option<Place> {
        match self.slab().get(place) {
            Some(slot) if slot.is_of(key) => Some(place),
            _ => self.find(hash, key),
        }
    }

    /// Where [`Shard::find`] will most likely find the row; fetches the row's first `lines` cache
    /// lines.
    #[inline(always)]
    fn candidate(&self, hash: u64, lines: usize) -> Place {
        let Some(place) = self.index().candidate(hash) else { return Place::NOT_RESIDENT };
        self.slab().prefetch(place, lines);
        place
    }

    /// Begins to look for `keys` in their order: fetches what the first ones need. `places` has
    /// one a key, to be written.
    pub(crate) fn begin_finding(&self, keys: &[i64], places: &mut [Place], lines: usize) {
        keys.iter().take(2 * AHEAD).for_each(|key| self.index().prefetch(hash(*key)));
        for (key, place) in keys.iter().zip(places).take(AHEAD) {
            *place = self.candidate(hash(*key), lines);
        }
    }

    /// Looks for the key at `index`, the next one; fetches what the keys after it need. `places`
    /// has the candidates of the keys up to there.
    #[inline(always)]
    pub(crate) fn find_next(
        &self,
        keys: &[i64],
        places: &mut [Place],
        index: usize,
        lines: usize,
    ) -> Option<Place> {
        if let Some(later) = keys.get(index + 2 * AHEAD) {
            self.index().prefetch(hash(*later));
        }
        if let Some(later) = keys.get(index + AHEAD) {
            places[index + AHEAD] = self.candidate(hash(*later), lines);
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
        if let Some(slot) = places.get(index + AHEAD).and_then(|later| self.slab().get(*later)) {
            prefetch(slot);
        }
        let found = self.find_from(places[index], hash(keys[index]), keys[index]);
        places[index] = found.unwrap_or(Place::NOT_RESIDENT);
        found
    }

    /// Fetches the line of the index that a search for a key begins with.
    #[inline(always)]
    pub(crate) fn prefetch_entry(&self, hash: u64) {
        self.index().prefetch(hash);
    }

    /// Fetches a row's header and its first `lines` cache lines. The row may have moved.
    #[inline(always)]
    pub(crate) fn prefetch_row(&self, place: Place, lines: usize) {
        self.slab().prefetch(place, lines);
    }

    /// A row's header, which another thread may be changing.
    #[inline(always)]
    pub(crate) fn slot(&self, place: Place) -> &Slot {
        self.slab().slot(place)
    }

    /// Copies the first floats of the row at a place, if it was last written at `cutoff` or later.
    /// Counts a use of the row.
    #[inline(always)]
    pub(crate) fn read(&self, place: Place, key: i64, cutoff: u64, copy: &mut [f32]) -> bool {
        self.slab().read_or_wait(place, key, cutoff, copy)
    }

    /// Waits for the row at a place. Its holders wait for no lock of a shard.
    #[inline(always)]
    pub(crate) fn hold(&self, place: Place) -> Row<'_> {
        self.slab().hold(place)
    }

    /// Keeps the row where it is until [`Shard::unpin`]. For at most [`MAX_PINS`] calls at a time.
    #[inline(always)]
    pub(crate) fn pin(&mut self, place: Place) {
        self.slab().slot(place).pin();
    }

    /// Takes back a [`Shard::pin`] of the same call.
    #[inline(always)]
    pub(crate) fn unpin(&mut self, place: Place) {
        self.slab().slot(place).unpin();
    }

    /// Claims a place for a key that is not resident. It is absent until the caller fills it in.
    /// None when the shard is full of rows that cannot be evicted now.
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
        self.hold(place).header_mut().begin(key);
        self.index().insert(hash, place);
        self.count_row(1);
        Ok(Some(place))
    }

    fn claim(&mut self, full: Full) -> Result<Option<Place>> {
        if self.free.is_empty() {
            let bytes = self.slab().bytes_of(self.slab().rows_of_next());
            if self.budget.take(bytes, self.group.bytes.load(Ordering::Relaxed)) {
                self.grow()?;
            } else if let Some(victim) = self.evict(CLOCK_STEPS.min(4 * self.slab().len())) {
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
        let rows = self.slab().rows_of_next();
        let bytes = self.slab().bytes_of(rows);
        let no_room = |why: &str| Error::out_of_memory(why);
        let grown = u32::try_from(self.slab().end())
            .map_err(|_| no_room("a shard of the cache has no numbers for more rows"))
            .and_then(|_| {
                self.free
                    .try_reserve(rows)
                    .map_err(|_| no_room("no memory for the cache's free slots"))?;
                self.slab().grown()
            });
        let grown = grown.inspect_err(|_| self.budget.give_back(bytes))?;
        self.free.extend(grown.last_chunk().rev());
        self.resident.slab.replace(grown);
        self.group.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn reserve_index(&mut self) -> Result<()> {
        if !self.index().is_full() {
            return Ok(());
        }
        let before = self.index().bytes();
        let rows = self.slab().places().filter(|(_, slot)| slot.has(USED));
        let grown = self.index().grown(rows.map(|(place, slot)| (hash(slot.key()), place)))?;
        self.resident.index.replace(grown);
        let more = self.index().bytes() - before;
        self.budget.take_anyway(more);
        self.group.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    /// Advances the clock to a row that may be evicted and has no uses left, and takes it out. It
    /// looks at `steps` rows at most.
    fn evict(&mut self, steps: usize) -> Option<Place> {
        for _ in 0..steps {
            self.hand = self.slab().after(self.hand);
            self.prefetch_victim();
            let place = self.hand;
            let slot = self.slab().slot(place);
            if slot.has(USED) && slot.pass() && self.take_out(place) {
                return Some(place);
            }
        }
        None
    }

    /// Fetches what the eviction of a row needs that the clock will soon come to. Its floats are
    /// about to be written.
    #[inline(always)]
    fn prefetch_victim(&self) {
        let later = self.slab().later(self.hand, AHEAD);
        let Some(slot) = later.and_then(|place| self.slab().get(place)) else { return };
        if slot.is_cold() && slot.may_be_evicted() {
            self.index().prefetch(hash(slot.key()));
            later.iter().for_each(|place| self.slab().prefetch(*place, MOST_LINES));
        }
    }

    /// Evicts a row if that is possible now; the caller gets its place.
    fn take_out(&self, place: Place) -> bool {
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

    /// Counts a row that comes or goes.
    fn count_row(&self, more: isize) {
        let rows = self.counts.rows.load(Ordering::Relaxed);
        self.counts.rows.store(rows.wrapping_add_signed(more), Ordering::Relaxed);
    }

    /// Drops every row, dirty or not.
    pub(super) fn clear(&mut self) {
        let bytes = self.slab().bytes_of(self.slab().len()) + self.index().bytes();
        self.end_cut(true);
        let emptied = self.slab().emptied();
        self.resident.index.replace(Index::default());
        self.resident.slab.replace(emptied);
        (self.free, self.hand) = (Vec::new(), Place::FIRST);
        self.counts.rows.store(0, Ordering::Relaxed);
        self.counts.dirty.store(0, Ordering::Relaxed);
        self.budget.give_back(bytes);
        self.group.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Frees the last chunk; its hot rows move to the places of cold rows. False when that is not
    /// possible now.
    pub(super) fn give_back(&mut self) -> bool {
        if !self.can_give_back() {
            return false;
        }
        let start = self.slab().start_of_last();
        let Ok(shrunk) = self.slab().shrunk() else { return false };
        self.free.retain(|place| *place < start);
        // First those that have to stay in memory.
        for place in self.slab().last_chunk() {
            if !self.slot(place).may_be_evicted() {
                self.vacate(place, start);
            }
        }
        self.slab().last_chunk().for_each(|place| self.vacate(place, start));
        let mut places = self.slab().last_chunk();
        if places.any(|place| self.slot(place).has(USED)) {
            let slab = self.slab();
            let unused = slab.last_chunk().filter(|place| !slab.slot(*place).has(USED));
            let unused: Vec<Place> = unused.collect();
            self.free.extend(unused);
            return false;
        }
        let bytes = self.slab().bytes_of(self.slab().rows_of_last());
        self.resident.slab.replace(shrunk);
        if self.hand >= start {
            self.hand = Place::FIRST;
        }
        self.budget.give_back(bytes);
        self.group.bytes.fetch_sub(bytes, Ordering::Relaxed);
        true
    }

    /// Whether the rows of the last chunk that cannot be evicted now have enough places below it.
    /// Otherwise many rows would move, and the chunk would stay.
    fn can_give_back(&self) -> bool {
        let slab = self.slab();
        if slab.len() == 0 {
            return false;
        }
        let (mut kept, start) = (0, slab.start_of_last());
        for slot in slab.last_chunk().map(|place| slab.slot(place)).filter(|slot| slot.has(USED)) {
            if slot.is_pinned() {
                return false;
            }
            kept += usize::from(!slot.may_be_evicted());
        }
        let mut below = slab.places().take_while(|(place, _)| *place < start);
        kept == 0 || below.by_ref().filter(|(_, slot)| slot.is_room()).nth(kept - 1).is_some()
    }

    /// Empties a place if that is possible now: moves its row to a place below `end`, or evicts it.
    fn vacate(&mut self, place: Place, end: Place) {
        let slot = self.slot(place);
        if !slot.has(USED) || slot.is_pinned() {
            return;
        }
        let (key, is_needed) = (slot.key(), !slot.is_cold() || !slot.may_be_evicted());
        // The clock may pick a place in this very chunk. That row is then evicted, and there is no
        // target.
        let target = is_needed.then(|| self.target_below(end, place)).flatten();
        if let Some(target) = target {
            self.move_row(key, place, target);
        } else if self.slot(place).has(USED) {
            self.take_out(place);
        }
    }

    /// Moves a row. It is held in both places until only the new one has it: otherwise another
    /// thread could still change it in the old one.
    fn move_row(&self, key: i64, from: Place, to: Place) {
        let (mut old, mut new) = (self.hold(from), self.hold(to));
        new.header_mut().copy_from(old.slot());
        new.floats_mut().copy_from_slice(old.floats());
        self.index().replace(hash(key), from, to);
        old.header_mut().clear_all();
    }

    /// A place below `end` to which the row at `from` can be moved. None also when that row was
    /// evicted meanwhile.
    fn target_below(&mut self, end: Place, from: Place) -> Option<Place> {
        if let Some(free) = self.free.pop() {
            return Some(free);
        }
        // As far as the clock goes until every row has lost its uses. What it evicts in the chunk
        // above is of no use, and no loss.
        for _ in 0..self.slab().rows_of_last() {
            let victim = self.evict(4 * self.slab().len())?;
            if victim < end {
                return Some(victim);
            }
            if victim == from {
                return None;
            }
        }
        None
    }

    /// Appends the keys and places of dirty rows with at most so many uses.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(crate) fn dirty_keys(&self, uses: u8, keys: &mut Vec<(i64, Place)>) -> Result<()> {
        self.list(|slot| slot.has(DIRTY) && slot.uses() <= uses, keys)
    }

    /// How many dirty rows have each number of uses.
    pub(crate) fn dirty_by_uses(&self) -> [usize; MAX_USES as usize + 1] {
        let mut counts = [0; MAX_USES as usize + 1];
        for (_, slot) in self.slab().places().filter(|(_, slot)| slot.has(DIRTY)) {
            counts[slot.uses().min(MAX_USES) as usize] += 1;
        }
        counts
    }

    /// Appends the keys and places of rows, which others may be changing.
    fn list(&self, wanted: impl Fn(&Slot) -> bool, keys: &mut Vec<(i64, Place)>) -> Result<()> {
        for (place, slot) in self.slab().places().filter(|(_, slot)| wanted(slot)) {
            keys.try_reserve(1)
                .map_err(|_| Error::out_of_memory("no memory for the list of rows to write"))?;
            keys.push((slot.key(), place));
        }
        Ok(())
    }

    /// Begins to write a dirty row, which may be at `place`: a change from now on makes it dirty
    /// again.
    pub(crate) fn begin_write(&self, key: i64, place: Place) -> Option<Row<'_>> {
        let row = self.hold(self.find_from(place, hash(key), key)?);
        if !row.has(DIRTY) {
            return None;
        }
        self.begin_row_write(&row);
        Some(row)
    }

    /// Ends the write that [`Shard::begin_write`] began; `written` says whether it succeeded.
    pub(crate) fn end_write(&self, key: i64, place: Place, written: bool) {
        let Some(place) = self.find_from(place, hash(key), key) else { return };
        let mut row = self.hold(place);
        if !row.has(WRITING) {
            return;
        }
        row.slot().set_to(WRITING, false);
        if !written {
            self.mark_dirty(&mut row);
        }
    }
}
