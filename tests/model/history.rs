//! Histories: the calls of a seed. The n-th call does not depend on those before it: a process that
//! starts in the middle makes the same calls.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::reference::PADDING;

/// A group and how often its embeddings are opened: once for each way to treat duplicates.
pub struct Spec {
    pub group: u16,
    pub dim: usize,
    pub optimizer: &'static str,
    pub duplicates: &'static [&'static str],
}

/// More than a megabyte of rows, so that the smallest cache holds one in twenty.
pub const SPECS: [Spec; 4] = [
    Spec { group: 0, dim: 1, optimizer: "sgd", duplicates: &["sequential", "sum"] },
    Spec { group: 1, dim: 16, optimizer: "adam", duplicates: &["sum", "mean", "sequential"] },
    Spec { group: 300, dim: 24, optimizer: "rowwise_adagrad", duplicates: &["mean"] },
    Spec { group: 65535, dim: 8, optimizer: "ftrl", duplicates: &["sequential", "sum"] },
];
const KEYS: i64 = 2500;
/// Time advances with each call; this many calls are the TTL.
pub const TTL_SECONDS: i64 = 120;
const SECONDS_A_CALL: u64 = 1;
/// Later than any clock, so nothing expires while an opening reads the system's.
const START_MS: u64 = 4_000_000_000_000;
/// Calls with more than 4096 keys are divided among threads.
const LARGE: Range<usize> = 4200..5500;

impl Spec {
    /// Every key that a history may use.
    pub fn all_keys(&self) -> impl Iterator<Item = i64> {
        (-KEYS / 10..KEYS).chain([i64::MIN, i64::MAX])
    }
}

pub struct Call {
    pub group: usize,
    pub face: usize,
    /// The time of the call, in milliseconds since 1970.
    pub now: u64,
    /// The learning rate that is set before the call.
    pub rate: f64,
    pub action: Action,
}

pub enum Action {
    Lookup(Vec<i64>),
    Peek(Vec<i64>),
    Apply(Vec<i64>, Vec<f32>),
    /// Gradients with a NaN among them.
    Refused(Vec<i64>, Vec<f32>),
    Insert(Vec<i64>, Vec<f32>),
    Delete(Vec<i64>),
    /// Rows are pinned, this is added to each of their floats, and they are committed.
    Commit(Vec<i64>, f32),
    SetStep(i64),
    Prefetch(Vec<i64>),
    Flush,
    Compact,
}

/// A lookup or a pin beside the calls of a history: keys of a group, at one of its embeddings.
pub struct Aside {
    pub group: usize,
    pub face: usize,
    pub keys: Vec<i64>,
}

impl Aside {
    /// Draws one, or three times in four None. The number of keys is in one of the ranges `counts`.
    pub fn draw(random: &mut ChaCha8Rng, counts: [Range<usize>; 3]) -> Option<Aside> {
        if random.random_range(0..4) != 0 {
            return None;
        }
        let group = random.random_range(0..SPECS.len());
        let face = random.random_range(0..SPECS[group].duplicates.len());
        let count = counts[random.random_range(0..3)].clone();
        let keys = (0..random.random_range(count)).map(|_| key(random)).collect();
        Some(Aside { group, face, keys })
    }
}

/// The time of a call.
pub fn now(index: u64) -> u64 {
    START_MS + index * SECONDS_A_CALL * 1000
}

pub fn call(seed: u64, index: u64) -> Call {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let group = random.random_range(0..SPECS.len());
    let spec = &SPECS[group];
    let face = random.random_range(0..spec.duplicates.len());
    let rate = f64::from(random.random_range(1..20)) / 256.0;
    let action = action(&mut random, spec.dim);
    Call { group, face, now: now(index), rate, action }
}

fn action(random: &mut ChaCha8Rng, dim: usize) -> Action {
    let count = match random.random_range(0..15) {
        0 => random.random_range(LARGE),
        1 => random.random_range(0..3),
        _ => random.random_range(3..300),
    };
    let mut keys: Vec<i64> = (0..count).map(|_| key(random)).collect();
    let mut floats: Vec<f32> =
        (0..count * dim).map(|_| random.random_range(-100..=100) as f32 / 64.0).collect();
    match random.random_range(0..100) {
        0..22 => Action::Lookup(keys),
        22..32 => Action::Peek(keys),
        32..40 => Action::Prefetch(keys),
        40..43 => match keys.iter().position(|key| *key != PADDING) {
            Some(bad) => {
                floats[(bad + 1) * dim - 1] = f32::NAN;
                Action::Refused(keys, floats)
            }
            None => Action::Peek(keys),
        },
        43..50 => {
            keys.iter_mut().filter(|key| **key == PADDING).for_each(|key| *key += 1);
            Action::Insert(keys, floats)
        }
        50..57 => Action::Delete(keys),
        57..60 => Action::SetStep(random.random_range(0..1000)),
        60..63 => Action::Flush,
        63 => Action::Compact,
        64..69 => Action::Commit(keys, change(random)),
        _ => Action::Apply(keys, floats),
    }
}

/// What is added to the floats of pinned rows. It makes no sum of squares negative.
pub fn change(random: &mut ChaCha8Rng) -> f32 {
    random.random_range(1..100) as f32 / 64.0
}

/// Half of the keys are from a few, so calls meet the same rows; the ends of the range are among
/// them.
pub fn key(random: &mut ChaCha8Rng) -> i64 {
    match random.random_range(0..100) {
        0 => i64::MIN,
        1 => i64::MAX,
        2..50 => random.random_range(-20..100),
        _ => random.random_range(-KEYS / 10..KEYS),
    }
}
