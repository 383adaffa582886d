//! Commits of few keys, beside other calls, as small steps are made (`few_changes`).
//!
//! A commit holds its rows before it looks at them, and until it has changed them. What they become
//! is in the journal, so its entry is made in between. A commit with a row that is not resident, or
//! one that waits for an fsync, has the group alone instead.

use std::io::IoSlice;

use super::OpenGroup;
use super::few_held::{FEWER, Rows, SOME, Tried, try_beside};
use super::in_turns::NextStep;
use super::kept::FEW;
use super::row_copies::{Conflicts, RowCopies};
use crate::cache::{Full, hash};
use crate::engine::Engine;
use crate::engine::rights::ChangeGuard;
use crate::error::Result;
use crate::journal::{CallKind, Journal, Payload};

impl OpenGroup {
    /// Commits few rows, if that can be done beside other calls. False if not: nothing has changed
    /// then.
    ///
    /// # Errors
    /// As [`OpenGroup::commit`].
    pub(super) fn commit_few(
        &self,
        engine: &Engine,
        copies: &mut RowCopies,
        (count, conflicts): (usize, Conflicts),
    ) -> Result<bool> {
        if count <= FEWER {
            self.commit_some::<FEWER>(engine, copies, conflicts)
        } else if count <= SOME {
            self.commit_some::<SOME>(engine, copies, conflicts)
        } else if count <= FEW {
            self.commit_some::<FEW>(engine, copies, conflicts)
        } else {
            Ok(false)
        }
    }

    fn commit_some<const N: usize>(
        &self,
        engine: &Engine,
        copies: &mut RowCopies,
        conflicts: Conflicts,
    ) -> Result<bool> {
        // Rows are not held during an fsync.
        if engine.journal().is_some_and(Journal::syncs) {
            return Ok(false);
        }
        self.make_places(engine, copies)?;
        engine.wait_for_journal()?;
        engine.wait_for_kept()?;
        let beside = self.group.rights.begin_change()?;
        try_beside(engine, beside, |beside| self.try_commit::<N>(engine, beside, copies, conflicts))
    }

    /// Gives new rows their places in memory, unless that takes a look at the disk or room. They
    /// are absent until the commit fills them in.
    fn make_places(&self, engine: &Engine, copies: &RowCopies) -> Result<()> {
        let mut made = 0;
        for key in copies.new_keys() {
            let mut shard = self.cache.lock_for(hash(key));
            // As in `make_in`: the flag is looked at with the shard locked.
            if shard.find(hash(key), key).is_none() && self.cache.is_complete() {
                shard.insert(hash(key), key, Full::Refuse)?;
                made += 1;
            }
        }
        if made > 0 {
            engine.pace(made);
        }
        Ok(())
    }

    fn try_commit<const N: usize>(
        &self,
        engine: &Engine,
        beside: &ChangeGuard<'_>,
        copies: &mut RowCopies,
        conflicts: Conflicts,
    ) -> Result<Tried> {
        // Before the first row is held: the writer may be waiting for calls that hold rows.
        let stepping = engine.stepping.read();
        let guard = crossbeam_epoch::pin();
        let mut rows: Rows<'_, N> = [const { None }; N];
        let poison = beside.poison_on_panic();
        if !self.hold_again(copies.committed(), &mut rows, &guard) {
            return Ok(Tried::Lacking);
        }
        let terms = self.commit_terms(engine, conflicts);
        let mut created = 0;
        for (number, row) in rows.iter().flatten().enumerate() {
            created += u64::from(self.merge_row(copies, number, row, &terms)?);
        }
        let keys = copies.committed().0;
        let pieces = [
            IoSlice::new(bytemuck::cast_slice(keys)),
            IoSlice::new(bytemuck::cast_slice(&copies.merged)),
        ];
        let journal = engine.journal().map(|journal| (journal, Payload::new(&pieces)));
        let entry = journal.as_ref().map(|(journal, payload)| (*journal, payload));
        let membership_change = (created > 0).then(|| beside.begin_membership_change());
        let next = NextStep::new(self, CallKind::InsertRecords);
        let (stamp, begun) = {
            let order = beside.order();
            self.group.check_not_poisoned()?;
            if !order.is_nobodys_turn() && rows.iter().flatten().any(|row| row.is_pinned()) {
                return Ok(Tried::Pinned);
            }
            self.begin_entry(engine, entry, &next)?
        };
        if let (Some((journal, _)), Some(begun)) = (entry, begun) {
            journal.finish(begun, &next)?;
        }
        let merged = copies.merged.chunks_exact(copies.merged_len());
        for (slot, merged) in rows.iter_mut().zip(merged) {
            if let Some(row) = slot {
                let resident = self.cache.resident(hash(row.key()));
                self.put_row(resident, row, merged, stamp);
            }
            *slot = None;
        }
        drop((poison, rows));
        drop((membership_change, stepping));
        self.count_commit(engine, created, keys.len());
        Ok(Tried::Done)
    }
}
