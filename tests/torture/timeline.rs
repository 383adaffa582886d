//! What operations have made of a storage so far, and what may be left of it when something stops
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Key, Model, Row};
use crate::script::Op;

/// What the storage's durability promises about a stop (docs/durability.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It was closed: everything, exactly.
    All,
    /// Every call that returned, exactly once; the one under way whole or not at all.
    Calls,
    /// Each row and each step as it was at some moment since the last flush.
    Rows,
    /// The journal's end was cut off: the calls up to some moment since the last flush, as with
    /// `Calls`.
    Prefix,
}

/// States of the storage since everything was last known to be on disk, and what was written beside
/// it.
#[derive(Clone, Debug)]
pub struct Timeline {
    states: Vec<Model>,
    pub checkpoints: BTreeMap<u64, Model>,
    pub classics: BTreeMap<u64, Model>,
    pub tables: BTreeMap<u64, Model>,
    /// With the number of the table that it continues.
    pub increments: BTreeMap<u64, (u64, Model)>,
    /// How often each key was added to the filter.
    pub counts: BTreeMap<i64, u32>,
    /// `counts` as they were when the filter was last synced.
    pub synced: BTreeMap<i64, u32>,
    /// What checkpoints have of a filter.
    saved: BTreeMap<u64, BTreeMap<i64, u32>>,
}

impl Timeline {
    pub fn new(now: Model) -> Timeline {
        Timeline {
            states: vec![now],
            checkpoints: BTreeMap::new(),
            classics: BTreeMap::new(),
            tables: BTreeMap::new(),
            increments: BTreeMap::new(),
            counts: BTreeMap::new(),
            synced: BTreeMap::new(),
            saved: BTreeMap::new(),
        }
    }

    pub fn now(&self) -> &Model {
        self.states.last().expect("there is always a state")
    }

    /// What was found after a stop is what everything goes on from.
    pub fn go_on_from(&mut self, found: Model) {
        self.states = vec![found];
    }

    /// The state after an operation.
    pub fn after(&self, op: &Op) -> Model {
        if let Op::Load(number) | Op::LoadWithFilter(number) = op {
            let mut loaded = self.checkpoints[number].clone();
            loaded.settle();
            return loaded;
        }
        let mut next = self.now().clone();
        next.make(op);
        next
    }

    /// An operation has returned.
    pub fn acknowledge(&mut self, op: &Op) {
        let next = self.after(op);
        match op {
            Op::CheckpointWithFilter(number) => {
                self.checkpoints.insert(*number, next.clone());
                self.saved.insert(*number, self.counts.clone());
            }
            Op::LoadWithFilter(number) => {
                self.counts = self.saved[number].clone();
                self.synced = self.counts.clone();
            }
            Op::Checkpoint(number) => drop(self.checkpoints.insert(*number, next.clone())),
            Op::DumpClassic(number) => drop(self.classics.insert(*number, next.clone())),
            Op::DumpTable(number) => drop(self.tables.insert(*number, next.clone())),
            Op::DumpIncrement(number, base) => {
                drop(self.increments.insert(*number, (*base, next.clone())))
            }
            Op::FilterAdd(keys) => {
                keys.iter().for_each(|key| *self.counts.entry(*key).or_default() += 1)
            }
            Op::FilterSync => self.synced = self.counts.clone(),
            _ => {}
        }
        if is_load(op) || matches!(op, Op::Flush | Op::Import(_) | Op::Close | Op::Reopen) {
            self.states.clear();
        }
        self.states.push(next);
    }

    /// How often each key is in the filter, at least and at most; after a power cut it has what was
    /// synced, and of what came later some.
    pub fn filter_counts(
        &self,
        is_after_power: bool,
        under_way: Option<&Op>,
    ) -> [BTreeMap<i64, u32>; 2] {
        let mut least = if is_after_power { self.synced.clone() } else { self.counts.clone() };
        let mut most = self.counts.clone();
        match under_way {
            Some(Op::FilterAdd(keys)) => {
                keys.iter().for_each(|key| *most.entry(*key).or_default() += 1)
            }
            Some(Op::LoadWithFilter(number)) => {
                let saved = &self.saved[number];
                least.retain(|key, _| saved.contains_key(key));
                least.iter_mut().for_each(|(key, count)| *count = (*count).min(saved[key]));
                for (key, count) in saved {
                    let most = most.entry(*key).or_default();
                    *most = (*most).max(*count);
                }
            }
            _ => {}
        }
        [least, most]
    }

    /// The latest checkpoint.
    pub fn checkpoint(&self) -> Option<u64> {
        self.checkpoints.keys().next_back().copied()
    }

    /// The latest table dump.
    pub fn table(&self) -> Option<u64> {
        self.tables.keys().next_back().copied()
    }

    /// What there may be after a stop with this operation under way: any one of these worlds.
    pub fn worlds(&self, promise: Promise, under_way: Option<&Op>) -> Vec<World> {
        let after = under_way.map(|op| self.after(op));
        let is_load = under_way.is_some_and(is_load);
        match promise {
            Promise::All => vec![World::exact(self.now())],
            Promise::Calls => {
                let mut worlds = vec![World::exact(self.now()).with_fleeting_gone()];
                match (after, under_way) {
                    (Some(after), Some(Op::Import(_))) => {
                        worlds.push(World::exact(self.now()).or(&after).with_fleeting_gone());
                    }
                    (Some(after), _) if after != *self.now() => {
                        worlds.push(World::exact(&after).with_fleeting_gone());
                    }
                    _ => {}
                }
                worlds
            }
            Promise::Rows => {
                let mut world = World::exact(&self.states[0]);
                self.states[1..]
                    .iter()
                    .for_each(|state| world = std::mem::take(&mut world).or(state));
                match after {
                    Some(after) if is_load => vec![world, World::exact(&after)],
                    Some(after) => vec![world.or(&after)],
                    None => vec![world],
                }
            }
            Promise::Prefix => self
                .states
                .iter()
                .rev()
                .map(|state| World::exact(state).with_fleeting_gone())
                .collect(),
        }
    }
}

fn is_load(op: &Op) -> bool {
    matches!(op, Op::Load(_) | Op::LoadWithFilter(_))
}

/// Which versions of each row, and which steps, may be there.
#[derive(Clone, Debug, Default)]
pub struct World {
    rows: BTreeMap<Key, Vec<Option<Arc<Row>>>>,
    steps: BTreeMap<u16, Vec<i64>>,
}

impl World {
    pub fn exact(model: &Model) -> World {
        let rows =
            model.rows.iter().map(|(key, row)| (*key, vec![Some(Arc::clone(row))])).collect();
        World {
            rows,
            steps: model.steps.iter().map(|(group, step)| (*group, vec![*step])).collect(),
        }
    }

    /// Each row may also be as it is in `model`.
    fn or(mut self, model: &Model) -> World {
        for (key, row) in &model.rows {
            let versions = self.rows.entry(*key).or_insert_with(|| vec![None]);
            let is_known =
                |known: &Option<Arc<Row>>| known.as_ref().is_some_and(|known| known.is_same(row));
            if !versions.iter().any(is_known) {
                versions.push(Some(Arc::clone(row)));
            }
        }
        for (key, versions) in &mut self.rows {
            if !model.rows.contains_key(key) && !versions.contains(&None) {
                versions.push(None);
            }
        }
        let groups: Vec<u16> = self.steps.keys().chain(model.steps.keys()).copied().collect();
        for group in groups {
            let steps = self.steps.entry(group).or_insert_with(|| vec![0]);
            if !steps.contains(&model.step(group)) {
                steps.push(model.step(group));
            }
        }
        self
    }

    fn with_fleeting_gone(mut self) -> World {
        for versions in self.rows.values_mut() {
            if versions.iter().flatten().any(|row| row.fleeting) {
                versions.push(None);
            }
        }
        self
    }

    /// Says what of `found` cannot be in this world.
    pub fn check(&self, found: &Model) -> Result<(), String> {
        for (key, versions) in &self.rows {
            let row = found.rows.get(key);
            let fits = |version: &Option<Arc<Row>>| match (version, row) {
                (None, None) => true,
                (Some(version), Some(row)) => version.is_same(row),
                _ => false,
            };
            if !versions.iter().any(fits) {
                return Err(format!(
                    "group {} key {}: {row:?} was found, of {versions:?}",
                    key.0, key.1
                ));
            }
        }
        if let Some((key, row)) = found.rows.iter().find(|(key, _)| !self.rows.contains_key(key)) {
            return Err(format!(
                "group {} key {}: {row:?} was found, and nothing was there",
                key.0, key.1
            ));
        }
        let groups = self.steps.keys().chain(found.steps.keys());
        for group in groups {
            let allowed = self.steps.get(group).map_or(&[0][..], Vec::as_slice);
            if !allowed.contains(&found.step(*group)) {
                return Err(format!(
                    "group {group}: step {} was found, of {allowed:?}",
                    found.step(*group)
                ));
            }
        }
        Ok(())
    }
}

/// The first world that fits, or what is wrong with each.
pub fn find_world(worlds: &[World], found: &Model) -> Result<usize, String> {
    let mut wrong = Vec::new();
    for (index, world) in worlds.iter().enumerate() {
        match world.check(found) {
            Ok(()) => return Ok(index),
            Err(why) => wrong.push(why),
        }
    }
    wrong.dedup();
    wrong.truncate(3);
    Err(wrong.join("; or "))
}
