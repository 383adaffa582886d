//! A cut: the rows as they were at one moment, while later calls already change them.
//!
//! A row that was dirty at the cut and is not on disk yet is copied when it changes again; the
//! writer takes the copy. A row that the disk already had needs no copy. So a cut costs callers one
//! copy of each row that they change before it is written, and nobody waits. EPOCH says on which
//! side of the cut a row became dirty; each cut flips its meaning.

use std::sync::atomic::Ordering;

use super::cut::{CutRow, Kept};
use super::{Shard, add};
use crate::cache::hash::hash;
use crate::cache::place::Place;
use crate::cache::slot::{ABSENT, DIRTY, EPOCH, Slot, USED, WRITING};
use crate::error::{Error, Result};
use crate::memory::room_for;

impl Shard {
    /// Begins a cut: the rows that are dirty now belong to it.
    pub(crate) fn begin_cut(&mut self) {
        self.cut.is_open = true;
        self.cut.epoch = !self.cut.epoch;
        self.cut.failed = false;
    }

    /// Ends the cut; `is_complete` says whether all of it is on disk.
    pub(crate) fn end_cut(&mut self, is_complete: bool) {
        self.cut.is_open = false;
        for (_, kept) in self.cut.kept.drain() {
            self.group.kept_bytes.fetch_sub(kept.bytes(), Ordering::Relaxed);
        }
        self.cut.kept.shrink_to_fit();
        if !is_complete {
            // Rows that were not written belong to the next cut, as all dirty rows do.
            let epoch = self.cut.epoch;
            self.slab
                .slots_mut()
                .filter(|slot| slot.has(DIRTY))
                .for_each(|slot| slot.set_to(EPOCH, epoch));
        }
    }

    /// Call before a row is changed.
    #[inline(always)]
    pub(crate) fn before_change(&mut self, place: Place) {
        if self.cut.is_open {
            self.keep(place);
        }
    }

    #[cold]
    fn keep(&mut self, place: Place) {
        let epoch = self.cut.epoch;
        let (slot, row) = self.slab.both(place);
        if !slot.has(DIRTY) || slot.has(EPOCH) == epoch {
            return;
        }
        let absent = slot.has(ABSENT);
        let Ok(mut floats) = room_for(if absent { 0 } else { row.len() }) else {
            self.cut.failed = true;
            return;
        };
        if !absent {
            floats.extend_from_slice(row);
        }
        let (time, updates, seqno) = (slot.time(), slot.updates, slot.seqno());
        let kept = Kept { absent, time, updates, seqno, floats };
        if self.cut.kept.try_reserve(1).is_err() {
            self.cut.failed = true;
            return;
        }
        self.group.kept_bytes.fetch_add(kept.bytes(), Ordering::Relaxed);
        let key = slot.key;
        self.cut.kept.insert(key, kept);
        self.slab.slot_mut(place).set_to(EPOCH, epoch);
    }

    /// Appends the keys and places of the rows of the cut that are not on disk yet.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, also when a row could not be kept.
    pub(crate) fn cut_keys(&self, keys: &mut Vec<(i64, Place)>) -> Result<()> {
        let no_memory = |_| Error::out_of_memory("no memory for the list of rows to write");
        self.check_cut()?;
        keys.try_reserve(self.counts.dirty.load(Ordering::Relaxed) + self.cut.kept.len())
            .map_err(no_memory)?;
        let epoch = self.cut.epoch;
        let wanted = |slot: &Slot| slot.has(USED) && slot.has(DIRTY) && slot.has(EPOCH) != epoch;
        let rows = self.slab.places().filter(|(_, slot)| wanted(slot));
        keys.extend(rows.map(|(place, slot)| (slot.key, place)));
        keys.extend(self.cut.kept.keys().map(|key| (*key, Place::NOT_RESIDENT)));
        Ok(())
    }

    /// Begins to write a row of the cut; None when it is on disk already.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when a row could not be kept.
    pub(crate) fn begin_cut_write(&mut self, key: i64, place: Place) -> Result<Option<CutRow<'_>>> {
        self.check_cut()?;
        if let Some(kept) = self.cut.kept.remove(&key) {
            self.group.kept_bytes.fetch_sub(kept.bytes(), Ordering::Relaxed);
            return Ok(Some(CutRow::Kept(kept)));
        }
        let Some(place) = self.find_from(place, hash(key), key) else { return Ok(None) };
        let epoch = self.cut.epoch;
        let slot = self.slab.slot_mut(place);
        if !slot.has(DIRTY) || slot.has(EPOCH) == epoch {
            return Ok(None);
        }
        slot.clear(DIRTY);
        slot.set(WRITING);
        add(&self.counts.dirty, usize::MAX);
        let (slot, floats) = self.slab.both(place);
        Ok(Some(CutRow::InPlace(slot, floats)))
    }

    fn check_cut(&self) -> Result<()> {
        if self.cut.failed {
            let why = "no memory to keep rows as they were while they change; try again when less \
                       is going on";
            return Err(Error::out_of_memory(why));
        }
        Ok(())
    }
}
