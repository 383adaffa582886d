//! Rows are read from SST files while these are merged: several trainers, a table of many times the
//! cache, and merges, flushes and clears beside them. And the statistics of merges.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use damo::embedding::Embedding;
use damo::params::Params;
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{float, initializer, int, optimizer, params};

const KEYS: usize = 30_000;
const TRAINERS: usize = 3;
const DIM: usize = 4;

fn open(dir: &std::path::Path) -> Storage {
    Storage::open(dir, 0, &params(&[("cache_bytes", int(512 << 10)), ("threads", int(2))])).unwrap()
}

/// Each step adds one to every weight.
fn counting(storage: &Storage, group: u32) -> Embedding {
    let sgd = optimizer("sgd", &[("gamma", float(1.0))]);
    let zeros = initializer("zeros", &[]);
    Embedding::new(storage.clone(), sgd, zeros, DIM, group, &Params::new()).unwrap()
}

/// Looks some of a trainer's keys up, and compares them with how often they were stepped.
fn check(embedding: &Embedding, keys: &[i64], steps: &[u16]) {
    let mut weights = vec![f32::NAN; keys.len() * DIM];
    embedding.lookup(keys, &mut weights).unwrap();
    for (key, row) in keys.iter().zip(weights.chunks_exact(DIM)) {
        let expected = f32::from(steps[*key as usize / TRAINERS]);
        assert_eq!(row, [expected; DIM], "key {key}");
    }
}

/// Looks up and steps random keys of a trainer's own.
fn train(embedding: &Embedding, trainer: usize, rounds: usize) -> Vec<u16> {
    let mut random = ChaCha8Rng::seed_from_u64(trainer as u64);
    let mut steps = vec![0_u16; KEYS / TRAINERS];
    for round in 0..rounds {
        let count = [1, 8, 39, 96, 700][round % 5];
        let mut keys: Vec<i64> = (0..count)
            .map(|_| (random.random_range(0..KEYS / TRAINERS) * TRAINERS + trainer) as i64)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        check(embedding, &keys, &steps);
        embedding.apply_gradients(&keys, &vec![-1.0; keys.len() * DIM]).unwrap();
        keys.iter().for_each(|key| steps[*key as usize / TRAINERS] += 1);
    }
    steps
}

/// Merges, flushes, and fills and clears another group, until it is told to stop.
fn disturb(storage: &Storage, other: &Embedding, is_over: &AtomicBool) {
    let keys: Vec<i64> = (0..3000).collect();
    let gradients = vec![-1.0; keys.len() * DIM];
    let mut steps = 0_u16;
    for round in 0.. {
        match round % 4 {
            0 | 2 => storage.compact().unwrap(),
            1 => storage.flush().unwrap(),
            _ => {
                other.clear().unwrap();
                steps = 0;
            }
        }
        let mut weights = vec![f32::NAN; keys.len() * DIM];
        other.lookup(&keys, &mut weights).unwrap();
        assert!(weights.iter().all(|weight| *weight == f32::from(steps)), "{round}");
        if is_over.load(Ordering::Acquire) {
            return;
        }
        other.apply_gradients(&keys, &gradients).unwrap();
        steps += 1;
    }
}

#[test]
fn trainers_read_their_rows_while_merges_replace_the_files() {
    let scratch = tempfile::tempdir().unwrap();
    let rounds = 400;
    let mut storage = open(scratch.path());
    let mut steps = Vec::new();
    {
        let (table, other) = (counting(&storage, 0), counting(&storage, 1));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let disturbing = scope.spawn(|| disturb(&storage, &other, &is_over));
            let trainers: Vec<_> = (0..TRAINERS)
                .map(|trainer| {
                    scope.spawn({
                        let table = &table;
                        move || train(table, trainer, rounds)
                    })
                })
                .collect();
            steps.extend(trainers.into_iter().map(|trainer| trainer.join().unwrap()));
            is_over.store(true, Ordering::Release);
            disturbing.join().unwrap();
        });
        let loaded = storage.stat("rows_loaded").unwrap();
        let asked = storage.stat("rows_loaded_by_rocksdb").unwrap();
        assert!(loaded > 10_000, "most rows are on disk only");
        assert!(asked < loaded, "RocksDB was asked for {asked} of {loaded}");
        println!("RocksDB was asked for {asked} of {loaded}");
    }
    for _ in 0..2 {
        let table = counting(&storage, 0);
        for (trainer, steps) in steps.iter().enumerate() {
            let keys: Vec<i64> =
                (0..KEYS / TRAINERS).map(|key| (key * TRAINERS + trainer) as i64).collect();
            let known: Vec<i64> =
                keys.into_iter().filter(|key| steps[*key as usize / TRAINERS] > 0).collect();
            check(&table, &known, steps);
        }
        drop((table, storage));
        storage = open(scratch.path());
    }
}

#[test]
fn statistics_tell_what_merges_and_waits_cost() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(&scratch.path().join("table"));
    let table = counting(&storage, 0);
    let stat = |name| storage.stat(name).unwrap();
    let keys: Vec<i64> = (0..1000).collect();
    for _ in 0..3 {
        table.lookup(&keys, &mut vec![0.0; keys.len() * DIM]).unwrap();
        table.apply_gradients(&keys, &vec![-1.0; keys.len() * DIM]).unwrap();
        storage.flush().unwrap();
    }
    assert_eq!((stat("sorted_runs"), stat("rows_merged")), (3, 0));
    assert!(stat("rows_written") >= 3000);
    storage.compact().unwrap();
    // Each row is written once, however many versions there were.
    assert_eq!((stat("sorted_runs"), stat("rows_merged")), (1, 1000));
    let room = stat("index_bytes");
    assert!((1..512 << 10).contains(&room), "{room} bytes of a cache of 512 KiB");
    let parts = ["waited_for_journal_us", "waited_for_room_us", "waited_for_cut_us", "slowed_us"];
    assert_eq!(parts.map(stat).iter().sum::<u64>(), stat("waited_us"));
    // What a database has merged still counts after another one took its place.
    let checkpoint = scratch.path().join("checkpoint");
    storage.checkpoint(&checkpoint).unwrap();
    storage.load_from_checkpoint(&checkpoint).unwrap();
    assert_eq!(stat("rows_merged"), 1000);
}
