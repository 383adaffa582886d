//! Training steps over 26 groups: the steps of a seed, the storage that makes them, and a plain
//! reference that makes them, too. A kill leaves whole steps: the same number in every group. Some
//! groups clip their gradients, and some limit the norm of their rows.
//!
//! The n-th step does not depend on those before it: a process that starts in the middle makes the
//! same steps. The file stands alone, since `scripts/torture` has no other helper of the tests.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use damo::bags::{Offsets, Pooling};
use damo::embedding::{CallId, Embedding};
use damo::initializer::Initializer;
use damo::kernels::{Rows, RowsMut};
use damo::optimizer::Optimizer;
use damo::params::Params;
use damo::scheduler::Scheduler;
use damo::step::{GivenBags, Step};
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub const GROUPS: usize = 26;
/// Durabilities under which a kill takes no step that has returned.
pub const DURABILITIES: [&str; 2] = ["process", "power"];
/// The smallest one evicts rows in every step.
pub const CACHES: [i64; 3] = [64 << 10, 1 << 20, 16 << 20];
const KEYS: i64 = 150;
const PADDING: i64 = -7;
/// A flush follows each step with this remainder.
const FLUSHES: u64 = 25;

/// How a storage is opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    pub durability: &'static str,
    pub cache_bytes: i64,
    pub threads: i64,
}

impl Opening {
    pub fn draw(random: &mut ChaCha8Rng, durability: &'static str) -> Opening {
        let cache_bytes = CACHES[random.random_range(0..CACHES.len())];
        Opening { durability, cache_bytes, threads: random.random_range(1..=3) }
    }

    pub fn open(&self, dir: &Path) -> Storage {
        let options = Params::new()
            .with("durability", self.durability)
            .and_then(|options| options.with("cache_bytes", self.cache_bytes))
            .and_then(|options| options.with("threads", self.threads))
            .unwrap();
        Storage::open(dir, 0, &options).unwrap()
    }
}

fn dim(group: usize) -> usize {
    4 + group * 28 / (GROUPS - 1)
}

fn duplicates(group: usize) -> &'static str {
    ["sum", "mean", "sequential"][group % 3]
}

/// Each optimizer is that of three or four groups. In every fourth group the rate depends on the
/// global step.
fn optimizer(group: usize) -> Arc<Optimizer> {
    // All that take steps.
    let names: Vec<_> = Optimizer::names().into_iter().filter(|name| *name != "none").collect();
    let params = Params::new().with("learning_rate", 0.05).unwrap();
    let decay = Params::new().with("decay_steps", 50).unwrap().with("decay_rate", 0.9).unwrap();
    let scheduler =
        (group % 4 == 1).then(|| Arc::new(Scheduler::new("exponential_decay", &decay).unwrap()));
    Arc::new(Optimizer::new(names[group % names.len()], &params, scheduler).unwrap())
}

/// The limits of a group's gradients and rows. A clip_norm would be added up by shard, which a
/// plain reference does not know.
#[derive(Clone, Copy)]
struct Limits {
    clip_value: Option<f64>,
    clip_row_norm: Option<f64>,
    max_norm: Option<f64>,
}

fn limits(group: usize) -> Limits {
    Limits {
        clip_value: (group % 3 == 1).then_some(1.25),
        clip_row_norm: (group % 4 == 2).then_some(1.5),
        max_norm: (group % 5 == 3).then_some(1.75),
    }
}

impl Limits {
    fn add_to(self, options: Params) -> Params {
        let Limits { clip_value, clip_row_norm, max_norm } = self;
        [("clip_value", clip_value), ("clip_row_norm", clip_row_norm), ("max_norm", max_norm)]
            .into_iter()
            .filter_map(|(name, limit)| Some((name, limit?)))
            .fold(options, |options, (name, limit)| options.with(name, limit).unwrap())
    }

    fn clip(self, gradient: &mut [f32]) {
        if let Some(limit) = self.clip_value.map(|limit| limit as f32) {
            gradient.iter_mut().for_each(|float| *float = float.clamp(-limit, limit));
        }
        if let Some(limit) = self.clip_row_norm {
            let factor = (limit / (norm(gradient) + 1e-6)).min(1.0) as f32;
            gradient.iter_mut().for_each(|float| *float *= factor);
        }
    }

    fn limit(self, weights: &mut [f32]) {
        let norm = norm(weights);
        if let Some(limit) = self.max_norm.filter(|limit| norm > *limit) {
            let factor = (limit / (norm + 1e-7)) as f32;
            weights.iter_mut().for_each(|float| *float *= factor);
        }
    }
}

/// The 2-norm, added up in eight lanes, as damo does.
fn norm(floats: &[f32]) -> f64 {
    let (chunks, rest) = floats.as_chunks::<8>();
    let square = |float: &f32| f64::from(*float) * f64::from(*float);
    let mut lanes = [0.0; 8];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, float)| *lane += square(float));
    }
    rest.iter().fold(lanes.iter().sum::<f64>(), |sum, float| sum + square(float)).sqrt()
}

fn initializer() -> Arc<Initializer> {
    Arc::new(Initializer::new("random_uniform", &Params::new()).unwrap())
}

/// Some keys of a group, with a gradient each, or one a bag.
pub struct Part {
    group: usize,
    keys: Vec<i64>,
    /// The first key of each bag; None: one row a key.
    offsets: Option<Vec<i64>>,
    gradients: Vec<f32>,
}

/// The `index`th step of a seed. Every group has a part, perhaps without keys, and some have two.
/// One step in eight has so many keys that several threads share the work.
pub fn step(seed: u64, index: u64) -> Vec<Part> {
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let most = if random.random_range(0..8) == 0 { 400 } else { 8 };
    let mut parts = Vec::new();
    for group in 0..GROUPS {
        parts.push(part(&mut random, group, most));
        if random.random_range(0..6) == 0 {
            parts.push(part(&mut random, group, most));
        }
    }
    parts
}

fn part(random: &mut ChaCha8Rng, group: usize, most: usize) -> Part {
    let count = random.random_range(0..most);
    let keys: Vec<i64> = (0..count).map(|_| random.random_range(-KEYS / 10..KEYS)).collect();
    let offsets = (random.random_range(0..4) == 0).then(|| {
        let bags = random.random_range(1..=count + 1);
        let mut begins: Vec<i64> =
            (1..bags).map(|_| random.random_range(0..=count as i64)).collect();
        begins.push(0);
        begins.sort_unstable();
        begins
    });
    let rows = offsets.as_ref().map_or(count, Vec::len);
    let float = |_| random.random_range(-100..=100) as f32 / 64.0;
    let gradients = (0..rows * dim(group)).map(float).collect();
    Part { group, keys, offsets, gradients }
}

impl Part {
    /// The gradient of each key, in order, which is that of its bag.
    fn by_key(&self) -> impl Iterator<Item = (i64, &[f32])> {
        let row = |entry: usize| match &self.offsets {
            None => entry,
            Some(offsets) => offsets.partition_point(|begin| *begin <= entry as i64) - 1,
        };
        let dim = dim(self.group);
        self.keys.iter().enumerate().map(move |(entry, key)| {
            (*key, &self.gradients[row(entry) * dim..(row(entry) + 1) * dim])
        })
    }
}

/// An open storage with its embeddings, and a step that is used again and again.
pub struct Engine {
    storage: Storage,
    embeddings: Vec<Arc<Embedding>>,
    step: Step,
}

impl Engine {
    pub fn open(dir: &Path, opening: Opening) -> Engine {
        let storage = opening.open(dir);
        let embedding = |group: usize| {
            let options = Params::new()
                .with("duplicates", duplicates(group))
                .and_then(|options| options.with("padding_key", PADDING))
                .unwrap();
            let options = limits(group).add_to(options);
            let (optimizer, initializer) = (optimizer(group), initializer());
            let (dim, storage) = (dim(group), storage.clone());
            Embedding::new(storage, optimizer, initializer, dim, group as u32, &options).unwrap()
        };
        let embeddings = (0..GROUPS).map(|group| Arc::new(embedding(group))).collect();
        let step = Step::new(storage.clone());
        Engine { storage, embeddings, step }
    }

    /// Looks up and applies gradients, as a trainer does.
    pub fn make(&mut self, seed: u64, index: u64) {
        self.make_as(seed, index, None);
    }

    /// As [`Engine::make`], as the call of one of two clients, which sends it one to three times.
    pub fn send(&mut self, seed: u64, index: u64) {
        let call = CallId { client: index % 2, sequence: index };
        for again in 0..=index % 3 {
            let is_made = self.make_as(seed, index, Some(call));
            assert!(!is_made || again == 0, "step {index} was made twice");
        }
    }

    /// Returns whether it was made now.
    fn make_as(&mut self, seed: u64, index: u64, call: Option<CallId>) -> bool {
        let parts = step(seed, index);
        self.step.clear();
        for Part { group, keys, offsets, .. } in &parts {
            let bags = offsets.as_ref().map(|offsets| GivenBags {
                offsets: Offsets { offsets, has_last: false },
                pooling: Pooling::Sum,
                weights: None,
            });
            self.step.add(&self.embeddings[*group], keys, bags).unwrap();
        }
        let mut rows: Vec<Vec<f32>> =
            parts.iter().map(|part| vec![f32::NAN; part.gradients.len()]).collect();
        let outputs = rows.iter_mut().zip(&parts).map(|(rows, part)| {
            let dim = dim(part.group);
            RowsMut::new(rows, dim, dim).unwrap()
        });
        self.step.lookup(outputs.collect()).unwrap();
        assert!(rows.iter().flatten().all(|float| float.is_finite()), "step {index}");
        let gradients = parts.iter().map(|part| {
            let dim = dim(part.group);
            Rows::new(&part.gradients, dim, dim).unwrap()
        });
        let gradients: Vec<_> = gradients.collect();
        let expected = vec![Some(index as i64); parts.len()];
        let is_made = match call {
            None => self.step.apply_gradients(&gradients).map(|()| true),
            Some(call) => self.step.apply_gradients_once(call, &expected, &gradients),
        };
        if index % FLUSHES == FLUSHES - 1 {
            self.storage.flush().unwrap();
        }
        is_made.unwrap()
    }

    pub fn read(&self) -> Found {
        let mut found = Found { steps: Vec::new(), rows: Vec::new() };
        let mut rows = self.storage.rows(None).unwrap();
        while let Some(row) = rows.next_row().unwrap() {
            found.rows.push(FoundRow {
                group: row.group.into(),
                key: row.key,
                data: row.data,
                updates: row.update_num,
            });
        }
        found.steps.extend(self.embeddings.iter().map(|embedding| embedding.step().unwrap()));
        found
    }
}

/// What a storage has.
#[derive(Serialize, Deserialize)]
pub struct Found {
    steps: Vec<i64>,
    rows: Vec<FoundRow>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FoundRow {
    group: usize,
    key: i64,
    data: Vec<f32>,
    updates: u64,
}

/// A row that has had a gradient.
#[derive(Clone, Debug)]
struct Row {
    data: Vec<f32>,
    updates: u64,
}

/// What a storage should have: rows in maps, and a plain loop a step.
#[derive(Clone)]
pub struct Reference {
    initializer: Arc<Initializer>,
    optimizers: Vec<Arc<Optimizer>>,
    rows: BTreeMap<(usize, i64), Row>,
    steps: u64,
}

impl Reference {
    pub fn new() -> Reference {
        let optimizers = (0..GROUPS).map(optimizer).collect();
        Reference { initializer: initializer(), optimizers, rows: BTreeMap::new(), steps: 0 }
    }

    /// How many steps it has made: from the first on, one after the other.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    fn fresh(&self, group: usize, key: i64) -> Row {
        let optimizer = &self.optimizers[group];
        let mut data = vec![0.0; optimizer.row_len(dim(group))];
        let (weights, state) = data.split_at_mut(dim(group));
        self.initializer.fill(group as u16, key, weights);
        limits(group).limit(weights);
        optimizer.begin(state);
        Row { data, updates: 0 }
    }

    pub fn make(&mut self, seed: u64, index: u64) {
        let parts = step(seed, index);
        for group in 0..GROUPS {
            let mut sums: Vec<(i64, Vec<f32>, u32)> = Vec::new();
            let mut seen: HashMap<i64, usize> = HashMap::new();
            let of_group = parts.iter().filter(|part| part.group == group).flat_map(Part::by_key);
            for (key, gradient) in of_group.filter(|(key, _)| *key != PADDING) {
                let sum = *seen.entry(key).or_insert(sums.len());
                if sum == sums.len() {
                    sums.push((key, gradient.to_vec(), 1));
                } else {
                    sums[sum].1.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
                    sums[sum].2 += 1;
                }
            }
            let optimizer = self.optimizers[group].clone();
            let rate = optimizer.rate(self.steps as i64).unwrap();
            for (key, mut gradient, count) in sums {
                if duplicates(group) == "mean" {
                    gradient.iter_mut().for_each(|sum| *sum /= count as f32);
                }
                let mut row =
                    self.rows.remove(&(group, key)).unwrap_or_else(|| self.fresh(group, key));
                row.updates += 1;
                limits(group).clip(&mut gradient);
                optimizer.step(&mut row.data, &gradient, rate, row.updates);
                limits(group).limit(&mut row.data[..dim(group)]);
                self.rows.insert((group, key), row);
            }
        }
        self.steps += 1;
    }

    /// Whether this was found. A row that only a lookup has made may be there or not.
    pub fn compare(&self, found: &Found) -> Result<(), String> {
        if let Some(group) = found.steps.iter().position(|step| *step != self.steps as i64) {
            let step = found.steps[group];
            return Err(format!("group {group} has step {step}, not {}", self.steps));
        }
        let mut trained = 0;
        for row in &found.rows {
            let known = self.rows.get(&(row.group, row.key));
            trained += usize::from(known.is_some());
            let fresh = known.is_none().then(|| self.fresh(row.group, row.key));
            let expected = known.or(fresh.as_ref()).expect("one of the two");
            if bits(&row.data) != bits(&expected.data) || row.updates != expected.updates {
                return Err(format!("{row:?} should be {expected:?}"));
            }
        }
        if trained != self.rows.len() {
            return Err(format!("{trained} trained rows are there, not {}", self.rows.len()));
        }
        Ok(())
    }
}

fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|float| float.to_bits()).collect()
}
