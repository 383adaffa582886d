//! Steps, inserts and deletes that take turns with other calls on the group. Steps of few keys hold
//! their rows instead, where they can (`few_changes`).
//!
//! A call finds and pins its rows. Then, with `order` locked, it takes its sequence number, and if
//! it is a step, the group's next global step. It reserves its bytes in the journal, and draws its
//! tickets. It copies its entry, and changes the rows of each shard when its turn there has come.
//! So each row changes in the journal's order.

use std::cell::Cell;
use std::ops::Range;

use super::change::{Change, Stamp};
use super::guards::Pinned;
use super::part::Part;
use super::{OpenGroup, Origin};
use crate::cache::{Shard, hash};
use crate::engine::Engine;
use crate::engine::pool::Help;
use crate::engine::rights::{Membership, TurnsGuard};
use crate::error::{Error, Result};
use crate::journal::{Begun, CallKind, Head, InOrder, Journal, Payload};

/// The global step that belongs to a call. A step takes the next one. An insert or delete has the
/// present one, which is read together with the sequence number.
pub(super) struct NextStep<'a> {
    group: &'a OpenGroup,
    kind: CallKind,
    change: Cell<Option<Change>>,
}

impl<'a> NextStep<'a> {
    pub(super) fn new(group: &'a OpenGroup, kind: CallKind) -> NextStep<'a> {
        NextStep { group, kind, change: Cell::new(None) }
    }

    pub(super) fn taken(&self) -> Result<Change> {
        self.change.get().ok_or_else(|| Error::bug("a call has no global step"))
    }
}

impl InOrder for NextStep<'_> {
    fn complete(&self, head: &Head) -> Result<Head> {
        let change = self.group.next_change(self.kind, Origin::Call)?;
        if self.kind == CallKind::Gradients {
            self.group.group.rights.set_step_in_order(change.step);
        }
        self.change.set(Some(change));
        Ok(Head { step: change.step, rate: change.rate, ..*head })
    }

    fn take_back(&self) {
        if let Some(change) = self.change.get()
            && self.kind == CallKind::Gradients
        {
            self.group.group.rights.take_step_back(change.step);
        }
    }
}

impl OpenGroup {
    /// Makes a change. A call takes turns with others. A replayed call has the group alone, and so
    /// has a call that finds as many others in turns as a row can count pins.
    ///
    /// # Errors
    /// As there, and `POISONED`.
    pub(super) fn change_beside(
        &self,
        engine: &Engine,
        parts: &mut [Part],
        (kind, source): (CallKind, Origin),
        work: impl Fn(&mut Shard, &Part, Range<usize>, Stamp<'_>, Change) + Sync + Send,
    ) -> Result<()> {
        if matches!(source, Origin::Call)
            && let Some(beside) = self.group.rights.begin_in_turns()?
        {
            return self.change_in_turns(engine, &beside, parts, (kind, None), work).map(drop);
        }
        let guard = self.group.begin_write()?;
        let change = self.next_change(kind, source)?;
        self.change(engine, &guard, parts, change, |shard, part, steps, stamp| {
            work(shard, part, steps, stamp, change);
        })
    }

    /// The change of a call that comes next in the order.
    ///
    /// # Errors
    /// As [`OpenGroup::next_step`], for a step.
    fn next_change(&self, kind: CallKind, source: Origin) -> Result<Change> {
        match kind {
            CallKind::Gradients => self.next_step(source),
            _ => Ok(Change { kind, source, rate: 0.0, step: self.group.step() }),
        }
    }

    /// As [`OpenGroup::change`], in turns with others. False, and nothing has changed, if rows may
    /// have been inserted or deleted since `membership` was read.
    ///
    /// # Errors
    /// As there.
    pub(super) fn change_in_turns(
        &self,
        engine: &Engine,
        beside: &TurnsGuard<'_>,
        parts: &mut [Part],
        (kind, membership): (CallKind, Option<Membership<'_>>),
        work: impl Fn(&mut Shard, &Part, Range<usize>, Stamp<'_>, Change) + Sync + Send,
    ) -> Result<bool> {
        let keys = parts.iter().map(|part| part.keys.len()).sum();
        // Outlives everything below. A panic among the rows poisons at once: see `work_on`.
        let _poison = beside.poison_on_panic();
        let call = engine.pool.begin_work(keys);
        let pinned = Pinned::new(self, parts);
        self.prepare(engine, &call, pinned.parts, (keys, Origin::Call))?;
        engine.wait_for_journal()?;
        engine.wait_for_kept()?;
        let pieces = self.pieces(pinned.parts)?;
        let journal = engine.journal();
        let payload = journal.map(|_| Payload::shared(&pieces, &engine.pool));
        let entry = journal.zip(payload.as_ref());
        let shards = pinned.parts.iter().map(|part| self.shards_of(part)).fold(0, |a, b| a | b);

        let membership_change =
            (kind != CallKind::Gradients).then(|| beside.begin_membership_change());
        let stepping = engine.stepping.read();
        let step = NextStep::new(self, kind);
        let (stamp, begun, turns) = {
            let mut order = beside.order();
            self.group.check_not_poisoned()?;
            if membership.is_some_and(|membership| !membership.is_unchanged()) {
                return Ok(false);
            }
            let (stamp, begun) = self.begin_entry(engine, entry, &step)?;
            (stamp, begun, order.draw(shards))
        };
        if let (Some(journal), Some(begun)) = (journal, begun) {
            journal.finish(begun, &step)?;
        }
        let change = step.taken()?;
        let help = if turns.have_come() { Help::LentOrOwn } else { Help::Own };
        // The rows change, and are unpinned, in one visit of their shard.
        let done = engine.pool.each_on(help, keys, pinned.release(), |part| {
            let work = |shard: &mut Shard, steps| work(shard, part, steps, stamp, change);
            self.work_on(part, Some(&turns), work);
            Ok(())
        });
        drop((turns, membership_change, stepping));
        engine.rows_changed();
        done.map(|()| true)
    }

    /// Gives a call its sequence number, and a place in the journal if there is one.
    pub(super) fn begin_entry<'e, 'p>(
        &self,
        engine: &'e Engine,
        entry: Option<(&'p Journal, &'p Payload<'p>)>,
        next: &NextStep<'_>,
    ) -> Result<(Stamp<'e>, Option<Begun<'p>>)> {
        let moment = engine.moment();
        let (kind, group, time) = (next.kind, self.group.id(), moment.now);
        let head = Head { kind, group, config: self.config, step: 0, time, rate: 0.0 };
        let Some((journal, payload)) = entry else {
            let seqno = engine.next_seqno()?;
            next.complete(&head)?;
            return Ok((Stamp { time, seqno, moment }, None));
        };
        let begun = journal.begin(&head, payload, next)?;
        Ok((Stamp { time, seqno: begun.seqno(), moment }, Some(begun)))
    }

    /// The shards that a part has keys in, as bits.
    pub(super) fn shards_of(&self, part: &Part) -> u64 {
        if part.is_of_few() {
            let of = |key: &i64| 1 << self.cache.shard_of(hash(*key));
            return part.keys.iter().map(of).fold(0, |all, shard: u64| all | shard);
        }
        part.runs.iter().fold(0, |all, run| all | 1 << run.shard)
    }
}
