//! Several threads make small calls on the rows of one embedding, as Hogwild trainers do. The calls
//! happen one after the other as far as anybody can tell: a replay gives the same bits, and a
//! checkpoint has whole calls.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use damo::embedding::Embedding;
use damo::optimizer::Optimizer;
use damo::params::Params;
use damo::scheduler::Scheduler;
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{copy_dir, float, initializer, int, lookup, open, params, peek, text};

pub(crate) const DIM: usize = 20;
const KEYS: i64 = 300;
const THREADS: u64 = 4;
const CALLS: u64 = 4000;

/// Adam, whose steps do not commute, with a rate that falls at every step.
pub(crate) fn embedding(storage: &Storage, duplicates: &str) -> Embedding {
    let decay = [("decay_steps", int(1000)), ("decay_rate", float(0.9))];
    let decay = Scheduler::new("exponential_decay", &params(&decay)).unwrap();
    let adam =
        Optimizer::new("adam", &params(&[("gamma", float(0.01))]), Some(Arc::new(decay))).unwrap();
    let uniform = initializer("random_uniform", &[("seed", int(3))]);
    let options = params(&[("duplicates", text(duplicates)), ("padding_key", int(-1))]);
    Embedding::new(storage.clone(), Arc::new(adam), uniform, DIM, 5, &options).unwrap()
}

/// Every row with its state and counts.
fn rows(storage: &Storage) -> (i64, Vec<(u64, Vec<u32>)>) {
    let embedding = embedding(storage, "sum");
    let row = |key| {
        let record = embedding.record(key).unwrap();
        (record.update_num, record.data.iter().map(|float| float.to_bits()).collect())
    };
    (embedding.step().unwrap(), (0..KEYS).map(row).collect())
}

/// Calls of 1 to 256 keys, some of them repeated, some the padding key. Half of all keys are a few
/// hot ones.
fn train(embeddings: &[Embedding; 2], seed: u64, calls: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for call in 0..calls {
        let most = [1, 8, 64, 256][random.random_range(0..4)];
        let last = [20, KEYS][random.random_range(0..2)];
        let count = random.random_range(1..=most);
        let keys: Vec<i64> = (0..count).map(|_| random.random_range(-1..last)).collect();
        let gradients: Vec<f32> =
            (0..DIM * keys.len()).map(|_| random.random_range(-1.0..1.0)).collect();
        embeddings[call as usize % 2].apply_gradients(&keys, &gradients).unwrap();
    }
}

fn reopened(dir: &Path) -> (i64, Vec<(u64, Vec<u32>)>) {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, &copy.path().join("copy"));
    rows(&open(&copy.path().join("copy")))
}

#[test]
fn a_replay_gives_the_bits_that_the_threads_made() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embeddings = [embedding(&storage, "sum"), embedding(&storage, "sequential")];
    lookup(&embeddings[0], &(0..KEYS).collect::<Vec<_>>());
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let trainers: Vec<_> = (0..THREADS)
            .map(|seed| {
                let embeddings = &embeddings;
                scope.spawn(move || train(embeddings, seed, CALLS))
            })
            .collect();
        // Write-back rounds and large calls in between, of keys that nobody else has.
        scope.spawn(|| {
            let keys: Vec<i64> = (KEYS..KEYS + 300).collect();
            while !is_done.load(Ordering::Acquire) {
                embeddings[0].apply_gradients(&keys, &vec![1.0; DIM * keys.len()]).unwrap();
                storage.flush().unwrap();
            }
        });
        trainers.into_iter().for_each(|trainer| trainer.join().unwrap());
        is_done.store(true, Ordering::Release);
    });
    let (step, made) = rows(&storage);
    assert!(step >= (THREADS * CALLS) as i64);
    // Once with the rows of the last round, and once with all from the first.
    assert_eq!(reopened(dir.path()), (step, made.clone()));
    train(&embeddings, 99, 100);
    let made = rows(&storage);
    assert_eq!(reopened(dir.path()), made);
}

#[test]
fn a_replay_of_everything_gives_the_bits_that_the_threads_made() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embeddings = [embedding(&storage, "sum"), embedding(&storage, "sequential")];
    lookup(&embeddings[0], &(0..KEYS).collect::<Vec<_>>());
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let embeddings = &embeddings;
            scope.spawn(move || train(embeddings, seed, CALLS / 4));
        }
    });
    let made = rows(&storage);
    assert_eq!(made.0, (THREADS * CALLS / 4) as i64);
    assert_eq!(reopened(dir.path()), made);
}

/// Each call steps the two rows of a pair by the same gradient, so that they stay equal.
#[test]
fn a_checkpoint_has_whole_calls() {
    for durability in ["process", "checkpoint"] {
        let dir = tempfile::tempdir().unwrap();
        let options = params(&[("durability", text(durability))]);
        let storage = Storage::open(dir.path(), 0, &options).unwrap();
        let pairs = |storage: &Storage| {
            let sgd = Arc::new(Optimizer::new("sgd", &Params::new(), None).unwrap());
            let zeros = initializer("zeros", &[]);
            Embedding::new(storage.clone(), sgd, zeros, 1, 0, &Params::new()).unwrap()
        };
        let embedding = pairs(&storage);
        let keys: Vec<i64> = (0..2 * KEYS).collect();
        lookup(&embedding, &keys);
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            for seed in 0..THREADS {
                let (embedding, is_done) = (&embedding, &is_done);
                scope.spawn(move || {
                    let mut random = ChaCha8Rng::seed_from_u64(seed);
                    while !is_done.load(Ordering::Acquire) {
                        let key = random.random_range(0..KEYS);
                        embedding.apply_gradients(&[key + KEYS, key], &[-1.0; 2]).unwrap();
                    }
                });
            }
            let mut sums = Vec::new();
            for number in 0..6 {
                let checkpoint = dir.path().with_extension(number.to_string());
                storage.checkpoint(&checkpoint).unwrap();
                let of_checkpoint = pairs(&open(&checkpoint));
                let (weights, found) = peek(&of_checkpoint, &keys);
                assert!(found.iter().all(|found| *found == 1));
                let (low, high) = weights.split_at(KEYS as usize);
                assert_eq!(low, high, "half a call in the checkpoint");
                sums.push(of_checkpoint.step().unwrap());
                drop(of_checkpoint);
                std::fs::remove_dir_all(&checkpoint).unwrap();
            }
            is_done.store(true, Ordering::Release);
            assert!(sums.is_sorted() && sums[0] < sums[5], "{sums:?}");
        });
    }
}
