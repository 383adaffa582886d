//! The model of a storage: rows in maps, and a plain loop for each call.

use std::collections::BTreeMap;
use std::sync::Arc;

use damo::initializer::Initializer;
use damo::optimizer::Optimizer;

use crate::storage::{START_MS, initializer, optimizer};

/// A key that reads as zeros and has no row.
pub const PADDING: i64 = 3;

/// A group; its embeddings differ in how they treat a key that is given twice.
pub struct Spec {
    pub group: u16,
    pub dim: usize,
    pub optimizer: &'static str,
    pub duplicates: &'static [&'static str],
}

/// All groups. The rows of all keys of the second one exceed the smallest cache.
pub const SPECS: [Spec; 2] = [
    Spec { group: 0, dim: 2, optimizer: "sgd", duplicates: &["sequential", "sum"] },
    Spec { group: 700, dim: 48, optimizer: "adam", duplicates: &["mean"] },
];

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub data: Vec<f32>,
    pub updates: u64,
    pub time: u64,
}

/// The rows of a group, and its global step.
#[derive(Clone, Default)]
pub struct Rows {
    rows: BTreeMap<i64, Row>,
    pub step: i64,
}

/// All groups.
pub struct Model {
    pub groups: [Rows; SPECS.len()],
    optimizers: [Arc<Optimizer>; SPECS.len()],
    initializer: Arc<Initializer>,
    ttl_ms: u64,
    pub now: u64,
}

impl Model {
    pub fn new(ttl_seconds: i64) -> Model {
        Model {
            groups: Default::default(),
            optimizers: SPECS.each_ref().map(|spec| optimizer(spec.optimizer)),
            initializer: initializer(),
            ttl_ms: 1000 * ttl_seconds as u64,
            now: START_MS,
        }
    }

    /// The row of a key that has not expired.
    pub fn row(&self, group: usize, key: i64) -> Option<&Row> {
        self.groups[group].rows.get(&key).filter(|row| self.is_alive(row))
    }

    /// The rows that have not expired, by key.
    pub fn rows(&self, group: usize) -> impl Iterator<Item = (i64, &Row)> {
        self.groups[group]
            .rows
            .iter()
            .filter(|(_, row)| self.is_alive(row))
            .map(|(key, row)| (*key, row))
    }

    fn is_alive(&self, row: &Row) -> bool {
        self.ttl_ms == 0 || row.time + self.ttl_ms > self.now
    }

    fn fresh(&self, group: usize, key: i64) -> Row {
        let spec = &SPECS[group];
        let mut data = vec![0.0; self.optimizers[group].row_len(spec.dim)];
        self.initializer.fill(spec.group, key, &mut data[..spec.dim]);
        Row { data, updates: 0, time: self.now }
    }

    pub fn lookup(&mut self, group: usize, keys: &[i64]) -> Vec<f32> {
        let dim = SPECS[group].dim;
        let mut weights = Vec::with_capacity(keys.len() * dim);
        for &key in keys {
            if key == PADDING {
                weights.resize(weights.len() + dim, 0.0);
                continue;
            }
            if self.row(group, key).is_none() {
                let row = self.fresh(group, key);
                self.groups[group].rows.insert(key, row);
            }
            weights.extend_from_slice(&self.groups[group].rows[&key].data[..dim]);
        }
        weights
    }

    pub fn peek(&self, group: usize, keys: &[i64]) -> (Vec<f32>, Vec<u8>) {
        let zeros = vec![0.0; SPECS[group].dim];
        let row =
            |key: &i64| self.row(group, *key).map_or(&zeros[..], |row| &row.data[..zeros.len()]);
        let weights = keys.iter().flat_map(|key| row(key).to_vec()).collect();
        (weights, keys.iter().map(|key| u8::from(self.row(group, *key).is_some())).collect())
    }

    pub fn apply(&mut self, group: usize, duplicates: &str, keys: &[i64], gradients: &[f32]) {
        let mut steps: Vec<(i64, Vec<f32>, u32)> = Vec::new();
        for (&key, gradient) in keys.iter().zip(gradients.chunks_exact(SPECS[group].dim)) {
            let known =
                steps.iter_mut().find(|(known, ..)| *known == key && duplicates != "sequential");
            match known {
                _ if key == PADDING => {}
                None => steps.push((key, gradient.to_vec(), 1)),
                Some((_, sum, count)) => {
                    sum.iter_mut().zip(gradient).for_each(|(sum, float)| *sum += float);
                    *count += 1;
                }
            }
        }
        let optimizer = Arc::clone(&self.optimizers[group]);
        let rate = optimizer.learning_rate();
        for (key, mut gradient, count) in steps {
            if duplicates == "mean" {
                gradient.iter_mut().for_each(|float| *float /= count as f32);
            }
            let mut row = self.row(group, key).cloned().unwrap_or_else(|| self.fresh(group, key));
            row.updates += 1;
            row.time = self.now;
            optimizer.step(&mut row.data, &gradient, rate, row.updates);
            self.groups[group].rows.insert(key, row);
        }
        self.groups[group].step += 1;
    }

    pub fn insert(&mut self, group: usize, keys: &[i64], weights: &[f32]) {
        let (dim, row_len) = (SPECS[group].dim, self.row_len(group));
        for (key, weights) in keys.iter().zip(weights.chunks_exact(dim)) {
            let mut data = weights.to_vec();
            data.resize(row_len, 0.0);
            self.optimizers[group].begin_at(weights, &mut data[dim..]);
            self.groups[group].rows.insert(*key, Row { data, updates: 0, time: self.now });
        }
    }

    pub fn insert_records(&mut self, group: usize, keys: &[i64], rows: &[f32], updates: &[u64]) {
        let row_len = self.row_len(group);
        for ((key, row), updates) in keys.iter().zip(rows.chunks_exact(row_len)).zip(updates) {
            let row = Row { data: row.to_vec(), updates: *updates, time: self.now };
            self.groups[group].rows.insert(*key, row);
        }
    }

    /// Makes the state of whole rows one that gradients can lead to.
    pub fn make_possible(&self, group: usize, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.row_len(group)) {
            let squares = self.optimizers[group].squares(SPECS[group].dim);
            row[squares].iter_mut().for_each(|float| *float = float.abs());
        }
    }

    /// The number of floats of a group's row: its weights and its optimizer's state.
    pub fn row_len(&self, group: usize) -> usize {
        self.optimizers[group].row_len(SPECS[group].dim)
    }

    pub fn delete(&mut self, group: usize, keys: &[i64]) {
        keys.iter().for_each(|key| drop(self.groups[group].rows.remove(key)));
    }
}
