//! Gradients of few keys of several groups, applied together: the step holds all of its rows, as
//! small calls of one group do (`few_changes`).
//!
//! It waits for nobody while it holds rows of one group and looks for those of another. If a row is
//! not resident, or another call has it, the step gives all of them back and takes turns instead.

use super::few_held::Held;
use super::members::Member;
use super::once::Once;
use super::step_entry::Entry;
use crate::cache::Row;
use crate::engine::Engine;
use crate::engine::rights::ChangeGuard;
use crate::error::Result;
use crate::journal::{Journal, Payload};
use crate::memory::room_for;

/// A step of more keys would hold rows for long, and is worth a second thread.
const MOST: usize = 4095;

impl Engine {
    /// Whether a step of so many keys may hold its rows.
    pub(super) fn are_few(&self, members: &[Member<'_>], keys: usize) -> bool {
        // Rows are not held during an fsync.
        let may_hold = keys <= MOST && !self.journal().is_some_and(Journal::syncs);
        let are_few = |member: &Member<'_>| member.of.held_back.is_empty() && one_part(member);
        may_hold && members.iter().all(are_few)
    }

    /// Steps the rows of all groups, if that can be done at once. False if not: nothing has changed
    /// then.
    ///
    /// # Errors
    /// As [`Engine::apply_together`].
    pub(super) fn step_few_together(
        &self,
        members: &[Member<'_>],
        once: Option<&Once>,
    ) -> Result<bool> {
        self.wait_for_journal()?;
        self.wait_for_kept()?;
        let groups = members.iter().map(|member| (member.of.table, &*member.dedup.parts));
        let entry = Entry::new(self, groups, once)?;
        // Copied by this thread alone: others may be waiting for rows that it holds.
        let payload = self.journal().map(|_| Payload::new(&entry.pieces));
        let mut besides = room_for(members.len())?;
        for member in members {
            besides.push(member.of.table.group.rights.begin_change()?);
        }
        let is_done = self.try_few_together(members, &besides, &entry, payload.as_ref())?;
        drop(besides);
        if is_done {
            self.rows_changed();
        }
        Ok(is_done)
    }

    fn try_few_together(
        &self,
        members: &[Member<'_>],
        besides: &[ChangeGuard<'_>],
        entry: &Entry<'_>,
        payload: Option<&Payload<'_>>,
    ) -> Result<bool> {
        let parts = || members.iter().flat_map(|member| &member.dedup.parts);
        let count = parts().map(|part| part.keys.len()).sum();
        let mut orders = room_for(besides.len())?;
        // Before the first row is held: the writer may be waiting for calls that hold rows.
        let stepping = self.stepping.read();
        let guard = crossbeam_epoch::pin();
        let mut rows: Vec<Option<Row<'_>>> = room_for(count)?;
        rows.resize_with(count, || None);
        let mut poison = room_for(besides.len())?;
        poison.extend(besides.iter().map(ChangeGuard::poison_on_panic));
        let cutoff = self.expiry.cutoff();
        let mut left = &mut rows[..];
        for (member, part) in members.iter().zip(parts()) {
            let (of_part, others) = left.split_at_mut(part.keys.len());
            left = others;
            let table = member.of.table;
            let held = table.try_hold_all(&part.keys, of_part, &guard, |row| row.is_row(cutoff));
            if held != Held::All {
                return Ok(false);
            }
        }
        orders.extend(besides.iter().map(ChangeGuard::order));
        let mut left = &rows[..];
        for ((member, order), part) in members.iter().zip(&orders).zip(parts()) {
            let (of_part, others) = left.split_at(part.keys.len());
            left = others;
            member.of.table.group.check_not_poisoned()?;
            // A call in turns may have to change one of the rows first.
            if !order.is_nobodys_turn() && of_part.iter().flatten().any(|row| row.is_pinned()) {
                return Ok(false);
            }
        }
        let begun = self.begin_in_order(entry, payload, || orders.clear())?;
        let Some((stamp, changes, ())) = begun else { return Ok(false) };
        let mut left = &mut rows[..];
        for ((member, part), change) in members.iter().zip(parts()).zip(changes) {
            let (of_part, others) = left.split_at_mut(part.keys.len());
            left = others;
            let created = member.of.table.step_rows(part, of_part, stamp, change);
            member.done.add((created, part.steps() as u64));
        }
        drop((poison, rows));
        drop(stepping);
        Ok(true)
    }
}

/// Whether a group has few keys: all in one part.
fn one_part(member: &Member<'_>) -> bool {
    matches!(&*member.dedup.parts, [part] if part.is_of_few())
}
