//! Lookups in two halves: finishing gives what a lookup gives at that moment, and writes what has
//! changed only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use damo::embedding::{Embedding, Lookup};
use damo::error::Status;
use damo::params::Params;
use damo::storage::Storage;

use crate::common::{
    failure, filters, float, initializer, int, lookup, open, optimizer, params, peek, sgd, text,
};

const DIM: usize = 4;
/// Later than any clock.
const NOW: u64 = 4_000_000_000_000;

fn adam(storage: &Storage) -> Embedding {
    let adam = optimizer("adam", &[("gamma", float(0.1))]);
    let normal = initializer("random_normal", &[("seed", int(3))]);
    let options = params(&[("duplicates", text("sum")), ("padding_key", int(-1))]);
    Embedding::new(storage.clone(), adam, normal, DIM, 0, &options).unwrap()
}

fn begin(embedding: &Embedding, keys: &[i64]) -> (Lookup, Vec<f32>) {
    let mut weights = vec![f32::NAN; keys.len() * embedding.dim()];
    let lookup = embedding.begin_lookup(keys, &mut weights).unwrap();
    (lookup, weights)
}

/// Finishes a lookup, and returns the positions that were written.
fn finish(
    embedding: &Embedding,
    keys: &[i64],
    (mut lookup, weights): (Lookup, &mut [f32]),
) -> Vec<i64> {
    let mut positions = vec![-1; keys.len()];
    let changed = embedding.finish_lookup(&mut lookup, weights, &mut positions).unwrap();
    positions.truncate(changed);
    positions
}

#[test]
fn what_has_changed_is_written_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    storage.set_clock_for_test(NOW).unwrap();
    let embedding = adam(&storage);
    // Each key twice, and the padding key.
    let keys: Vec<i64> = (0..1000).chain(0..1000).chain([-1]).collect();
    let (begun, mut weights) = begin(&embedding, &keys);
    assert!(weights.iter().all(|weight| *weight == 0.0), "there are no rows yet");
    assert_eq!(storage.row_count(None).unwrap(), 0);
    let written = finish(&embedding, &keys, (begun, &mut weights));
    assert_eq!(written, (0..2000).collect::<Vec<i64>>(), "all but padding are new");
    assert_eq!(weights, lookup(&embedding, &keys));

    // Rows of this millisecond are read again, in case they are made once more within it.
    storage.set_clock_for_test(NOW + 1).unwrap();
    let (begun, mut weights) = begin(&embedding, &keys);
    let before = weights.clone();
    assert!(finish(&embedding, &keys, (begun, &mut weights)).is_empty(), "nothing has changed");
    assert_eq!(weights, before);

    let (begun, mut weights) = begin(&embedding, &keys);
    storage.set_clock_for_test(NOW + 2).unwrap();
    embedding.apply_gradients(&[7, 7, 999, 5000], &[0.5; 4 * DIM]).unwrap();
    embedding.insert(&[20], &[2.5; DIM]).unwrap();
    embedding.delete(&[30]).unwrap();
    let written = finish(&embedding, &keys, (begun, &mut weights));
    assert_eq!(written, [7, 20, 30, 999, 1007, 1020, 1030, 1999]);
    assert_eq!(weights, lookup(&embedding, &keys));
}

#[test]
fn rows_made_again_and_rows_of_a_checkpoint_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(&dir.path().join("table"));
    let embedding = adam(&storage);
    let keys: Vec<i64> = (0..600).collect();
    lookup(&embedding, &keys);
    embedding.apply_gradients(&keys, &vec![1.0; keys.len() * DIM]).unwrap();
    let checkpoint = dir.path().join("checkpoint");
    storage.checkpoint(&checkpoint).unwrap();

    let (begun, mut weights) = begin(&embedding, &keys);
    embedding.clear().unwrap();
    assert_eq!(finish(&embedding, &keys, (begun, &mut weights)).len(), keys.len());
    assert_eq!(weights, lookup(&embedding, &keys));

    embedding.apply_gradients(&keys, &vec![1.0; keys.len() * DIM]).unwrap();
    let (begun, mut weights) = begin(&embedding, &keys);
    storage.load_from_checkpoint(&checkpoint).unwrap();
    finish(&embedding, &keys, (begun, &mut weights));
    assert_eq!(weights, lookup(&embedding, &keys));

    // Begun with rows that a load brings back as they were.
    let (begun, mut weights) = begin(&embedding, &keys);
    embedding.apply_gradients(&keys, &vec![1.0; keys.len() * DIM]).unwrap();
    storage.load_from_checkpoint(&checkpoint).unwrap();
    finish(&embedding, &keys, (begun, &mut weights));
    assert_eq!(weights, lookup(&embedding, &keys));
}

#[test]
fn rows_of_another_history_are_read_though_their_versions_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<i64> = (0..600).collect();
    let made = |name: &str, weight: f32| {
        let storage = open(&dir.path().join(name));
        storage.set_clock_for_test(1_795_000_000_000).unwrap();
        let embedding = sgd(&storage, 1, 0.5, &[]);
        embedding.insert(&keys, &[weight; 600]).unwrap();
        embedding.apply_gradients(&keys, &[0.0; 600]).unwrap();
        (storage, embedding)
    };
    let ((storage, embedding), (other, _)) = (made("one", 1.0), made("other", 2.0));
    let checkpoint = dir.path().join("checkpoint");
    other.checkpoint(&checkpoint).unwrap();
    let (begun, mut weights) = begin(&embedding, &keys);
    storage.load_from_checkpoint(&checkpoint).unwrap();
    finish(&embedding, &keys, (begun, &mut weights));
    assert_eq!(weights, [2.0; 600]);
}

#[test]
fn a_lookup_that_is_finished_waits_for_no_checkpoint_that_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(&dir.path().join("table"));
    let embedding = sgd(&storage, 1, 0.5, &[]);
    lookup(&embedding, &[1, 2, 3]);
    let checkpoint = dir.path().join("checkpoint");
    storage.checkpoint(&checkpoint).unwrap();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                let (begun, mut weights) = begin(&embedding, &[1, 2, 3]);
                finish(&embedding, &[1, 2, 3], (begun, &mut weights));
                assert_eq!(weights, [1.0; 3]);
            }
        });
        for _ in 0..20 {
            storage.load_from_checkpoint(&checkpoint).unwrap();
        }
        is_done.store(true, Ordering::Release);
    });
}

#[test]
fn expired_rows_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path(), 10, &Params::new()).unwrap();
    storage.set_clock_for_test(1_795_000_000_000).unwrap();
    let embedding = sgd(&storage, 1, 0.5, &[]);
    let keys: Vec<i64> = (0..600).collect();
    embedding.apply_gradients(&keys, &[1.0; 600]).unwrap();
    let (begun, mut weights) = begin(&embedding, &keys);
    assert_eq!(weights, [0.5; 600]);
    storage.set_clock_for_test(1_795_000_009_999).unwrap();
    embedding.apply_gradients(&[3], &[1.0]).unwrap();
    storage.set_clock_for_test(1_795_000_010_000).unwrap();
    let written = finish(&embedding, &keys, (begun, &mut weights));
    assert_eq!(written.len(), 600);
    let mut expected = vec![1.0; 600];
    expected[3] = 0.0;
    assert_eq!(weights, expected);
}

#[test]
fn a_filter_counts_once_a_lookup() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(&dir.path().join("table"));
    let embedding = sgd(&storage, 1, 0.5, &[]);
    let keys: Vec<i64> = (0..300).collect();
    let (before_filter, mut weights) = begin(&embedding, &keys);
    embedding.set_filter(Some(filters::filter(&dir.path().join("filter")))).unwrap();
    finish(&embedding, &keys, (before_filter, &mut weights));
    assert_eq!((weights, storage.row_count(None).unwrap()), (vec![1.0; 300], 0));
    let (begun, mut weights) = begin(&embedding, &keys);
    finish(&embedding, &keys, (begun, &mut weights));
    assert_eq!(storage.row_count(None).unwrap(), 0, "two of three occurrences");
    let (begun, mut weights) = begin(&embedding, &keys);
    let written = finish(&embedding, &keys, (begun, &mut weights));
    assert_eq!((written.len(), storage.row_count(None).unwrap()), (300, 300));
}

#[test]
fn callers_that_step_the_same_rows_are_seen_whole() {
    for durability in ["process", "checkpoint"] {
        let dir = tempfile::tempdir().unwrap();
        let options = params(&[("durability", text(durability)), ("cache_bytes", int(1 << 20))]);
        let storage = Storage::open(dir.path(), 0, &options).unwrap();
        // All weights of a row are the same, and a step makes them smaller by one.
        let embedding = sgd(&storage, DIM, 1.0, &[("duplicates", text("sequential"))]);
        let keys: Vec<i64> = (0..20_000).map(|key| key * 37 % 20_000).collect();
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            for first in [0, 7_000, 14_000] {
                let (embedding, is_done, keys) = (&embedding, &is_done, &keys);
                scope.spawn(move || {
                    let mut count = 300;
                    while !is_done.load(Ordering::Acquire) {
                        let some = &keys[first..first + count];
                        embedding.apply_gradients(some, &vec![1.0; count * DIM]).unwrap();
                        count = if count == 300 { 30 } else { 300 };
                    }
                });
            }
            for _ in 0..60 {
                let some = &keys[5_000..15_000];
                let (begun, mut weights) = begin(&embedding, some);
                thread::yield_now();
                // Rows only fall: each lies between what the two peeks saw.
                let before = peek(&embedding, some).0;
                finish(&embedding, some, (begun, &mut weights));
                let after = peek(&embedding, some).0;
                let rows = weights.chunks_exact(DIM).zip(before.chunks_exact(DIM));
                for ((row, before), after) in rows.zip(after.chunks_exact(DIM)) {
                    assert!(row.iter().all(|weight| *weight == row[0]), "{row:?}");
                    // A row that was absent before is made with ones.
                    let most = if before[0] == 0.0 { 1.0 } else { before[0] };
                    assert!(row[0] <= most && row[0] >= after[0], "{row:?} {before:?} {after:?}");
                }
            }
            is_done.store(true, Ordering::Release);
        });
        let (begun, mut weights) = begin(&embedding, &keys);
        finish(&embedding, &keys, (begun, &mut weights));
        assert_eq!(weights, lookup(&embedding, &keys));
    }
}

/// The buffers are those of an earlier call.
#[test]
fn keys_without_a_row_read_as_zeros_until_the_lookup_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let embedding = adam(&open(dir.path()));
    for count in [300, 1_500, 9_000] {
        let keys: Vec<i64> = (0..count).map(|key| key * 3).collect();
        embedding.apply_gradients(&keys, &vec![7.25; keys.len() * DIM]).unwrap();
        let others: Vec<i64> = keys.iter().map(|key| key * 5 + 1).collect();
        let (_, weights) = begin(&embedding, &others);
        assert_eq!(weights, peek(&embedding, &others).0);
    }
}

#[test]
fn what_cannot_be_finished_is_refused_and_can_be_later() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let (embedding, other) = (adam(&storage), adam(&storage));
    let keys: Vec<i64> = (0..300).collect();
    let mut wrong = vec![0.0; 7];
    let refused = failure(embedding.begin_lookup(&keys, &mut wrong), Status::InvalidArgument);
    assert!(refused.message().contains("weights_len is 7"), "{refused}");

    let (mut begun, mut weights) = begin(&embedding, &keys);
    let mut positions = vec![0; keys.len()];
    let refused = |result, words: &str| {
        let error = failure(result, Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    };
    refused(other.finish_lookup(&mut begun, &mut weights, &mut positions), "another embedding");
    refused(embedding.finish_lookup(&mut begun, &mut wrong, &mut positions), "weights_len is 7");
    refused(
        embedding.finish_lookup(&mut begun, &mut weights, &mut positions[1..]),
        "positions_len is 299",
    );
    assert_eq!(embedding.finish_lookup(&mut begun, &mut weights, &mut positions).unwrap(), 300);
    refused(embedding.finish_lookup(&mut begun, &mut weights, &mut positions), "is finished");
    assert_eq!(weights, lookup(&embedding, &keys));

    // A lookup outlives what it was begun with.
    let (mut begun, mut weights) = begin(&embedding, &keys);
    drop(embedding);
    refused(other.finish_lookup(&mut begun, &mut weights, &mut positions), "another embedding");
}
