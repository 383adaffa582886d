//! Commit: brings the rows of a pin back, as its caller has changed them.
//!
//! A commit is one entry in the journal: an insert_records with the rows as they become. What a row
//! becomes depends on its present floats. So no other call may change it between the comparison and
//! the write. Small commits hold their rows (`few_commits`). Others have the group alone.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::change::{Change, Stamp};
use super::guards::Pinned;
use super::insert_records::count_of;
use super::part::Part;
use super::row_copies::{Conflicts, RowCopies};
use super::{OpenGroup, Origin};
use crate::cache::{Resident, Row, hash};
use crate::engine::Engine;
use crate::error::Result;
use crate::journal::CallKind;

/// How a commit combines the pinned rows with the present ones.
pub(super) struct CommitTerms {
    cutoff: u64,
    /// As `Optimizer::squares`.
    squares: Range<usize>,
    conflicts: Conflicts,
}

impl OpenGroup {
    /// Changes the rows of a pin as their copies were changed. A key without a row gets one, except
    /// the padding key and keys that were not admitted. Counts an update of each row, and leaves
    /// the group's global step alone. All rows change together or not at all.
    ///
    /// # Errors
    /// `BUSY` for a row that has changed since, if conflicts are refused; `INVALID_ARGUMENT` for
    /// floats that no row may have; `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Nothing has
    /// changed.
    pub(crate) fn commit(
        &self,
        engine: &Engine,
        copies: &mut RowCopies,
        conflicts: Conflicts,
    ) -> Result<()> {
        let count = copies.begin_commit()?;
        if count == 0 || self.commit_few(engine, copies, (count, conflicts))? {
            return Ok(());
        }
        self.commit_alone(engine, copies, conflicts)
    }

    /// As [`OpenGroup::commit`], with the group alone.
    fn commit_alone(
        &self,
        engine: &Engine,
        copies: &mut RowCopies,
        conflicts: Conflicts,
    ) -> Result<()> {
        let keys = copies.committed().0;
        let count = keys.len();
        let part = Part::of_keys(keys)?;
        let guard = self.group.begin_write()?;
        let mut parts = [part];
        let pinned = Pinned::new(self, &mut parts);
        let call = engine.pool.begin_work(count);
        self.prepare(engine, &call, pinned.parts, (count, Origin::Call))?;
        let terms = self.commit_terms(engine, conflicts);
        let mut created = 0;
        for part in &mut *pinned.parts {
            for (number, (key, place)) in part.keys.iter().zip(&part.places).enumerate() {
                let shard = self.cache.read_for(hash(*key));
                let row = shard.hold(*place);
                created += u64::from(self.merge_row(copies, number, &row, &terms)?);
            }
            part.floats = std::mem::take(&mut copies.merged);
        }
        let step = self.group.step();
        let change =
            Change { kind: CallKind::InsertRecords, source: Origin::Call, rate: 0.0, step };
        let width = copies.merged_len();
        self.change_prepared(engine, &guard, pinned, change, |shard, part, steps, stamp| {
            for step in steps {
                let mut row = shard.hold(part.places[step]);
                self.put_row(shard, &mut row, &part.floats[step * width..][..width], stamp);
            }
        })?;
        drop(guard);
        self.count_commit(engine, created, count);
        Ok(())
    }

    /// Call it once the rows are held: it reads the expiry cutoff.
    pub(super) fn commit_terms(&self, engine: &Engine, conflicts: Conflicts) -> CommitTerms {
        let squares = self.optimizer.squares(self.dim);
        CommitTerms { cutoff: engine.expiry.cutoff(), squares, conflicts }
    }

    /// Computes what a key's row becomes, and writes it to `copies.merged`. Returns whether the row
    /// is new.
    #[inline(always)]
    pub(super) fn merge_row(
        &self,
        copies: &mut RowCopies,
        number: usize,
        row: &Row<'_>,
        CommitTerms { cutoff, squares, conflicts }: &CommitTerms,
    ) -> Result<bool> {
        if row.is_row(*cutoff) {
            copies.merge(number, (row.floats(), row.updates() + 1), squares, *conflicts)?;
            return Ok(false);
        }
        self.merge_new(copies, number, row.key(), squares, *conflicts)?;
        Ok(true)
    }

    /// As [`OpenGroup::merge_row`], for a row that was deleted or has expired since, or is new: as
    /// a gradient would find it.
    #[cold]
    fn merge_new(
        &self,
        copies: &mut RowCopies,
        number: usize,
        key: i64,
        squares: &Range<usize>,
        conflicts: Conflicts,
    ) -> Result<()> {
        let mut first = std::mem::take(&mut copies.first);
        self.fill_first(key, &mut first);
        let merged = copies.merge(number, (&first, 1), squares, conflicts);
        copies.first = first;
        merged
    }

    /// Replaces a row by `merged`: its floats and the update count.
    #[inline(always)]
    pub(super) fn put_row(
        &self,
        resident: &Resident,
        row: &mut Row<'_>,
        merged: &[f32],
        stamp: Stamp<'_>,
    ) {
        let (floats, count) = merged.split_at(self.row_len);
        resident.before_change(row);
        row.floats_mut().copy_from_slice(floats);
        // Counting is faster than setting, and nearly always the same.
        let updates = count_of(count);
        if updates == 1 || row.count_update() != updates {
            row.set_updates(updates);
        }
        row.stamp(stamp.time, stamp.seqno);
        row.set_absent(false);
        resident.mark_dirty(row);
    }

    pub(super) fn count_commit(&self, engine: &Engine, created: u64, updated: usize) {
        let counters = engine.counters.own();
        counters.rows_created.fetch_add(created, Ordering::Relaxed);
        counters.rows_updated.fetch_add(updated as u64, Ordering::Relaxed);
    }
}
