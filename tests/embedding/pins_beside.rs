//! Pins beside other calls: threads, checkpoints, steps and lookups of the same rows. No change of
//! anybody is lost.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use damo::embedding::{Conflicts, Embedding, Pin};
use damo::error::Status;
use damo::params::Params;
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{copy_dir, initializer, lookup, open, optimizer, peek};
use crate::pins::{DIM, LEN, add, first, own, row, with};

/// Threads add 1 to rows, with pins and with inserts in between of rows that nobody else has.
#[test]
fn no_change_of_any_thread_is_lost() {
    const KEYS: i64 = 90;
    for (durability, calls) in [("process", 3000), ("checkpoint", 3000), ("power", 60)] {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path(), 0, &with(durability, &[])).unwrap();
        let embedding = own(&storage, 0);
        let added: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        let commit = |pin: &mut Pin, keys: &[i64], conflicts| {
            embedding.pin_rows(keys, pin).unwrap();
            add(pin, keys.len(), 1.0);
            match pin.commit(conflicts) {
                Ok(()) => {
                    keys.iter().for_each(|key| {
                        added[*key as usize].fetch_add(1, Ordering::Relaxed);
                    });
                    true
                }
                Err(busy) => {
                    assert_eq!(busy.status(), Status::Busy, "{busy}");
                    false
                }
            }
        };
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let trainers: Vec<_> = (0..4u64)
                .map(|seed| {
                    let commit = &commit;
                    let embedding = &embedding;
                    scope.spawn(move || {
                        let mut random = ChaCha8Rng::seed_from_u64(seed);
                        let mut pin = embedding.new_pin();
                        for _ in 0..calls {
                            // Key 0 is in every sample, as a bias is.
                            let mut keys = vec![0];
                            let count = random.random_range(0..40);
                            keys.extend((0..count).map(|_| random.random_range(1..KEYS)));
                            keys.sort_unstable();
                            keys.dedup();
                            let turn = count.min(keys.len() - 1);
                            keys.rotate_left(turn);
                            let conflicts = [Conflicts::Add, Conflicts::Refuse][seed as usize % 2];
                            while !commit(&mut pin, &keys, conflicts) {}
                        }
                    })
                })
                .collect();
            // Large commits, inserts, deletes and rounds.
            scope.spawn(|| {
                let mut pin = embedding.new_pin();
                let all: Vec<i64> = (0..KEYS).collect();
                let others: Vec<i64> = (KEYS..KEYS + 300).collect();
                let rows = vec![1.0; LEN * others.len()];
                while !is_done.load(Ordering::Acquire) {
                    commit(&mut pin, &all, Conflicts::Add);
                    embedding.insert_records(&others, &rows, &[]).unwrap();
                    embedding.delete(&others).unwrap();
                    embedding.pin_rows(&others, &mut pin).unwrap();
                    add(&mut pin, others.len(), 1.0);
                    pin.commit(Conflicts::Refuse).unwrap();
                    storage.flush().unwrap();
                }
            });
            trainers.into_iter().for_each(|trainer| trainer.join().unwrap());
            is_done.store(true, Ordering::Release);
        });
        let as_added = |embedding: &Embedding| {
            for (key, added) in (0..).zip(&added) {
                let added = added.load(Ordering::Relaxed);
                let expected = first().iter().map(|float| float + added as f32).collect();
                assert_eq!(row(embedding, key), (expected, added), "key {key}, {durability}");
            }
        };
        as_added(&embedding);
        if durability == "checkpoint" {
            continue;
        }
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), &copy.path().join("copy"));
        let again = open(&copy.path().join("copy"));
        as_added(&own(&again, 0));
    }
}

/// Each commit adds the same to two rows, so that they stay equal.
#[test]
fn a_checkpoint_has_whole_commits() {
    const KEYS: i64 = 100;
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path(), 0, &with("checkpoint", &[])).unwrap();
    let embedding = own(&storage, 0);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..3 {
            let (embedding, is_done) = (&embedding, &is_done);
            scope.spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let mut pin = embedding.new_pin();
                while !is_done.load(Ordering::Acquire) {
                    let key = random.random_range(0..KEYS);
                    embedding.pin_rows(&[key + KEYS, key], &mut pin).unwrap();
                    add(&mut pin, 2, 1.0);
                    pin.commit(Conflicts::Add).unwrap();
                }
            });
        }
        for number in 0..4 {
            let checkpoint = dir.path().with_extension(number.to_string());
            thread::sleep(std::time::Duration::from_millis(20));
            storage.checkpoint(&checkpoint).unwrap();
            let of_checkpoint = own(&open(&checkpoint), 0);
            let keys: Vec<i64> = (0..2 * KEYS).collect();
            let (weights, found) = peek(&of_checkpoint, &keys);
            let half = KEYS as usize;
            assert_eq!(weights[..half * DIM], weights[half * DIM..], "half a commit");
            assert_eq!(found[..half], found[half..], "half a commit");
            drop(of_checkpoint);
            std::fs::remove_dir_all(&checkpoint).unwrap();
        }
        is_done.store(true, Ordering::Release);
    });
}

/// Threads commit, step and look up the same rows. Each call changes both rows of a pair alike, so
/// that they stay equal. Column 0 has what commits add: its gradients are 0, so Adam leaves it.
#[test]
fn commits_and_steps_of_the_same_rows_lose_nothing() {
    const KEYS: i64 = 150;
    const CALLS: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let stepped = |storage: &Storage| {
        let (adam, zeros) = (optimizer("adam", &[]), initializer("zeros", &[]));
        Embedding::new(storage.clone(), adam, zeros, DIM, 0, &Params::new()).unwrap()
    };
    let embedding = stepped(&storage);
    let all: Vec<i64> = (0..2 * KEYS).collect();
    lookup(&embedding, &all);
    let count = || (0..KEYS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    let (commits, steps) = (count(), count());
    // Calls pass together, and a copy alone: it has what a kill between calls would leave.
    let gate = RwLock::new(());
    let pairs = |random: &mut ChaCha8Rng| {
        let (begin, count) =
            (random.random_range(0..KEYS), [1, 9, KEYS][random.random_range(0..3)]);
        let low = (begin..begin + count).map(|key| key % KEYS);
        low.flat_map(|key| [key + KEYS, key]).collect::<Vec<i64>>()
    };
    let note = |counts: &[AtomicU64], keys: &[i64]| {
        for key in keys.iter().filter(|key| **key < KEYS) {
            counts[*key as usize].fetch_add(1, Ordering::Relaxed);
        }
    };
    let train = |seed: u64| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut pin = embedding.new_pin();
        for _ in 0..CALLS {
            let keys = pairs(&mut random);
            if seed.is_multiple_of(2) {
                let gradients = [0.0, random.random_range(-1.0..1.0), 0.5].repeat(keys.len());
                let _call = gate.read().unwrap();
                embedding.apply_gradients(&keys, &gradients).unwrap();
                note(&steps, &keys);
                continue;
            }
            loop {
                embedding.pin_rows(&keys, &mut pin).unwrap();
                pin.rows_mut().iter_mut().step_by(3 * DIM).for_each(|float| *float += 1.0);
                let _call = gate.read().unwrap();
                match pin.commit([Conflicts::Add, Conflicts::Refuse][random.random_range(0..2)]) {
                    Ok(()) => break note(&commits, &keys),
                    Err(busy) => assert_eq!(busy.status(), Status::Busy, "{busy}"),
                }
            }
        }
    };
    let check = |embedding: &Embedding| {
        for key in 0..KEYS {
            let (floats, updates) = row(embedding, key);
            assert_eq!(row(embedding, key + KEYS), (floats.clone(), updates), "half a call");
            let of_key = |counts: &[AtomicU64]| counts[key as usize].load(Ordering::Relaxed);
            let (commits, steps) = (of_key(&commits), of_key(&steps));
            assert_eq!((floats[0], updates), (commits as f32, commits + steps), "key {key}");
        }
    };
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let trainers: Vec<_> = (0..4)
            .map(|seed| {
                let train = &train;
                scope.spawn(move || train(seed))
            })
            .collect();
        scope.spawn(|| {
            let mut last = vec![0.0; all.len()];
            while !is_done.load(Ordering::Acquire) {
                let weights = lookup(&embedding, &all);
                for (last, row) in last.iter_mut().zip(weights.chunks_exact(DIM)) {
                    assert!(row[0] >= *last && row[0].fract() == 0.0, "{} after {last}", row[0]);
                    *last = row[0];
                }
            }
        });
        for number in 0..4 {
            thread::sleep(std::time::Duration::from_millis(20));
            let copy = dir.path().with_extension(number.to_string());
            let alone = gate.write().unwrap();
            copy_dir(dir.path(), &copy);
            check(&stepped(&open(&copy)));
            drop(alone);
            std::fs::remove_dir_all(&copy).unwrap();
        }
        trainers.into_iter().for_each(|trainer| trainer.join().unwrap());
        is_done.store(true, Ordering::Release);
    });
    check(&embedding);
    let rows =
        |embedding: &Embedding| all.iter().map(|key| row(embedding, *key)).collect::<Vec<_>>();
    let made = rows(&embedding);
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), &copy.path().join("copy"));
    assert_eq!(rows(&stepped(&open(&copy.path().join("copy")))), made);
}
