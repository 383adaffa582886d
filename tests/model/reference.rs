//! The reference: rows in maps, and a plain loop a call.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use damo::embedding::{Conflicts, Embedding, Record};
use damo::error::Status;
use damo::initializer::Initializer;
use damo::optimizer::Optimizer;
use damo::scheduler::Scheduler;
use damo::storage::Storage;

use crate::common::{float, initializer, int, params, text};
use crate::history::{Action, Call, Spec, TTL_SECONDS, now};

pub const PADDING: i64 = 3;

#[derive(Clone, Debug)]
pub struct Row {
    pub data: Vec<f32>,
    pub updates: u64,
    /// The time of the last write, in milliseconds since 1970.
    pub time: u64,
    /// A lookup made the row, and no gradient or flush followed: a kill may take it.
    pub fleeting: bool,
}

/// One embedding of a group; a group may have several at once.
#[derive(Clone)]
pub struct Face {
    pub optimizer: Arc<Optimizer>,
    pub duplicates: &'static str,
}

/// The expected state of a group.
#[derive(Clone)]
pub struct Reference {
    pub spec: &'static Spec,
    pub initializer: Arc<Initializer>,
    pub faces: Vec<Face>,
    pub rows: HashMap<i64, Row>,
    pub step: i64,
    /// The clock.
    pub now: u64,
}

/// All groups, without rows.
pub fn references(specs: &'static [Spec]) -> Vec<Reference> {
    let reference = |spec: &'static Spec| Reference {
        spec,
        initializer: initializer("random_normal", &[("seed", int(spec.group.into()))]),
        faces: spec.faces(0),
        rows: HashMap::new(),
        step: 0,
        now: now(0),
    };
    specs.iter().map(reference).collect()
}

impl Spec {
    /// The embeddings of a session; hyper-parameters alternate from session to session.
    pub fn faces(&self, session: u64) -> Vec<Face> {
        let name = match (self.optimizer, session % 2) {
            ("adam", 1) => ("beta1", 0.8),
            ("ftrl", 1) => ("lambda1", 0.01),
            ("sgd" | "rowwise_adagrad", 1) => ("lambda", 0.01),
            _ => ("learning_rate", 0.05),
        };
        let face = |(index, &duplicates): (usize, &&'static str)| {
            let decay = [("decay_steps", int(50)), ("decay_rate", float(0.9))];
            let scheduler = Scheduler::new("exponential_decay", &params(&decay)).unwrap();
            let scheduler = (index == 1).then(|| Arc::new(scheduler));
            let bag = params(&[(name.0, float(name.1))]);
            let optimizer = Arc::new(Optimizer::new(self.optimizer, &bag, scheduler).unwrap());
            Face { optimizer, duplicates }
        };
        self.duplicates.iter().enumerate().map(face).collect()
    }
}

impl Reference {
    fn fresh(&self, key: i64) -> Row {
        let mut data = vec![0.0; self.row_len()];
        let (weights, state) = data.split_at_mut(self.spec.dim);
        self.initializer.fill(self.spec.group, key, weights);
        self.faces[0].optimizer.begin(state);
        Row { data, updates: 0, time: self.now, fleeting: true }
    }

    /// The row of a key, if it has one that has not expired.
    pub fn row(&self, key: i64) -> Option<&Row> {
        self.rows.get(&key).filter(|row| row.time + 1000 * TTL_SECONDS as u64 > self.now)
    }

    fn row_len(&self) -> usize {
        self.faces[0].optimizer.row_len(self.spec.dim)
    }

    pub fn lookup(&mut self, keys: &[i64]) -> Vec<f32> {
        let dim = self.spec.dim;
        let mut weights = Vec::with_capacity(keys.len() * dim);
        for &key in keys {
            if key == PADDING {
                weights.extend(std::iter::repeat_n(0.0, dim));
                continue;
            }
            if self.row(key).is_none() {
                self.rows.insert(key, self.fresh(key));
            }
            weights.extend_from_slice(&self.rows[&key].data[..dim]);
        }
        weights
    }

    pub fn peek(&self, keys: &[i64]) -> (Vec<f32>, Vec<u8>) {
        let zeros = vec![0.0; self.spec.dim];
        let row = |key: &i64| self.row(*key).map_or(&zeros[..], |row| &row.data[..self.spec.dim]);
        let weights = keys.iter().flat_map(|key| row(key).to_vec()).collect();
        (weights, keys.iter().map(|key| u8::from(self.row(*key).is_some())).collect())
    }

    fn apply(&mut self, face: usize, keys: &[i64], gradients: &[f32]) {
        let face = self.faces[face].clone();
        let mut steps: Vec<(i64, Vec<f32>, u32)> = Vec::new();
        let mut seen: HashMap<i64, usize> = HashMap::new();
        for (&key, gradient) in keys.iter().zip(gradients.chunks_exact(self.spec.dim)) {
            if key == PADDING {
                continue;
            }
            let index = *seen.entry(key).or_insert(steps.len());
            if index == steps.len() || face.duplicates == "sequential" {
                steps.push((key, gradient.to_vec(), 1));
            } else {
                steps[index].1.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
                steps[index].2 += 1;
            }
        }
        let rate = face.optimizer.rate(self.step).unwrap();
        for (key, mut gradient, count) in steps {
            if face.duplicates == "mean" {
                gradient.iter_mut().for_each(|g| *g /= count as f32);
            }
            let mut row = self.row(key).cloned().unwrap_or_else(|| self.fresh(key));
            row.updates += 1;
            row.time = self.now;
            row.fleeting = false;
            face.optimizer.step(&mut row.data, &gradient, rate, row.updates);
            self.rows.insert(key, row);
        }
        self.step += 1;
    }

    fn insert(&mut self, keys: &[i64], weights: &[f32]) {
        for (key, weights) in keys.iter().zip(weights.chunks_exact(self.spec.dim)) {
            let mut data = weights.to_vec();
            data.resize(self.row_len(), 0.0);
            self.faces[0].optimizer.begin_at(weights, &mut data[self.spec.dim..]);
            self.rows.insert(*key, Row { data, updates: 0, time: self.now, fleeting: false });
        }
    }

    /// Copies of the rows of distinct keys, or of what they would begin with.
    pub fn pin(&self, keys: &[i64]) -> Vec<(i64, Vec<f32>)> {
        let mut seen = HashSet::new();
        let distinct = keys.iter().filter(|key| **key != PADDING && seen.insert(**key));
        let copy = |key: i64| self.row(key).cloned().unwrap_or_else(|| self.fresh(key)).data;
        distinct.map(|key| (*key, copy(*key))).collect()
    }

    /// Adds `change` to each float of pinned rows. Floats that others have changed since get it on
    /// top. Whether it was done: with `refuses`, others may have changed no row.
    pub fn commit(&mut self, pinned: &[(i64, Vec<f32>)], change: f32, refuses: bool) -> bool {
        let now = |reference: &Reference, key| {
            reference.row(key).cloned().unwrap_or_else(|| reference.fresh(key))
        };
        let is_same = |(key, before): &(i64, Vec<f32>)| bits(&now(self, *key).data) == bits(before);
        if refuses && !pinned.iter().all(is_same) {
            return false;
        }
        for (key, before) in pinned {
            let mut row = now(self, *key);
            row.updates += 1;
            row.time = self.now;
            row.fleeting = false;
            for (now, before) in row.data.iter_mut().zip(before) {
                let changed = before + change;
                let is_changed = changed.to_bits() != before.to_bits();
                if is_changed && now.to_bits() == before.to_bits() {
                    *now = changed;
                } else if is_changed {
                    *now += changed - before;
                }
            }
            self.rows.insert(*key, row);
        }
        true
    }

    /// Whether a group that was read back is this one; after a kill fleeting rows may be missing.
    pub fn compare(&self, read: &ReadGroup, after_kill: bool) -> Result<(), String> {
        let group = self.spec.group;
        if self.step != read.step {
            return Err(format!("group {group} has step {}, not {}", read.step, self.step));
        }
        for key in self.spec.all_keys() {
            let fits = match (self.row(key), read.rows.get(&key)) {
                (None, None) => true,
                (Some(row), None) => row.fleeting && after_kill,
                (None, Some(_)) => false,
                (Some(row), Some(record)) => {
                    row.updates == record.update_num
                        && bits(&row.data) == bits(&record.data)
                        && (row.time == record.update_time || row.fleeting && after_kill)
                }
            };
            if !fits {
                let (row, record) = (self.rows.get(&key), read.rows.get(&key));
                return Err(format!("group {group} key {key} should be {row:?} and is {record:?}"));
            }
        }
        Ok(())
    }
}

pub fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|float| float.to_bits()).collect()
}

/// Applies a call that returned to the reference.
pub fn model(references: &mut [Reference], call: &Call) {
    references.iter_mut().for_each(|reference| reference.now = call.now);
    let reference = &mut references[call.group];
    reference.faces[call.face].optimizer.set_learning_rate(call.rate).unwrap();
    match &call.action {
        Action::Lookup(keys) => drop(reference.lookup(keys)),
        Action::Apply(keys, gradients) => reference.apply(call.face, keys, gradients),
        Action::Insert(keys, weights) => reference.insert(keys, weights),
        Action::Delete(keys) => keys.iter().for_each(|key| drop(reference.rows.remove(key))),
        Action::Commit(keys, change) => {
            let pinned = reference.pin(keys);
            reference.commit(&pinned, *change, true);
        }
        Action::SetStep(step) => reference.step = *step,
        Action::Flush | Action::Compact => {
            let rows = references.iter_mut().flat_map(|reference| reference.rows.values_mut());
            rows.for_each(|row| row.fleeting = false);
        }
        Action::Peek(_) | Action::Prefetch(_) | Action::Refused(..) => {}
    }
}

/// The options of an opening.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    pub durability: &'static str,
    pub cache_bytes: i64,
    pub threads: i64,
}

/// An open storage with all embeddings of each group.
pub struct Engine {
    pub storage: Storage,
    pub groups: Vec<Vec<Embedding>>,
}

impl Engine {
    pub fn open(dir: &Path, opening: Opening, references: &[Reference]) -> Engine {
        let options = [
            ("durability", text(opening.durability)),
            ("cache_bytes", int(opening.cache_bytes)),
            ("threads", int(opening.threads)),
        ];
        let storage = Storage::open(dir, TTL_SECONDS, &params(&options)).unwrap();
        storage.set_clock_for_test(references[0].now).unwrap();
        let embedding = |reference: &Reference, face: &Face| {
            let options =
                params(&[("duplicates", text(face.duplicates)), ("padding_key", int(PADDING))]);
            let (optimizer, initializer) = (face.optimizer.clone(), reference.initializer.clone());
            let (dim, group) = (reference.spec.dim, reference.spec.group.into());
            Embedding::new(storage.clone(), optimizer, initializer, dim, group, &options).unwrap()
        };
        let groups = references
            .iter()
            .map(|group| group.faces.iter().map(|face| embedding(group, face)).collect());
        Engine { groups: groups.collect(), storage }
    }

    /// Makes a call and drops its answer.
    pub fn make(&self, call: &Call) {
        self.storage.set_clock_for_test(call.now).unwrap();
        let embedding = &self.groups[call.group][call.face];
        match &call.action {
            Action::Lookup(keys) => drop(crate::common::lookup(embedding, keys)),
            Action::Peek(keys) => drop(crate::common::peek(embedding, keys)),
            Action::Apply(keys, gradients) => embedding.apply_gradients(keys, gradients).unwrap(),
            Action::Refused(keys, gradients) => {
                embedding.apply_gradients(keys, gradients).unwrap_err();
            }
            Action::Insert(keys, weights) => embedding.insert(keys, weights).unwrap(),
            Action::Commit(keys, change) => {
                let mut pin = embedding.new_pin();
                embedding.pin_rows(keys, &mut pin).unwrap();
                pin.rows_mut().iter_mut().for_each(|float| *float += change);
                pin.commit(Conflicts::Refuse).unwrap();
            }
            Action::Delete(keys) => embedding.delete(keys).unwrap(),
            Action::SetStep(step) => embedding.set_step(*step).unwrap(),
            Action::Prefetch(keys) => embedding.prefetch(keys).unwrap(),
            Action::Flush => self.storage.flush().unwrap(),
            Action::Compact => self.storage.compact().unwrap(),
        }
    }

    /// Reads everything back.
    pub fn read(&self, references: &[Reference]) -> Vec<ReadGroup> {
        let read = |(embeddings, reference): (&Vec<Embedding>, &Reference)| {
            let record = |key| match embeddings[0].record(key) {
                Ok(record) => Some((key, record)),
                Err(error) if error.status() == Status::NotFound => None,
                Err(error) => panic!("group {} key {key}: {error}", reference.spec.group),
            };
            let rows = reference.spec.all_keys().filter_map(record).collect();
            ReadGroup { rows, step: embeddings[0].step().unwrap() }
        };
        self.groups.iter().zip(references).map(read).collect()
    }

    pub fn stat(&self, name: &str) -> u64 {
        self.storage.stat(name).unwrap()
    }
}

/// A group as the storage has it.
pub struct ReadGroup {
    pub rows: BTreeMap<i64, Record>,
    pub step: i64,
}
