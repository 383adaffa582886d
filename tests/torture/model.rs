//! The model: what a storage should hold, in maps, one plain loop an operation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::groups::{self, Spec};
use crate::import_file;
use crate::script::{Op, Part};

pub type Key = (u16, i64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub updates: u64,
    pub data: Vec<f32>,
    /// A lookup made it, and nothing has been applied or written since: a kill may take it away.
    #[serde(skip)]
    pub fleeting: bool,
}

impl Row {
    /// Whether it is this row, to the bit.
    pub fn is_same(&self, other: &Row) -> bool {
        let bits = |row: &Row| row.data.iter().map(|float| float.to_bits()).collect::<Vec<_>>();
        self.updates == other.updates && bits(self) == bits(other)
    }
}

/// All rows and global steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub rows: BTreeMap<Key, Arc<Row>>,
    /// Of groups whose step is not 0.
    pub steps: BTreeMap<u16, i64>,
}

impl Model {
    pub fn step(&self, group: u16) -> i64 {
        self.steps.get(&group).copied().unwrap_or(0)
    }

    pub fn set_step(&mut self, group: u16, step: i64) {
        self.steps.insert(group, step);
        self.steps.retain(|_, step| *step != 0);
    }

    /// Every row has been written: none is fleeting any more.
    pub fn settle(&mut self) {
        for row in self.rows.values_mut().filter(|row| row.fleeting) {
            *row = Arc::new(Row { fleeting: false, ..(**row).clone() });
        }
    }

    /// Does what an operation does that returned; not what loading a checkpoint does.
    pub fn make(&mut self, op: &Op) {
        match op {
            Op::Call(call) => self.call(call),
            Op::Step(parts) => {
                for Part { group, keys, gradients } in parts {
                    self.apply(groups::of(*group), keys, gradients);
                }
            }
            Op::Commit { group, keys, change } => {
                let distinct: BTreeSet<_> = keys.iter().collect();
                distinct.into_iter().for_each(|key| self.add(*group, *key, *change));
            }
            Op::Import(number) => {
                for (key, row) in import_file::rows(*number) {
                    self.rows.insert(key, Arc::new(row));
                }
                self.settle();
            }
            Op::Flush | Op::Close | Op::Reopen => self.settle(),
            _ => {}
        }
    }

    fn call(&mut self, call: &Call) {
        let spec = groups::of(call.group());
        match call {
            Call::Lookup { group, keys } => {
                for key in keys {
                    self.rows.entry((*group, *key)).or_insert_with(|| fresh(spec, *key));
                }
            }
            Call::Apply { keys, gradients, .. } => self.apply(spec, keys, gradients),
            Call::Insert { group, keys, weights } => {
                for (key, weights) in keys.iter().zip(weights.chunks_exact(spec.dim)) {
                    let mut data = weights.to_vec();
                    data.resize(spec.row_len(), 0.0);
                    self.rows.insert(
                        (*group, *key),
                        Arc::new(Row { updates: 0, data, fleeting: false }),
                    );
                }
            }
            Call::Delete { group, keys } => {
                keys.iter().for_each(|key| drop(self.rows.remove(&(*group, *key))));
            }
            Call::Clear { group } => {
                self.rows.retain(|(of, _), _| of != group);
                self.set_step(*group, 0);
            }
            Call::SetStep { group, step } => self.set_step(*group, *step),
        }
    }

    /// Adds to each float of a row.
    fn add(&mut self, group: u16, key: i64, change: f32) {
        let known = self.rows.get(&(group, key)).map(|row| (**row).clone());
        let mut row = known.unwrap_or_else(|| (*fresh(groups::of(group), key)).clone());
        row.updates += 1;
        row.fleeting = false;
        row.data.iter_mut().for_each(|float| *float += change);
        self.rows.insert((group, key), Arc::new(row));
    }

    fn apply(&mut self, spec: &Spec, keys: &[i64], gradients: &[f32]) {
        let step = self.step(spec.group);
        let rate = spec.optimizer.rate(step).unwrap();
        // Duplicates are stepped one after the other.
        for (key, gradient) in keys.iter().zip(gradients.chunks_exact(spec.dim)) {
            let key = (spec.group, *key);
            let mut row = self
                .rows
                .get(&key)
                .map_or_else(|| (*fresh(spec, key.1)).clone(), |row| (**row).clone());
            row.updates += 1;
            row.fleeting = false;
            spec.optimizer.step(&mut row.data, gradient, rate, row.updates);
            self.rows.insert(key, Arc::new(row));
        }
        self.set_step(spec.group, step + 1);
    }
}

fn fresh(spec: &Spec, key: i64) -> Arc<Row> {
    let mut data = vec![0.0; spec.row_len()];
    spec.initializer.fill(spec.group, key, &mut data[..spec.dim]);
    Arc::new(Row { updates: 0, data, fleeting: true })
}

/// As it travels between processes.
#[derive(Serialize, Deserialize)]
struct Flat {
    rows: Vec<(Key, Row)>,
    steps: Vec<(u16, i64)>,
}

impl Serialize for Model {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.rows.iter().map(|(key, row)| (*key, (**row).clone())).collect();
        Flat { rows, steps: self.steps.clone().into_iter().collect() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Model, D::Error> {
        let flat = Flat::deserialize(deserializer)?;
        let rows = flat.rows.into_iter().map(|(key, row)| (key, Arc::new(row))).collect();
        Ok(Model { rows, steps: flat.steps.into_iter().collect() })
    }
}
