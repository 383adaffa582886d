//! Random calls against a plain in-memory reference, with re-openings in between: every answer and every row agree.
//!
//! The seed is printed; DAMO_MODEL_SEED and DAMO_MODEL_CALLS run other and longer histories.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use common::{float, initializer, int, open, optimizer, params, text};
use damo::embedding::Embedding;
use damo::initializer::Initializer;
use damo::optimizer::Optimizer;
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const PADDING: i64 = 3;

/// One group of the reference: rows in a map, one plain loop a call.
struct Reference {
    optimizer: Arc<Optimizer>,
    initializer: Arc<Initializer>,
    group: u16,
    dim: usize,
    duplicates: &'static str,
    rows: HashMap<i64, (Vec<f32>, u64)>,
    step: i64,
}

impl Reference {
    fn row(&mut self, key: i64) -> &mut (Vec<f32>, u64) {
        self.rows.entry(key).or_insert_with(|| {
            let mut row = vec![0.0; self.optimizer.row_len(self.dim)];
            self.initializer.fill(self.group, key, &mut row[..self.dim]);
            (row, 0)
        })
    }

    fn lookup(&mut self, keys: &[i64]) -> Vec<f32> {
        let dim = self.dim;
        let weights = |key: &i64| {
            if *key == PADDING { vec![0.0; dim] } else { self.row(*key).0[..dim].to_vec() }
        };
        keys.iter().flat_map(weights).collect()
    }

    fn apply(&mut self, keys: &[i64], gradients: &[f32]) {
        let dim = self.dim;
        let mut steps: Vec<(i64, Vec<f32>, u32)> = Vec::new();
        for (&key, gradient) in keys.iter().zip(gradients.chunks_exact(dim)) {
            if key == PADDING {
                continue;
            }
            let seen = steps.iter().position(|(other, ..)| *other == key);
            match seen.filter(|_| self.duplicates != "sequential") {
                Some(index) => {
                    steps[index].1.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
                    steps[index].2 += 1;
                }
                None => steps.push((key, gradient.to_vec(), 1)),
            }
        }
        let rate = self.optimizer.rate(self.step).unwrap();
        for (key, mut gradient, count) in steps {
            if self.duplicates == "mean" {
                gradient.iter_mut().for_each(|g| *g /= count as f32);
            }
            let optimizer = Arc::clone(&self.optimizer);
            let (row, updates) = self.row(key);
            *updates += 1;
            optimizer.step(row, &gradient, rate, *updates);
        }
        self.step += 1;
    }
}

fn references() -> Vec<Reference> {
    ["sgd", "adam", "rowwise_adagrad", "ftrl"]
        .iter()
        .zip(["sequential", "sum", "mean", "sequential"])
        .zip([1, 4, 3, 2])
        .enumerate()
        .map(|(index, ((name, duplicates), dim))| Reference {
            optimizer: optimizer(name, &[("learning_rate", float(0.05))]),
            initializer: initializer("random_normal", &[("seed", int(index as i64))]),
            group: [0, 1, 300, 65535][index],
            dim,
            duplicates,
            rows: HashMap::new(),
            step: 0,
        })
        .collect()
}

fn open_all(dir: &Path, references: &[Reference]) -> (Storage, Vec<Embedding>) {
    let storage = open(dir);
    let embeddings = references
        .iter()
        .map(|model| {
            let options = params(&[("duplicates", text(model.duplicates)), ("padding_key", int(PADDING))]);
            let (optimizer, initializer) = (model.optimizer.clone(), model.initializer.clone());
            Embedding::new(storage.clone(), optimizer, initializer, model.dim, model.group.into(), &options)
                .unwrap()
        })
        .collect();
    (storage, embeddings)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn random_calls_agree_with_a_plain_reference() {
    let seed = setting("DAMO_MODEL_SEED", 20_261_121);
    println!("DAMO_MODEL_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut models = references();
    let (mut storage, mut embeddings) = open_all(dir.path(), &models);
    for call in 0..setting("DAMO_MODEL_CALLS", 1500) {
        let which = random.random_range(0..models.len());
        let (model, embedding) = (&mut models[which], &embeddings[which]);
        let count = if random.random_range(0..20) == 0 { 1500 } else { random.random_range(0..40) };
        // Few keys, so that calls meet the same rows; the edges of the range among them.
        let key = |random: &mut ChaCha8Rng| match random.random_range(0..30) {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => random.random_range(-40..400),
        };
        let keys: Vec<i64> = (0..count).map(|_| key(&mut random)).collect();
        let floats: Vec<f32> =
            (0..count * model.dim).map(|_| random.random_range(-100..=100) as f32 / 64.0).collect();
        match random.random_range(0..100) {
            0..30 => assert_eq!(common::lookup(embedding, &keys), model.lookup(&keys), "lookup, call {call}"),
            30..45 => {
                let (weights, found) = common::peek(embedding, &keys);
                for (index, key) in keys.iter().enumerate() {
                    let row = model.rows.get(key);
                    assert_eq!(found[index] == 1, row.is_some(), "peek, call {call}, key {key}");
                    let expected = row.map_or(vec![0.0; model.dim], |row| row.0[..model.dim].to_vec());
                    assert_eq!(weights[index * model.dim..(index + 1) * model.dim], expected, "call {call}");
                }
            }
            45..80 => {
                embedding.apply_gradients(&keys, &floats).unwrap();
                model.apply(&keys, &floats);
            }
            80..85 => {
                let bad = keys.iter().position(|key| *key != PADDING);
                let mut floats = floats;
                if let Some(position) = bad {
                    floats[(position + 1) * model.dim - 1] = f32::NAN;
                    embedding.apply_gradients(&keys, &floats).unwrap_err();
                }
            }
            85..90 => {
                let keys: Vec<i64> =
                    keys.into_iter().map(|key| if key == PADDING { 4 } else { key }).collect();
                embedding.insert(&keys, &floats).unwrap();
                for (key, weights) in keys.iter().zip(floats.chunks_exact(model.dim)) {
                    let mut row = vec![0.0; model.optimizer.row_len(model.dim)];
                    row[..model.dim].copy_from_slice(weights);
                    model.rows.insert(*key, (row, 0));
                }
            }
            90..95 => {
                let some = &keys[..keys.len().min(10)];
                embedding.delete(some).unwrap();
                some.iter().for_each(|key| drop(model.rows.remove(key)));
            }
            95..97 => {
                let step = random.random_range(0..1000);
                embedding.set_step(step).unwrap();
                model.step = step;
            }
            97..98 => storage.flush().unwrap(),
            _ => {
                drop((storage, embeddings));
                (storage, embeddings) = open_all(dir.path(), &models);
            }
        }
    }
    for (model, embedding) in models.iter().zip(&embeddings) {
        assert_eq!(embedding.step().unwrap(), model.step);
        assert!(model.rows.len() > 200, "the history was too short to mean anything");
        for (key, (row, updates)) in &model.rows {
            let record = embedding.record(*key).unwrap();
            assert_eq!((&record.data, record.update_num), (row, *updates), "group {} key {key}", model.group);
        }
    }
}
