//! The plain reference: what a storage should hold at a time, one loop an act.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::filters::{Attached, Copies};
use super::groups::of;
use super::script::Act;
use crate::call::Call;
use crate::groups::Spec;

pub type Key = (u16, i64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    #[serde(with = "floats")]
    pub data: Vec<f32>,
    pub updates: u64,
    /// When it was last written, milliseconds since 1970.
    pub time: u64,
    /// A lookup made it, and nothing has been applied or written since: a kill may take it away.
    pub fleeting: bool,
    /// The smallest time to live under which it has expired; u64::MAX when it has not. Merging may
    /// have dropped it, and then it is not there under a longer one.
    pub hidden_ms: u64,
}

impl Row {
    pub fn is_alive(&self, now: u64, ttl_ms: u64) -> bool {
        ttl_ms == 0 || self.time + ttl_ms > now
    }

    /// Whether it is this row, to the bit.
    pub fn is_same(&self, other: &Row) -> bool {
        let bits = |row: &Row| row.data.iter().map(|float| float.to_bits()).collect::<Vec<_>>();
        (self.updates, self.time) == (other.updates, other.time) && bits(self) == bits(other)
    }
}

/// Floats on their way between processes; wide rows have one many times.
mod floats {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    enum Flat {
        Same(f32, usize),
        All(Vec<f32>),
    }

    pub fn serialize<S: Serializer>(floats: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
        let is_same = floats.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits());
        let flat =
            if is_same { Flat::Same(floats[0], floats.len()) } else { Flat::All(floats.to_vec()) };
        flat.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
        Ok(match Flat::deserialize(deserializer)? {
            Flat::Same(float, count) => vec![float; count],
            Flat::All(floats) => floats,
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Also those that have expired: they are there again under a longer time to live.
    pub rows: BTreeMap<Key, Arc<Row>>,
    /// What may be on disk under rows that a kill may take away, or where nothing is seen.
    pub ghosts: BTreeMap<Key, Vec<Arc<Row>>>,
    /// Of groups whose step is not 0.
    pub steps: BTreeMap<u16, i64>,
    /// The latest time that was used.
    pub now: u64,
    /// How often each key was counted in the filter's file.
    pub counts: BTreeMap<Key, u32>,
    /// Copies of checkpoints' filters that wait for one to be attached.
    pub waiting: Copies,
    /// Groups that have the filter.
    pub attached: BTreeSet<u16>,
}

/// Occurrences that a key needs.
pub const FILTER_COUNT: u32 = 3;

impl State {
    pub fn step(&self, group: u16) -> i64 {
        self.steps.get(&group).copied().unwrap_or(0)
    }

    pub fn row(&self, key: Key, ttl_ms: u64) -> Option<&Arc<Row>> {
        self.rows.get(&key).filter(|row| row.is_alive(self.now, ttl_ms))
    }

    /// Rows that are seen now.
    pub fn live(&self, ttl_ms: u64) -> impl Iterator<Item = (&Key, &Arc<Row>)> {
        self.rows.iter().filter(move |(_, row)| row.is_alive(self.now, ttl_ms))
    }

    /// What a key without a row reads as.
    pub fn fresh(&self, spec: &Spec, key: i64) -> Row {
        let mut data = vec![0.0; spec.row_len()];
        let (weights, state) = data.split_at_mut(spec.dim);
        spec.initializer.fill(spec.group, key, weights);
        spec.optimizer.begin(state);
        Row { data, updates: 0, time: self.now, fleeting: true, hidden_ms: u64::MAX }
    }

    pub fn is_admitted(&self, key: Key) -> bool {
        self.counts.get(&key).is_some_and(|count| *count >= FILTER_COUNT)
    }

    /// Every row has been written: none is fleeting any more.
    pub fn settle(&mut self) {
        for (key, row) in self.rows.iter_mut().filter(|(_, row)| row.fleeting) {
            *row = Arc::new(Row { fleeting: false, ..(**row).clone() });
            self.ghosts.remove(key);
        }
    }

    /// Rows that are not seen at `latest` may be dropped from now on.
    pub fn hide(&mut self, latest: u64, ttl_ms: u64) {
        let is_hidden = |row: &Arc<Row>| !row.is_alive(latest, ttl_ms) && row.hidden_ms > ttl_ms;
        for row in self.rows.values_mut().filter(|row| is_hidden(row)) {
            *row = Arc::new(Row { hidden_ms: ttl_ms, ..(**row).clone() });
        }
    }

    fn put(&mut self, key: Key, row: Row) {
        self.ghosts.remove(&key);
        self.rows.insert(key, Arc::new(row));
    }

    /// Does what an act does that returned; what comes from checkpoints is the past's (past.rs).
    pub fn make(&mut self, act: &Act, ttl_ms: u64) {
        match act {
            Act::Call(call) => self.call(call, ttl_ms),
            Act::InsertRecords { group, keys, rows, counts } => {
                let given = keys.iter().zip(rows.chunks_exact(of(*group).row_len())).zip(counts);
                for ((key, row), count) in given {
                    self.put((*group, *key), self.written(row.to_vec(), *count));
                }
            }
            Act::Clock(clock) => self.now = self.now.max(*clock),
            Act::Flush | Act::Compact => self.settle(),
            Act::Attach(group) => {
                match self.waiting.attach(*group, &self.attached) {
                    Attached::Refused => return,
                    Attached::Keeps => {}
                    Attached::Gets(counts) => self.counts = counts,
                }
                self.attached.insert(*group);
            }
            Act::Detach(group) => drop(self.attached.remove(group)),
            Act::Reopen => {
                self.settle();
                self.attached.clear();
            }
            _ => {}
        }
    }

    fn call(&mut self, call: &Call, ttl_ms: u64) {
        let spec = of(call.group());
        match call {
            Call::Lookup { keys, .. } => self.lookup(spec, keys, ttl_ms),
            Call::Apply { keys, gradients, .. } => self.apply(spec, keys, gradients, ttl_ms),
            Call::Insert { group, keys, weights } => {
                for (key, weights) in keys.iter().zip(weights.chunks_exact(spec.dim)) {
                    let mut data = weights.to_vec();
                    data.resize(spec.row_len(), 0.0);
                    spec.optimizer.begin_at(weights, &mut data[spec.dim..]);
                    self.put((*group, *key), self.written(data, 0));
                }
            }
            Call::Delete { group, keys } => {
                for key in keys.iter().map(|key| (*group, *key)) {
                    self.rows.remove(&key);
                    self.ghosts.remove(&key);
                }
            }
            Call::Clear { group } => {
                self.rows.retain(|(of, _), _| of != group);
                self.ghosts.retain(|(of, _), _| of != group);
                self.set_step(*group, 0);
            }
            Call::SetStep { group, step } => self.set_step(*group, *step),
        }
    }

    fn written(&self, data: Vec<f32>, updates: u64) -> Row {
        Row { data, updates, time: self.now, fleeting: false, hidden_ms: u64::MAX }
    }

    fn set_step(&mut self, group: u16, step: i64) {
        self.steps.insert(group, step);
        self.steps.retain(|_, step| *step != 0);
    }

    fn lookup(&mut self, spec: &Spec, keys: &[i64], ttl_ms: u64) {
        let is_filtered = self.attached.contains(&spec.group);
        let keys = || keys.iter().map(|key| (spec.group, *key));
        if is_filtered {
            keys().for_each(|key| *self.counts.entry(key).or_default() += 1);
        }
        for key in keys() {
            if self.row(key, ttl_ms).is_none() && (!is_filtered || self.is_admitted(key)) {
                let fresh = self.fresh(spec, key.1);
                // One that a lookup made may have been evicted to disk before it expired.
                if let Some(expired) = self.rows.insert(key, Arc::new(fresh)) {
                    self.ghosts.entry(key).or_default().push(expired);
                }
            }
        }
    }

    fn apply(&mut self, spec: &Spec, keys: &[i64], gradients: &[f32], ttl_ms: u64) {
        let is_filtered = self.attached.contains(&spec.group);
        let rate = spec.optimizer.rate(self.step(spec.group)).expect("a rate");
        let has_row = |key: &i64| self.row((spec.group, *key), ttl_ms).is_some();
        let is_taken =
            |key: &i64| !is_filtered || self.is_admitted((spec.group, *key)) || has_row(key);
        let taken: Vec<bool> = keys.iter().map(is_taken).collect();
        // Duplicates are stepped one after the other.
        for ((key, gradient), _) in
            keys.iter().zip(gradients.chunks_exact(spec.dim)).zip(taken).filter(|(_, taken)| *taken)
        {
            let row = self.row((spec.group, *key), ttl_ms);
            let mut row = row.map_or_else(|| self.fresh(spec, *key), |row| (**row).clone());
            (row.updates, row.time, row.fleeting, row.hidden_ms) =
                (row.updates + 1, self.now, false, u64::MAX);
            spec.optimizer.step(&mut row.data, gradient, rate, row.updates);
            self.put((spec.group, *key), row);
        }
        self.set_step(spec.group, self.step(spec.group) + 1);
    }
}
