//! A cut: the rows as they were at one moment, while later calls already change them.
//!
//! A row that was dirty at the cut and is not on disk yet is copied when it changes again; the
//! writer takes the copy. A row that the disk already had needs no copy. So a cut costs callers one
//! copy of each row that they change before it is written, and nobody waits. EPOCH says on which
//! side of the cut a row became dirty; each cut flips its meaning.

use std::sync::atomic::Ordering;

use super::Shard;
use crate::cache::cut::{CutRow, Kept};
use crate::cache::hash::hash;
use crate::cache::place::Place;
use crate::cache::row::Row;
use crate::cache::slot::{DIRTY, EPOCH, Slot, USED, WRITING};
use crate::error::{Error, Result};

impl Shard {
    /// Begins a cut: the rows that are dirty now belong to it. No call may be changing rows.
    pub(crate) fn begin_cut(&mut self) {
        let epoch = self.cut.epoch.load(Ordering::Relaxed);
        self.cut.epoch.store(!epoch, Ordering::Relaxed);
        self.cut.failed.store(false, Ordering::Relaxed);
        self.cut.is_open.store(true, Ordering::Relaxed);
    }

    /// Ends the cut; `is_complete` says whether all of it is on disk.
    pub(crate) fn end_cut(&mut self, is_complete: bool) {
        let kept = {
            let mut kept = self.cut.kept.lock();
            self.cut.is_open.store(false, Ordering::Relaxed);
            std::mem::take(&mut *kept)
        };
        let bytes = kept.values().map(Kept::bytes).sum();
        self.group.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if !is_complete {
            // Rows that were not written belong to the next cut, as all dirty rows do.
            let epoch = self.cut.epoch.load(Ordering::Relaxed);
            for (place, _) in self.slab().places() {
                let row = self.hold(place);
                if row.has(DIRTY) {
                    row.slot().set_to(EPOCH, epoch);
                }
            }
        }
    }

    /// Appends the keys and places of the rows of the cut that are not on disk yet.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, also when a row could not be kept.
    pub(crate) fn cut_keys(&self, keys: &mut Vec<(i64, Place)>) -> Result<()> {
        let no_memory = |_| Error::out_of_memory("no memory for the list of rows to write");
        self.check_cut()?;
        let epoch = self.cut.epoch.load(Ordering::Relaxed);
        let wanted = |slot: &Slot| slot.has(USED) && slot.has(DIRTY) && slot.has(EPOCH) != epoch;
        self.list(wanted, keys)?;
        // Last: a row that a call has changed meanwhile is among these, perhaps besides.
        let kept = self.cut.kept.lock();
        keys.try_reserve(kept.len()).map_err(no_memory)?;
        keys.extend(kept.keys().map(|key| (*key, Place::NOT_RESIDENT)));
        Ok(())
    }

    /// Begins to write a row of the cut; None when it is on disk already.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when a row could not be kept.
    pub(crate) fn begin_cut_write(&self, key: i64, place: Place) -> Result<Option<CutRow<'_>>> {
        self.check_cut()?;
        let row = self.find_from(place, hash(key), key).map(|place| self.hold(place));
        // With the row held, nobody keeps a copy of it.
        if let Some(kept) = self.cut.kept.lock().remove(&key) {
            self.group.kept_bytes.fetch_sub(kept.bytes(), Ordering::Relaxed);
            return Ok(Some(CutRow::Kept(kept)));
        }
        self.check_cut()?;
        let Some(row) = row else { return Ok(None) };
        if !row.has(DIRTY) || row.has(EPOCH) == self.cut.epoch.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.begin_row_write(&row);
        Ok(Some(CutRow::InPlace(row)))
    }

    /// Notes that a dirty row is being written.
    pub(super) fn begin_row_write(&self, row: &Row<'_>) {
        row.slot().set_to(DIRTY, false);
        row.slot().set_to(WRITING, true);
        self.counts.dirty.fetch_sub(1, Ordering::Relaxed);
    }

    fn check_cut(&self) -> Result<()> {
        if self.cut.failed.load(Ordering::Relaxed) {
            let why = "no memory to keep rows as they were while they change; try again when less \
                       is going on";
            return Err(Error::out_of_memory(why));
        }
        Ok(())
    }
}
