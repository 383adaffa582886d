//! The place of a training step in the journal and in the order of calls: one entry for all groups.

use std::cell::Cell;
use std::io::IoSlice;

use super::change::{Change, Stamp};
use super::once::Once;
use super::part::Part;
use super::{OpenGroup, Origin};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::journal::{CallKind, Head, InOrder, Payload, Section, encode_sections};
use crate::memory::room_for;

impl Engine {
    /// Gives the call its sequence number, its global steps, and its place in the journal, while
    /// the groups' orders are locked. Calls `unlock` once, which unlocks them; then the entry is
    /// copied. None if it is a call of a client that seems to be stored.
    ///
    /// # Errors
    /// `STEP_MISMATCH` for a group that has another step than was expected; `IO`, `OUT_OF_MEMORY`.
    pub(super) fn begin_in_order<T>(
        &self,
        entry: &Entry<'_>,
        payload: Option<&Payload<'_>>,
        mut unlock: impl FnMut() -> T,
    ) -> Result<Option<(Stamp<'_>, Vec<Change>, T)>> {
        let moment = self.moment();
        let (once, time) = (entry.once, moment.now);
        let kind = if once.is_some() { CallKind::Once } else { CallKind::Step };
        let head = Head { kind, group: 0, config: 0, step: 0, time, rate: 0.0 };
        loop {
            if let Some(once) = once
                && !once.check(&entry.tables, time)?
            {
                return Ok(None);
            }
            let next = NextSteps::new(&entry.tables, once)?;
            let sections = entry.sections(&next.changes)?;
            let section_table = encode_sections(once.map(Once::token), &sections)?;
            let front = payload.map(|payload| payload.behind(&section_table, &entry.configs));
            let (seqno, begun) = match self.journal().zip(front.as_ref()) {
                None => {
                    let seqno = self.next_seqno()?;
                    next.complete(&head)?;
                    (seqno, None)
                }
                Some((journal, payload)) => match journal.begin(&head, payload, &next) {
                    Err(_) if next.are_stale.get() => continue,
                    begun => {
                        let begun = begun?;
                        (begun.seqno(), Some((journal, begun)))
                    }
                },
            };
            if let Some(once) = once {
                once.note(&entry.tables, time, seqno);
            }
            let unlocked = unlock();
            if let Some((journal, begun)) = begun {
                journal.finish(begun, &next)?;
            }
            return Ok(Some((Stamp { time, seqno, moment }, next.changes, unlocked)));
        }
    }
}

/// The journal's entry, without steps and rates: those are known only with the orders locked. Each
/// list has one item a group; `pieces` has them in the order of groups.
pub(super) struct Entry<'p> {
    pub(super) tables: Vec<&'p OpenGroup>,
    configs: Vec<u32>,
    /// How many keys and floats there are.
    lens: Vec<(u64, u64)>,
    /// The shards that the group has keys in, as bits.
    pub(super) shards: Vec<u64>,
    /// The keys of all groups, then their floats.
    pub(super) pieces: Vec<IoSlice<'p>>,
    /// The client that the call is of, if it is of one.
    once: Option<&'p Once>,
}

impl<'p> Entry<'p> {
    pub(super) fn new(
        engine: &Engine,
        groups: impl Iterator<Item = (&'p OpenGroup, &'p [Part])> + Clone,
        once: Option<&'p Once>,
    ) -> Result<Entry<'p>> {
        let count = groups.clone().count();
        let mut entry = Entry {
            tables: room_for(count)?,
            configs: room_for(count)?,
            lens: room_for(count)?,
            shards: room_for(count)?,
            pieces: Vec::new(),
            once,
        };
        let parts = || groups.clone().flat_map(|(_, parts)| parts);
        for (group, parts) in groups.clone() {
            let lens = parts.iter().map(|part| (part.steps() as u64, part.floats.len() as u64));
            entry.lens.push(lens.fold((0, 0), |sum, len| (sum.0 + len.0, sum.1 + len.1)));
            entry.shards.push(parts.iter().fold(0, |all, part| all | group.shards_of(part)));
            entry.configs.push(group.config);
            entry.tables.push(group);
        }
        if engine.journal().is_some() {
            entry.pieces = room_for(2 * parts().count())?;
            entry.pieces.extend(parts().map(Part::keys_in_journal));
            entry.pieces.extend(parts().map(Part::floats_in_journal));
            // The journal would take an empty piece for the end of a short write.
            entry.pieces.retain(|piece| !piece.is_empty());
        }
        Ok(entry)
    }

    /// What the journal's entry says of each group.
    fn sections(&self, changes: &[Change]) -> Result<Vec<Section>> {
        let mut sections = room_for(changes.len())?;
        for ((table, change), (keys, floats)) in self.tables.iter().zip(changes).zip(&self.lens) {
            sections.push(Section {
                group: table.group.id(),
                config: table.config,
                step: change.step,
                rate: change.rate,
                keys: *keys,
                floats: *floats,
            });
        }
        Ok(sections)
    }
}

/// The next global steps of the groups, for a call that has their order locked.
struct NextSteps<'a> {
    tables: &'a [&'a OpenGroup],
    changes: Vec<Change>,
    once: Option<&'a Once>,
    /// A call that had taken a step before has failed since: these steps are no longer the next.
    are_stale: Cell<bool>,
}

impl<'a> NextSteps<'a> {
    fn new(tables: &'a [&'a OpenGroup], once: Option<&'a Once>) -> Result<NextSteps<'a>> {
        let mut changes = room_for(tables.len())?;
        for table in tables {
            changes.push(table.next_step(Origin::Call)?);
        }
        Ok(NextSteps { tables, changes, once, are_stale: Cell::new(false) })
    }
}

impl InOrder for NextSteps<'_> {
    fn complete(&self, head: &Head) -> Result<Head> {
        let mut steps = self.tables.iter().zip(&self.changes);
        if steps.any(|(table, change)| table.group.step() != change.step - 1) {
            self.are_stale.set(true);
            return Err(Error::bug("a step's place in the order has changed"));
        }
        for (table, change) in self.tables.iter().zip(&self.changes) {
            table.group.rights.set_step_in_order(change.step);
        }
        Ok(*head)
    }

    fn take_back(&self) {
        for (table, change) in self.tables.iter().zip(&self.changes) {
            table.group.rights.take_step_back(change.step);
        }
        if let Some(once) = self.once {
            once.take_back(self.tables);
        }
    }
}
