//! Many threads make calls of all sizes on one group. The calls happen one after the other as far
//! as anybody can tell: a replay gives the same bits.

use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use damo::embedding::Embedding;
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{copy_dir, int, lookup, open, params, text};
use crate::hogwild::{DIM, embedding};

const KEYS: i64 = 6000;
const THREADS: u64 = 6;

type Rows = (i64, Vec<(u64, Vec<u32>)>);

/// The step, and every row with its state and count. Makes rows that no call has changed: their
/// weights are always the same.
fn rows(storage: &Storage) -> Rows {
    let embedding = embedding(storage, "sum");
    lookup(&embedding, &(0..KEYS).collect::<Vec<_>>());
    let row = |key| {
        let record = embedding.record(key).unwrap();
        (record.update_num, record.data.iter().map(|float| float.to_bits()).collect())
    };
    (embedding.step().unwrap(), (0..KEYS).map(row).collect())
}

fn reopened(dir: &Path) -> Rows {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, &copy.path().join("copy"));
    rows(&open(&copy.path().join("copy")))
}

/// Calls of 1 to 9,000 keys, some of them repeated, some the padding key; some among a few hot
/// keys. Now and then a lookup, a delete or an insert. Returns how many were steps.
fn train(embeddings: &[Embedding; 2], seed: u64, calls: u64) -> u64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut steps = 0;
    for call in 0..calls {
        let most = [10, 300, 1000, 9000][random.random_range(0..4)];
        let last = [40, KEYS][random.random_range(0..2)];
        let count = random.random_range(1..=most);
        let keys: Vec<i64> = (0..count).map(|_| random.random_range(-1..last)).collect();
        let mut floats: Vec<f32> =
            (0..DIM * keys.len()).map(|_| random.random_range(-1.0..1.0)).collect();
        let embedding = &embeddings[call as usize % 2];
        match random.random_range(0..12) {
            0 => embedding.lookup(&keys, &mut floats).unwrap(),
            1 => embedding.delete(&keys[..count.min(50)]).unwrap(),
            2 => {
                let keys: Vec<i64> = keys.into_iter().map(|key| key.max(0)).collect();
                embedding.insert(&keys, &floats).unwrap();
            }
            _ => {
                embedding.apply_gradients(&keys, &floats).unwrap();
                steps += 1;
            }
        }
    }
    steps
}

/// Trains with all threads, while others write back what they change.
fn train_together(storage: &Storage, calls: u64) -> u64 {
    let embeddings = [embedding(storage, "sum"), embedding(storage, "sequential")];
    thread::scope(|scope| {
        let embeddings = &embeddings;
        let trainers: Vec<_> =
            (0..THREADS).map(|seed| scope.spawn(move || train(embeddings, seed, calls))).collect();
        while !trainers.iter().all(ScopedJoinHandle::is_finished) {
            storage.flush().unwrap();
        }
        trainers.into_iter().map(|trainer| trainer.join().unwrap()).sum()
    })
}

fn assert_same(found: &Rows, made: &Rows) {
    assert_eq!(found.0, made.0, "steps");
    for (key, (found, made)) in found.1.iter().zip(&made.1).enumerate() {
        assert_eq!(found, made, "key {key}");
    }
}

fn check(options: &[(&str, damo::params::Value)], calls: u64) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path(), 0, &params(options)).unwrap();
    let steps = train_together(&storage, calls);
    let made = rows(&storage);
    assert_eq!(made.0 as u64, steps);
    // With the rows of the last rounds.
    assert_same(&reopened(dir.path()), &made);
    let embeddings = [embedding(&storage, "sum"), embedding(&storage, "sequential")];
    thread::scope(|scope| {
        for seed in 100..104 {
            let embeddings = &embeddings;
            scope.spawn(move || train(embeddings, seed, 20));
        }
    });
    // Mostly by the journal.
    let made = rows(&storage);
    assert_same(&reopened(dir.path()), &made);
}

#[test]
fn a_replay_gives_the_bits_that_the_callers_made() {
    check(&[("threads", int(3))], 150);
}

/// Each call waits for the disk; those that come together share that.
#[test]
fn a_replay_gives_them_with_durability_power() {
    check(&[("durability", text("power")), ("threads", int(1))], 30);
}

/// Rows come in and go out all the time.
#[test]
fn a_replay_gives_them_with_a_small_cache() {
    check(&[("cache_bytes", int(1 << 20)), ("threads", int(2))], 60);
}
