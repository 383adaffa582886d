//! What a history has made of a storage so far, as its driver knows it.

use std::collections::{BTreeMap, BTreeSet};

use super::filters::Copies;
use super::script::{Act, Known};
use super::state::{Row, State};
use crate::call::Call;
use crate::engine::Places;
use crate::timeline::Promise;

/// What a checkpoint has.
#[derive(Clone, Debug)]
struct Saved {
    state: State,
    filters: Copies,
}

#[derive(Clone, Debug)]
pub struct Past {
    /// States since everything was last known to be on disk; the last is now.
    pub states: Vec<State>,
    /// What had begun and not returned when the storage was stopped, and the state that it makes.
    pub under_way: Option<(Act, State)>,
    pub promise: Promise,
    /// Calls that returned had been synced.
    is_synced: bool,
    /// A time that is surely on record: a storage's time is never earlier.
    pub recorded: u64,
    /// As far as `recorded` is synced, too.
    pub synced: u64,
    /// The latest time that any process may have used.
    pub latest: u64,
    /// Nobody knows what the filter's file, and those that wait, have counted.
    pub is_filter_in_doubt: bool,
    checkpoints: BTreeMap<u64, Saved>,
    /// Table dumps that an increment may follow, and when they were made.
    pub tables: BTreeMap<u64, u64>,
    /// Dumps that no increment may follow, since a group was cleared after them.
    pub outdated: BTreeSet<u64>,
    next: u64,
    /// Its first opening has returned: a storage is there.
    pub is_there: bool,
}

/// How a session ended, once it was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Closed,
    Killed,
    /// The machine lost its power.
    Cut,
}

/// How a session opens the storage.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    pub durability: &'static str,
    pub threads: i64,
    pub ttl_ms: u64,
    pub clock: u64,
    /// With the group of wide rows.
    pub is_wide: bool,
}

impl Past {
    pub fn new(now: u64) -> Past {
        Past {
            states: vec![State { now, ..State::default() }],
            under_way: None,
            promise: Promise::All,
            is_synced: true,
            recorded: 0,
            synced: 0,
            latest: now,
            is_filter_in_doubt: false,
            checkpoints: BTreeMap::new(),
            tables: BTreeMap::new(),
            outdated: BTreeSet::new(),
            next: 0,
            is_there: false,
        }
    }

    pub fn now(&self) -> &State {
        self.states.last().expect("there is always a state")
    }

    pub fn known(&self) -> Known {
        Known {
            checkpoints: self.checkpoints.keys().copied().collect(),
            tables: self.tables.keys().chain(&self.outdated).copied().collect(),
            now: self.latest,
            next: self.next,
        }
    }

    /// What a checkpoint is when it is opened as a storage at a time: the rows that are seen, and
    /// those that may be.
    pub fn checkpoint(&self, number: u64) -> &State {
        &self.checkpoints[&number].state
    }

    /// Whether an act is made at all. A checkpoint whose rows had expired, and would be seen under
    /// the longer time to live of now, may have dropped them or not.
    pub fn is_made(&self, act: &Act, ttl_ms: u64) -> bool {
        let (Act::Load(number) | Act::OpenCheckpoint(number)) = act else { return true };
        let Some(Saved { state, .. }) = self.checkpoints.get(number) else { return false };
        let now = self.now().now.max(state.now);
        state.ghosts.is_empty() && !state.rows.values().any(|row| may_be_gone(row, now, ttl_ms))
    }

    /// The state after an act.
    pub fn after(&self, act: &Act, ttl_ms: u64) -> State {
        let now = self.now();
        if !self.is_made(act, ttl_ms) {
            return now.clone();
        }
        let mut next = now.clone();
        match act {
            Act::Load(number) => {
                let Saved { state, filters } = &self.checkpoints[number];
                next = state.clone();
                next.now = now.now.max(state.now);
                next.settle();
                (next.attached, next.counts) = (now.attached.clone(), now.counts.clone());
                next.waiting = filters.clone();
                if let Some(counts) = next.waiting.load(&now.attached) {
                    next.counts = counts;
                }
            }
            _ => next.make(act, ttl_ms),
        }
        next
    }

    /// An act has returned.
    pub fn acknowledge(&mut self, act: &Act, opening: Opening) {
        let next = self.after(act, opening.ttl_ms);
        self.latest = self.latest.max(next.now);
        let is_made = self.is_made(act, opening.ttl_ms);
        match act {
            Act::Call(Call::Lookup { .. }) => {}
            Act::Call(_) | Act::InsertRecords { .. } => match opening.durability {
                "checkpoint" => {}
                "power" => (self.recorded, self.synced) = (next.now, next.now),
                _ => self.recorded = next.now,
            },
            Act::Flush | Act::Compact | Act::Reopen => {
                (self.recorded, self.synced) = (next.now, next.now)
            }
            Act::Checkpoint(number) => self.save(*number, &next, opening.ttl_ms),
            Act::DumpTable(number) => {
                self.next = self.next.max(*number);
                self.tables.insert(*number, next.now);
            }
            Act::Load(_) if is_made => self.forget_tables(),
            _ => {}
        }
        if matches!(act, Act::Call(Call::Clear { .. })) {
            self.outdated.extend(std::mem::take(&mut self.tables).into_keys());
        }
        if matches!(act, Act::Flush | Act::Compact | Act::Reopen)
            || is_made && matches!(act, Act::Load(_))
        {
            self.states.clear();
        }
        self.states.push(next);
    }

    fn save(&mut self, number: u64, state: &State, ttl_ms: u64) {
        self.next = self.next.max(number);
        let filters = Copies::saved(&state.counts, &state.attached, &state.waiting);
        let mut state = state.clone();
        state.settle();
        state.hide(state.now, ttl_ms);
        // What a checkpoint has is written: under its rows there is nothing.
        self.checkpoints.insert(number, Saved { state, filters });
    }

    /// The session that began with this state, made of what was found, is what everything goes on
    /// from.
    pub fn resolve(&mut self, found: State) {
        self.latest = self.latest.max(found.now);
        self.states = vec![found];
        (self.under_way, self.is_filter_in_doubt, self.is_there) = (None, false, true);
    }

    /// A session has ended, with `under_way` not acknowledged.
    pub fn stop(
        &mut self,
        ended: Ended,
        is_resolved: bool,
        under_way: Option<Act>,
        opening: Opening,
        places: &Places,
    ) {
        if !is_resolved {
            // Whatever it had done before still waits to be found.
            self.latest = self.latest.max(opening.clock);
            if ended == Ended::Cut && self.promise == Promise::Calls && !self.is_synced {
                self.promise = Promise::Rows;
            }
        } else {
            if let Some(Act::Clock(clock)) = under_way {
                self.latest = self.latest.max(clock);
            }
            self.note_files(under_way.as_ref(), places, opening.ttl_ms);
            let now = self.now();
            self.is_filter_in_doubt = match &under_way {
                Some(Act::Call(Call::Lookup { group, .. })) => now.attached.contains(group),
                Some(Act::Attach(_)) => true,
                Some(Act::Load(number)) => {
                    let filters = self.checkpoints.get(number).map(|saved| &saved.filters);
                    !now.waiting.is_empty() || filters.is_some_and(|filters| !filters.is_empty())
                }
                _ => false,
            };
            self.promise = match (ended, opening.durability) {
                (Ended::Closed, _) => Promise::All,
                (Ended::Killed, "process" | "power") | (Ended::Cut, "power") => Promise::Calls,
                _ => Promise::Rows,
            };
            self.is_synced = ended == Ended::Closed || opening.durability == "power";
            self.under_way = under_way.map(|act| {
                let after = self.after(&act, opening.ttl_ms);
                (act, after)
            });
        }
        match ended {
            Ended::Closed => {
                let mut closed = self.now().clone();
                closed.settle();
                (self.recorded, self.synced) = (closed.now, closed.now);
                self.states = vec![closed];
            }
            Ended::Killed => {}
            Ended::Cut => {
                self.recorded = self.synced;
                self.is_filter_in_doubt = true;
            }
        }
        if self.promise == Promise::Rows {
            self.forget_tables();
        }
        for state in self.states.iter_mut().chain(self.under_way.iter_mut().map(|(_, after)| after))
        {
            state.hide(self.latest, opening.ttl_ms);
            state.attached.clear();
        }
    }

    /// What the act under way was writing is whole if it has its name.
    fn note_files(&mut self, under_way: Option<&Act>, places: &Places, ttl_ms: u64) {
        let now = self.now().clone();
        match under_way {
            Some(Act::Checkpoint(number)) if places.out("checkpoint", *number).exists() => {
                self.save(*number, &now, ttl_ms);
            }
            Some(Act::DumpTable(number)) if places.out("table", *number).exists() => {
                self.next = self.next.max(*number);
                self.tables.insert(*number, now.now);
            }
            // The kill may have come before it or after it.
            Some(Act::Load(_) | Act::Call(Call::Clear { .. })) => self.forget_tables(),
            _ => {}
        }
    }

    fn forget_tables(&mut self) {
        self.tables.clear();
        self.outdated.clear();
    }
}

/// Whether a row that would be seen now may have been dropped under a shorter time to live.
pub fn may_be_gone(row: &Row, now: u64, ttl_ms: u64) -> bool {
    let is_longer = ttl_ms == 0 || ttl_ms > row.hidden_ms;
    row.is_alive(now, ttl_ms) && is_longer && row.hidden_ms != u64::MAX
}
