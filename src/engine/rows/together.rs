//! Gradients of several groups, applied together. The journal has them as one call. A cut, a
//! checkpoint or a crash sees all groups with the step, or none. A lookup on another thread may see
//! some rows before others.
//!
//! It goes as with a call in turns (`in_turns`). But the `order` of all groups is locked, one after
//! the other by their numbers, when the call gets its sequence number and draws its tickets. So any
//! two calls come in the same order in all groups that they share, and never wait in a circle.

use std::ops::Range;

use super::apply_gradients::Done;
use super::change::{Change, Stamp};
use super::clip::Clip;
use super::guards::Pinned;
use super::members::{Member, OfGroup};
use super::norm::scale;
use super::once::Once;
use super::outcome::{Applied, OrStop, Stop, applied};
use super::part::Part;
use super::step_entry::Entry;
use super::{OpenGroup, Origin};
use crate::engine::Engine;
use crate::engine::pool::Help;
use crate::engine::rights::{Membership, Right};
use crate::engine::turns::Turns;
use crate::error::Result;
use crate::journal::Payload;
use crate::memory::room_for;

/// How often a call tries to change rows beside others, before it asks for the groups alone.
const ATTEMPTS: usize = 3;

/// A thread takes so many keys at a time.
const KEYS_A_SHARE: usize = 256;

/// The rows of a group, before and after they are found and pinned.
struct Found<'a> {
    table: &'a OpenGroup,
    parts: &'a mut [Part],
    /// None before. Parts may have places of an earlier call then, whose rows are not pinned.
    pinned: Option<Pinned<'a>>,
}

impl Found<'_> {
    fn find(&mut self, engine: &Engine) -> Result<()> {
        let pinned = Pinned::new(self.table, std::mem::take(&mut self.parts));
        let keys = pinned.parts.iter().map(|part| part.keys.len()).sum();
        let call = engine.pool.begin_work(keys);
        self.table.prepare(engine, &call, pinned.parts, (keys, Origin::Call))?;
        self.pinned = Some(pinned);
        Ok(())
    }
}

/// What became of a try.
enum Tried {
    /// With the norm of all gradients, if there is a limit for it.
    Done(Option<f64>),
    /// Rows were inserted or deleted meanwhile, or too many calls are under way. Or the call seems
    /// to be stored.
    Again,
}

impl Engine {
    /// Steps rows of several groups with their gradients, as
    /// [`OpenGroup::apply_gradients`] does for one. `groups` are in ascending order of their
    /// numbers. All rows and global steps change together or not at all.
    ///
    /// Returns the norm of all gradients, if `clip` has a limit for it.
    ///
    /// # Errors
    /// As [`OpenGroup::apply_gradients`], of several errors that of the first group; those of
    /// [`Once`]. Nothing has changed.
    pub(crate) fn apply_together(
        &self,
        groups: &[OfGroup<'_>],
        clip: &Clip,
        once: Option<&Once>,
    ) -> Result<Applied> {
        if let [OfGroup { table, gradients, held_back }] = groups
            && held_back.is_empty()
            && clip.is_none()
            && once.is_none()
        {
            return table.apply_gradients(self, *gradients);
        }
        if groups.is_empty() {
            return Ok(Applied::Done(clip.norm.map(|_| 0.0)));
        }
        applied(self, self.step_together(groups, clip, once))
    }

    /// Ends the call if it is stored already.
    fn check_not_stored(&self, groups: &[OfGroup<'_>], once: Option<&Once>) -> OrStop<()> {
        let Some(once) = once else { return Ok(()) };
        let tables: Vec<_> = groups.iter().map(|of| of.table).collect();
        if once.is_stored(self, &tables)? { Err(Stop::Stored) } else { Ok(()) }
    }

    fn step_together(
        &self,
        groups: &[OfGroup<'_>],
        clip: &Clip,
        once: Option<&Once>,
    ) -> OrStop<Option<f64>> {
        self.check_not_stored(groups, once)?;
        // Looked at here, too: the call may be skipped for its gradients.
        groups.iter().try_for_each(|of| of.table.group.check_not_poisoned())?;
        debug_assert!(groups.is_sorted_by(|a, b| a.table.group.id() < b.table.group.id()));
        let mut members = room_for(groups.len())?;
        members.extend(groups.iter().map(|of| Member {
            of,
            // This thread's buffers, which it keeps at the end: others may do the work.
            dedup: match of.held_back.is_empty() {
                true => of.table.kept.take(of.gradients.batch),
                false => Box::default(),
            },
            outcome: Ok(()),
            done: Done::default(),
            squares: 0.0,
        }));
        let keys = groups.iter().map(|of| of.gradients.batch.keys.len()).sum();
        let merged = self.merge(&mut members, keys, |of| of.held_back.is_empty());
        if let Err(Stop::Skip) = merged {
            // A group that has keys held back is merged later. It may refuse the call.
            self.merge(&mut members, keys, |of| !of.held_back.is_empty())?;
        }
        merged?;
        let mut tries = 0;
        let norm = loop {
            if tries == 0 && self.are_few(&members, keys) {
                let norm = self.clip(&mut members, keys, clip)?;
                if self.step_few_together(&members, once)? {
                    break norm;
                }
                self.merge_again(&mut members, keys, clip)?;
            }
            match self.try_together(&mut members, keys, (clip, tries >= ATTEMPTS), once)? {
                Tried::Done(norm) => break norm,
                Tried::Again => tries += 1,
            }
            self.check_not_stored(groups, once)?;
            std::thread::yield_now();
            self.merge_again(&mut members, keys, clip)?;
        };
        for Member { of, dedup, done, .. } in members {
            of.table.kept.keep(dedup, false);
            done.count(self);
        }
        Ok(norm)
    }

    /// Merges gradients anew that may have been clipped.
    fn merge_again(&self, members: &mut [Member<'_>], keys: usize, clip: &Clip) -> OrStop<()> {
        if clip.is_none() {
            return Ok(());
        }
        self.merge(members, keys, |of| of.held_back.is_empty())
    }

    /// Clips the gradients of all groups. Returns their norm before, if there is a limit for it.
    fn clip(&self, members: &mut [Member<'_>], keys: usize, clip: &Clip) -> Result<Option<f64>> {
        if clip.is_none() {
            return Ok(None);
        }
        self.pool.each(keys, members, |Member { of, dedup, squares, .. }| {
            let parts = dedup.parts.iter_mut();
            *squares = parts.map(|part| clip.clip_rows(part, of.table.dim)).sum();
            Ok(())
        })?;
        // Added in the order of the groups, so that the norm does not depend on the threads.
        let norm = members.iter().map(|member| member.squares).sum::<f64>().sqrt();
        let factor = clip.factor_of(norm);
        self.pool.each(keys, members, |Member { dedup, .. }| {
            dedup.parts.iter_mut().for_each(|part| scale(&mut part.floats, factor));
            Ok(())
        })?;
        Ok(clip.norm.map(|_| norm))
    }

    /// Finds the distinct keys, and merges their gradients, of the groups that are `wanted`.
    fn merge(
        &self,
        members: &mut [Member<'_>],
        keys: usize,
        wanted: impl Fn(&OfGroup<'_>) -> bool + Sync + Send,
    ) -> OrStop<()> {
        // damo's own threads: a group's work is shared itself, and may wait for other calls.
        self.pool.each_on(Help::Own, keys, members, |Member { of, dedup, outcome, .. }| {
            if wanted(of) {
                let OfGroup { table, gradients, held_back } = of;
                let merged = match held_back.is_empty() {
                    true => table.merge_into(std::mem::take(dedup), self, *gradients),
                    false => table.admitted_gradients(self, *gradients, held_back),
                };
                *outcome = merged.map(|merged| *dedup = merged);
            }
            Ok(())
        })?;
        first_error(members)
    }

    /// Tries to make the call: beside others, or with `alone`, with no other call on its groups.
    fn try_together(
        &self,
        members: &mut [Member<'_>],
        keys: usize,
        (clip, alone): (&Clip, bool),
        once: Option<&Once>,
    ) -> OrStop<Tried> {
        let mut rights = room_for(members.len())?;
        for member in &*members {
            match member.of.table.group.rights.begin_right(alone)? {
                Some(right) => rights.push(right),
                None => return Ok(Tried::Again),
            }
        }
        // Outlives everything below. A panic among the rows poisons at once: see `work_on`.
        let mut _poison = room_for(rights.len())?;
        _poison.extend(rights.iter().map(Right::poison_on_panic));
        let mut memberships = Vec::new();
        for (member, right) in members.iter().zip(&rights) {
            if !member.of.held_back.is_empty() && !alone {
                // No insert or delete may come between the look for rows and the step.
                let Some(membership) = right.membership() else { return Ok(Tried::Again) };
                memberships.push(membership);
            }
        }
        self.merge(members, keys, |of| !of.held_back.is_empty())?;
        let norm = self.clip(members, keys, clip)?;
        let mut dones = room_for(members.len())?;
        let mut found = room_for(members.len())?;
        for Member { of, dedup, done, .. } in &mut *members {
            dones.push((of.table, &*done));
            found.push(Found { table: of.table, parts: &mut dedup.parts, pinned: None });
        }
        // damo's own threads: loading waits for other calls and for the writer.
        self.pool.each_on(Help::Own, keys, &mut found, |found| found.find(self))?;
        let mut pinned = room_for(found.len())?;
        pinned.extend(found.into_iter().filter_map(|found| found.pinned));
        self.wait_for_journal()?;
        self.wait_for_kept()?;
        let groups = pinned.iter().map(|pinned| (pinned.group, &*pinned.parts));
        let entry = Entry::new(self, groups, once)?;
        let payload = self.journal().map(|_| Payload::shared(&entry.pieces, &self.pool));
        let work = Work::new(&pinned)?;

        let stepping = self.stepping.read();
        let Some(begun) = self.begin(&rights, &memberships, &entry, payload.as_ref())? else {
            return Ok(Tried::Again);
        };
        drop(entry);
        let outcome = self.change_parts(begun, (pinned, work), &dones, keys);
        drop(stepping);
        self.rows_changed();
        Ok(outcome.map(|()| Tried::Done(norm))?)
    }

    /// Changes the rows of all groups, each shard's when its turn there has come.
    fn change_parts<'p>(
        &self,
        Started { stamp, changes, turns }: Started<'_>,
        (pinned, Work { mut parts, mut shares }): (Vec<Pinned<'p>>, Work<'p>),
        dones: &[(&OpenGroup, &Done)],
        keys: usize,
    ) -> Result<()> {
        let _call = self.pool.begin_work(keys);
        let help = if turns.iter().all(Turns::have_come) { Help::LentOrOwn } else { Help::Own };
        for (number, pinned) in pinned.into_iter().enumerate() {
            let with_keys = pinned.release().iter().filter(|part| !part.keys.is_empty());
            parts.extend(with_keys.map(|part| (number, part)));
        }
        self.pool.each_on(help, keys, &mut shares, |share| {
            for &(number, part) in &parts[share.clone()] {
                let ((table, done), rate) = (dones[number], changes[number].rate);
                table.work_on(part, Some(&turns[number]), |shard, steps| {
                    done.add(table.step_part(shard, part, steps, stamp, rate));
                });
            }
            Ok(())
        })
    }

    /// Gives the call its sequence number, its global steps, its place in the journal, and its
    /// tickets. None if rows may have been inserted or deleted since `memberships` were read, and
    /// if the call seems to be stored.
    fn begin<'a>(
        &'a self,
        rights: &'a [Right<'a>],
        memberships: &[Membership<'_>],
        entry: &Entry<'_>,
        payload: Option<&Payload<'_>>,
    ) -> Result<Option<Started<'a>>> {
        let mut orders = room_for(rights.len())?;
        orders.extend(rights.iter().map(Right::order));
        for table in &entry.tables {
            table.group.check_not_poisoned()?;
        }
        if memberships.iter().any(|membership| !membership.is_unchanged()) {
            return Ok(None);
        }
        let shards = &entry.shards;
        let mut turns = room_for(shards.len())?;
        let draw = || {
            turns.extend(orders.iter_mut().zip(shards).map(|(order, all)| order.draw(*all)));
            orders.clear();
            std::mem::take(&mut turns)
        };
        let begun = self.begin_in_order(entry, payload, draw)?;
        Ok(begun.map(|(stamp, changes, turns)| Started { stamp, changes, turns }))
    }
}

/// Lists for the work on the rows. They are made before the call is in the journal: nothing fails
/// after that.
struct Work<'p> {
    /// Empty, with room for the parts that have keys.
    parts: Vec<(usize, &'p Part)>,
    /// Ranges of these parts, of at least `KEYS_A_SHARE` keys. A thread takes one at a time.
    shares: Vec<Range<usize>>,
}

impl<'p> Work<'p> {
    /// # Errors
    /// `OUT_OF_MEMORY`.
    fn new(pinned: &[Pinned<'p>]) -> Result<Work<'p>> {
        let parts = pinned.iter().flat_map(|pinned| &*pinned.parts);
        let lens = parts.map(|part| part.keys.len()).filter(|len| *len > 0);
        let (count, all) = lens.clone().fold((0, 0), |(count, all), len| (count + 1, all + len));
        let mut shares = room_for(all / KEYS_A_SHARE + 1)?;
        let (mut begin, mut keys) = (0, 0);
        for (at, len) in lens.enumerate() {
            keys += len;
            if keys >= KEYS_A_SHARE || at + 1 == count {
                shares.push(begin..at + 1);
                (begin, keys) = (at + 1, 0);
            }
        }
        Ok(Work { parts: room_for(count)?, shares })
    }
}

/// The first error of groups that were merged. The call is skipped only if no group has one.
fn first_error(members: &mut [Member<'_>]) -> OrStop<()> {
    let mut skipped = Ok(());
    for member in members {
        match std::mem::replace(&mut member.outcome, Ok(())) {
            Err(Stop::Skip) => skipped = Err(Stop::Skip),
            outcome => outcome?,
        }
    }
    skipped
}

/// A call that has its sequence number.
struct Started<'a> {
    stamp: Stamp<'a>,
    /// By group.
    changes: Vec<Change>,
    turns: Vec<Turns<'a>>,
}
