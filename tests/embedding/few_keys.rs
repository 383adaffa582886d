//! Calls of few keys look for each key by itself, and leave their buffers to the thread. They give
//! what large calls give.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use damo::embedding::Embedding;
use damo::params::Params;
use damo::storage::Storage;

use crate::common::{copy_dir, initializer, int, lookup, open, optimizer, params, peek, sgd, text};

const PADDING: i64 = -1;

#[test]
fn a_call_with_the_padding_key_alone_has_nothing_of_the_call_before() {
    // Nine rows of 16 floats are as many bytes as eight keys with a row each.
    for count in [3, 9] {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        let options = [("padding_key", int(PADDING)), ("duplicates", text("sum"))];
        let embedding = sgd(&storage, 16, 0.5, &options);
        let keys: Vec<i64> = (1..=count).collect();
        let gradients = vec![1.0; 16 * keys.len()];
        embedding.apply_gradients(&keys, &gradients).unwrap();
        embedding.apply_gradients(&[PADDING], &gradients[..16]).unwrap();

        let (mut summed_keys, mut sums) = ([9], [9.0; 16]);
        embedding.sum_gradients(&keys[..1], &gradients[..16], &mut [0], &mut [0.0; 16]).unwrap();
        let summed = embedding
            .sum_gradients(&[PADDING], &gradients[..16], &mut summed_keys, &mut sums)
            .unwrap();
        assert_eq!((summed.keys, summed.norm, summed_keys, sums), (0, 0.0, [9], [9.0; 16]));

        let killed = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), &killed.path().join("copy"));
        let again = open(&killed.path().join("copy"));
        let replayed = sgd(&again, 16, 0.5, &options);
        assert_eq!(replayed.step().unwrap(), 2);
        assert_eq!(peek(&replayed, &keys), peek(&embedding, &keys));
        assert_eq!(again.stat("rows_in_memory").unwrap(), count as u64);
    }
}

#[test]
fn a_row_that_a_call_steps_twice_is_never_seen_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = sgd(&storage, 1, 0.5, &[("duplicates", text("sequential"))]);
    lookup(&embedding, &[7]);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20_000 {
                embedding.apply_gradients(&[7, 8, 7], &[1.0; 3]).unwrap();
            }
            is_done.store(true, Ordering::Release);
        });
        while !is_done.load(Ordering::Acquire) {
            let record = embedding.record(7).unwrap();
            assert_eq!(record.update_num % 2, 0);
        }
    });
    assert_eq!(embedding.record(7).unwrap().update_num, 40_000);
}

#[test]
fn a_lookup_whose_last_piece_has_few_keys_finds_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let uniform = initializer("random_uniform", &[("seed", int(1))]);
    let embedding =
        Embedding::new(storage, optimizer("sgd", &[]), uniform.clone(), 1, 0, &Params::new())
            .unwrap();
    let keys: Vec<i64> = (0..(1 << 20) + 3).collect();
    let last = &keys[1 << 20..];
    embedding.apply_gradients(last, &[1.0; 3]).unwrap();
    let stepped = lookup(&embedding, last);
    let weights = lookup(&embedding, &keys);
    assert_eq!(weights[1 << 20..], stepped);
    for (key, weight) in keys.iter().zip(&weights).take(1000) {
        let mut expected = [0.0];
        uniform.fill(0, *key, &mut expected);
        assert_eq!([*weight], expected, "key {key}");
    }
    assert_eq!(peek(&embedding, &keys), (weights, vec![1; keys.len()]));
}

#[test]
fn threads_that_look_new_keys_up_make_each_row_once() {
    const KEYS: i64 = 3000;
    for cache_bytes in [1 << 28, 1 << 16] {
        let dir = tempfile::tempdir().unwrap();
        let options = params(&[("cache_bytes", int(cache_bytes))]);
        let storage = Storage::open(dir.path(), 0, &options).unwrap();
        let uniform = initializer("random_uniform", &[("seed", int(7))]);
        let sgd = optimizer("sgd", &[]);
        let embedding = Embedding::new(storage.clone(), sgd, uniform, 8, 0, &Params::new());
        let embedding = embedding.unwrap();
        thread::scope(|scope| {
            for first in 0..4 {
                let embedding = &embedding;
                scope.spawn(move || {
                    // Each thread has every key, twice in some calls, in an order of its own.
                    let keys: Vec<i64> =
                        (0..KEYS).map(|number| (number * 7 + first * 411) % KEYS).collect();
                    for (number, part) in keys.chunks(100).enumerate() {
                        let mut part = part.to_vec();
                        part.extend_from_within(..number % 30);
                        lookup(embedding, &part);
                    }
                });
            }
        });
        assert_eq!(storage.stat("rows_created").unwrap(), KEYS as u64);
        let keys: Vec<i64> = (0..KEYS).collect();
        let together = lookup(&embedding, &keys);
        let alone = keys.iter().flat_map(|key| lookup(&embedding, &[*key])).collect::<Vec<_>>();
        assert_eq!(together, alone);
    }
}
