//! What a fresh process may find after a stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::past::{Past, may_be_gone};
use super::script::Act;
use super::state::{Key, Row, State};
use crate::timeline::Promise;

/// What was found: the rows that are seen, and steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub rows: BTreeMap<Key, Row>,
    pub steps: BTreeMap<u16, i64>,
}

/// One possible outcome: which versions of each row, and which steps, may be there.
pub struct World {
    /// What of it is not about rows.
    rest: State,
    rows: BTreeMap<Key, Vec<Option<Arc<Row>>>>,
    steps: BTreeMap<u16, Vec<i64>>,
    /// Rows may be gone that had expired at this time, although that is not on record.
    gone_by: u64,
}

impl World {
    /// Exactly a state; after a stop, rows may be gone that only lookups made.
    pub fn exact(state: &State, is_stopped: bool) -> World {
        let mut rows: BTreeMap<Key, Vec<Option<Arc<Row>>>> = BTreeMap::new();
        for (key, row) in &state.rows {
            rows.insert(*key, vec![Some(Arc::clone(row))]);
        }
        for (key, row) in &state.rows {
            if is_stopped && row.fleeting {
                let ghosts = state.ghosts.get(key).into_iter().flatten();
                rows.entry(*key)
                    .or_default()
                    .extend(ghosts.map(|ghost| Some(Arc::clone(ghost))).chain([None]));
            }
        }
        for (key, ghosts) in state.ghosts.iter().filter(|(key, _)| !state.rows.contains_key(key)) {
            rows.insert(
                *key,
                ghosts.iter().map(|ghost| Some(Arc::clone(ghost))).chain([None]).collect(),
            );
        }
        let steps = state.steps.iter().map(|(group, step)| (*group, vec![*step])).collect();
        let rest = State { rows: BTreeMap::new(), ghosts: BTreeMap::new(), ..state.clone() };
        World { rest, rows, steps, gone_by: 0 }
    }

    /// Each row and each step may also be as in another one.
    fn or(mut self, other: &World) -> World {
        let keys: Vec<Key> = self.rows.keys().chain(other.rows.keys()).copied().collect();
        for key in keys {
            let versions = self.rows.entry(key).or_insert_with(|| vec![None]);
            match other.rows.get(&key) {
                Some(others) => {
                    let new: Vec<_> =
                        others.iter().filter(|other| !is_among(versions, other)).cloned().collect();
                    versions.extend(new);
                }
                None if !versions.contains(&None) => versions.push(None),
                None => {}
            }
        }
        let groups: Vec<u16> = self.steps.keys().chain(other.steps.keys()).copied().collect();
        for group in groups {
            let others = other.steps.get(&group).cloned().unwrap_or_else(|| vec![0]);
            let steps = self.steps.entry(group).or_insert_with(|| vec![0]);
            steps.extend(others);
            steps.sort_unstable();
            steps.dedup();
        }
        self.rest = other.rest.clone();
        self
    }

    /// Says what of `found` cannot be in this world at a time; else the state to go on from.
    pub fn check(&self, found: &Found, now: u64, ttl_ms: u64) -> Result<State, String> {
        let mut state = State { now, steps: found.steps.clone(), ..self.rest.clone() };
        for (key, versions) in &self.rows {
            let row = found.rows.get(key);
            let fits = |version: &Option<Arc<Row>>| match (version, row) {
                (None, None) => true,
                (None, Some(_)) => false,
                (Some(version), None) => {
                    !version.is_alive(now, ttl_ms)
                        || !version.is_alive(self.gone_by, ttl_ms)
                        || may_be_gone(version, now, ttl_ms)
                }
                (Some(version), Some(row)) => version.is_alive(now, ttl_ms) && version.is_same(row),
            };
            if !versions.iter().any(fits) {
                let (group, key) = key;
                return Err(format!(
                    "group {group} key {key} differs: {} was found at {now}, of {}",
                    show(row),
                    versions
                        .iter()
                        .map(|version| show(version.as_deref()))
                        .collect::<Vec<_>>()
                        .join(" or ")
                ));
            }
            if let Some(row) = row {
                state.rows.insert(*key, Arc::new(Row { fleeting: false, ..row.clone() }));
                continue;
            }
            // What is not seen may be on disk all the same, and is seen if time was not on record.
            let is_hidden = |row: &&Arc<Row>| !row.is_alive(now, ttl_ms);
            let hidden: Vec<Arc<Row>> =
                versions.iter().flatten().filter(is_hidden).cloned().collect();
            match (versions.len(), hidden.first()) {
                (_, None) => {}
                (1, Some(only)) => drop(state.rows.insert(*key, Arc::clone(only))),
                _ => drop(state.ghosts.insert(*key, hidden)),
            }
        }
        if let Some((key, row)) = found.rows.iter().find(|(key, _)| !self.rows.contains_key(key)) {
            let (group, key) = key;
            return Err(format!(
                "group {group} key {key} differs: {} was found at {now}, and nothing was there",
                show(Some(row))
            ));
        }
        for group in self.steps.keys().chain(found.steps.keys()) {
            let allowed = self.steps.get(group).map_or(&[0][..], Vec::as_slice);
            let step = found.steps.get(group).copied().unwrap_or(0);
            if !allowed.contains(&step) {
                return Err(format!(
                    "group {group} differs: step {step} was found, of {allowed:?}"
                ));
            }
        }
        Ok(state)
    }
}

fn is_among(versions: &[Option<Arc<Row>>], other: &Option<Arc<Row>>) -> bool {
    versions.iter().any(|version| match (version, other) {
        (Some(version), Some(other)) => {
            Arc::ptr_eq(version, other)
                || version.is_same(other) && version.hidden_ms == other.hidden_ms
        }
        (None, None) => true,
        _ => false,
    })
}

/// A row in a few words.
pub fn show(row: Option<&Row>) -> String {
    let Some(row) = row else { return "no row".to_owned() };
    let Row { data, updates, time, fleeting, hidden_ms } = row;
    let first = &data[..data.len().min(2)];
    let fleeting = if *fleeting { ", fleeting" } else { "" };
    let hidden =
        if *hidden_ms == u64::MAX { String::new() } else { format!(", hidden by {hidden_ms} ms") };
    format!("[{updates} updates, time {time}, {first:?}...{fleeting}{hidden}]")
}

impl Past {
    /// What there may be after the stop: any one of these worlds.
    fn worlds(&self) -> Vec<World> {
        let after = self.under_way.as_ref().map(|(_, after)| after);
        let is_load = matches!(self.under_way, Some((Act::Load(_), _)));
        match self.promise {
            Promise::All => vec![World::exact(self.now(), false)],
            Promise::Calls | Promise::Prefix => {
                let after = after.filter(|after| *after != self.now());
                let states = [Some(self.now()), after].into_iter().flatten();
                states.map(|state| World::exact(state, true)).collect()
            }
            Promise::Rows => {
                let mut worlds = self.states.iter().map(|state| World::exact(state, true));
                let first = worlds.next().expect("there is always a state");
                let world = worlds.fold(first, |all, next| all.or(&next));
                let mut worlds = match after {
                    Some(after) if is_load => vec![world, World::exact(after, true)],
                    Some(after) => vec![world.or(&World::exact(after, true))],
                    None => vec![world],
                };
                worlds.iter_mut().for_each(|world| world.gone_by = self.latest);
                worlds
            }
        }
    }

    /// The state that fits what was found. More worlds than one may fit, if they differ in rows
    /// that are not
    /// seen.
    pub fn find_world(&self, found: &Found, now: u64, ttl_ms: u64) -> Result<State, String> {
        let (mut fitting, mut wrong) = (Vec::new(), Vec::new());
        for world in self.worlds() {
            match world.check(found, now, ttl_ms) {
                Ok(state) => fitting.push(state),
                Err(why) => wrong.push(why),
            }
        }
        wrong.dedup();
        fitting.into_iter().reduce(State::or_hidden).ok_or_else(|| wrong.join("; or "))
    }
}

impl State {
    /// What is not seen may be on disk as in either.
    fn or_hidden(mut self, mut other: State) -> State {
        let keys = other.rows.keys().chain(other.ghosts.keys()).chain(self.rows.keys());
        for key in keys.copied().collect::<BTreeSet<Key>>() {
            let (mine, theirs) = (self.rows.get(&key), other.rows.remove(&key));
            if mine.zip(theirs.as_ref()).is_some_and(|(mine, theirs)| mine.is_same(theirs)) {
                continue;
            }
            let others = other.ghosts.remove(&key).into_iter().flatten().chain(theirs);
            let all: Vec<_> = self.rows.remove(&key).into_iter().chain(others).collect();
            self.ghosts.entry(key).or_default().extend(all);
        }
        self
    }
}
