//! Apply gradients of few keys, all of them resident: such calls go on side by side, as Hogwild
//! trainers make them.
//!
//! A call holds all of its rows before it gets its sequence number, and until it has changed them.
//! So the calls that change a row do it in the journal's order, and nobody sees the row of a call
//! half way. A call that finds a row held by another one gives back what it has, and goes on in the
//! order of the keys: two calls never wait for each other.
//!
//! A call in turns (`in_turns`) pins its rows, gets its sequence number, and only then changes and
//! unpins them. A small call that holds such a row gives back all of its rows, and tries again a
//! moment later. After `ATTEMPTS` tries it takes turns.

use std::sync::atomic::Ordering;

use super::OpenGroup;
use super::change::{Change, Stamp};
use super::few_held::{FEWER, Rows, SOME, Tried, try_beside};
use super::in_turns::NextStep;
use super::kept::FEW;
use super::part::Part;
use crate::cache::{Row, hash};
use crate::engine::Engine;
use crate::engine::rights::ChangeGuard;
use crate::error::Result;
use crate::journal::{CallKind, Journal, Payload};

impl OpenGroup {
    /// Steps the rows of a small call, if that can be done beside other calls. False if not:
    /// nothing has changed then.
    ///
    /// # Errors
    /// As [`OpenGroup::apply_gradients`].
    pub(super) fn apply_few(&self, engine: &Engine, parts: &[Part]) -> Result<bool> {
        match parts {
            [part] if part.keys.len() <= FEWER => self.apply_part::<FEWER>(engine, part),
            [part] if part.keys.len() <= SOME => self.apply_part::<SOME>(engine, part),
            [part] => self.apply_part::<FEW>(engine, part),
            _ => Ok(false),
        }
    }

    fn apply_part<const N: usize>(&self, engine: &Engine, part: &Part) -> Result<bool> {
        // Rows are not held during an fsync.
        if part.keys.is_empty() || engine.journal().is_some_and(Journal::syncs) {
            return Ok(false);
        }
        engine.wait_for_journal()?;
        engine.wait_for_kept()?;
        let pieces = [part.keys_in_journal(), part.floats_in_journal()];
        let journal = engine.journal().map(|journal| (journal, Payload::new(&pieces)));
        let entry = journal.as_ref().map(|(journal, payload)| (*journal, payload));
        let beside = self.group.rights.begin_change()?;
        try_beside(engine, beside, |beside| self.try_part::<N>(engine, beside, part, entry))
    }

    fn try_part<const N: usize>(
        &self,
        engine: &Engine,
        beside: &ChangeGuard<'_>,
        part: &Part,
        entry: Option<(&Journal, &Payload<'_>)>,
    ) -> Result<Tried> {
        // Before the first row is held: the writer may be waiting for calls that hold rows.
        let stepping = engine.stepping.read();
        let guard = crossbeam_epoch::pin();
        let mut rows: Rows<'_, N> = [const { None }; N];
        let poison = beside.poison_on_panic();
        let cutoff = engine.expiry.cutoff();
        if !self.hold_all(&part.keys, &mut rows, &guard, |row| row.is_row(cutoff)) {
            return Ok(Tried::Lacking);
        }
        let next = NextStep::new(self, CallKind::Gradients);
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
        let created = self.step_rows(part, &mut rows, stamp, next.taken()?);
        drop((poison, rows));
        drop(stepping);
        let counters = engine.counters.own();
        counters.rows_created.fetch_add(created, Ordering::Relaxed);
        counters.rows_updated.fetch_add(part.steps() as u64, Ordering::Relaxed);
        Ok(Tried::Done)
    }

    /// Takes the steps. Returns how many rows it made.
    pub(super) fn step_rows(
        &self,
        part: &Part,
        rows: &mut [Option<Row<'_>>],
        stamp: Stamp<'_>,
        change: Change,
    ) -> u64 {
        let mut created = 0;
        for step in 0..part.steps() {
            let Some(row) = &mut rows[part.index_of(step)] else { continue };
            let resident = self.cache.resident(hash(row.key()));
            resident.before_change(row);
            // It may have expired since it was held.
            if !row.is_row(stamp.moment.cutoff) {
                self.make_row(resident, row, stamp.moment);
                created += 1;
            }
            self.step_row(resident, row, part.gradient(step, self.dim), stamp, change.rate);
            if part.is_one_step_each() {
                rows[step] = None;
            }
        }
        created
    }
}
