//! Calls with gradients that are NaN, infinite or too large: refused, or skipped and counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use damo::embedding::{CallId, Embedding};
use damo::error::Status;
use damo::filter::Filter;
use damo::params::Value;
use damo::storage::Storage;

use crate::common::{
    copy_dir, failure, float, initializer, int, lookup, open, optimizer, params, peek, sgd, text,
};

const DIM: usize = 4;
const WRONG: [f32; 5] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2e18, -1.1e18];

fn skipping(storage: &Storage, more: &[(&str, Value)]) -> Embedding {
    let options = [("non_finite", text("skip")), ("duplicates", text("sum"))];
    sgd(storage, DIM, 1.0, &[&options, more].concat())
}

/// Keys, and gradients of which the one in the middle is wrong.
fn wrong(count: i64, float: f32) -> (Vec<i64>, Vec<f32>) {
    let mut gradients = vec![1.0; count as usize * DIM];
    let middle = gradients.len() / 2;
    gradients[middle] = float;
    ((0..count).collect(), gradients)
}

#[test]
fn a_skipped_call_changes_nothing_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = skipping(&storage, &[]);
    embedding.apply_gradients(&[0, 1, 2], &[0.5; 3 * DIM]).unwrap();
    let (step, bytes) = (embedding.step().unwrap(), storage.stat("journal_bytes").unwrap());
    let before = peek(&embedding, &[0, 1, 2, 3]);
    let mut skipped = 0;
    for count in [1, 7, 60, 250, 3_000] {
        for float in WRONG {
            let (keys, gradients) = wrong(count, float);
            embedding.apply_gradients(&keys, &gradients).unwrap();
            skipped += 1;
            assert_eq!(storage.stat("steps_skipped").unwrap(), skipped);
        }
        // Gradients within the limit, whose sum is beyond it.
        let (mut keys, mut gradients) = wrong(count, 9e17);
        keys.extend_from_within(..);
        gradients.extend_from_within(..);
        embedding.apply_gradients(&keys, &gradients).unwrap();
        skipped += 1;
    }
    assert_eq!(storage.stat("steps_skipped").unwrap(), skipped);
    assert_eq!(storage.stat("rows_updated").unwrap(), 3);
    assert_eq!(peek(&embedding, &[0, 1, 2, 3]), before);
    assert_eq!(embedding.step().unwrap(), step);
    assert_eq!(storage.stat("journal_bytes").unwrap(), bytes);
    embedding.apply_gradients(&[3], &[0.5; DIM]).unwrap();
    assert_eq!((lookup(&embedding, &[3]), embedding.step().unwrap()), (vec![0.5; DIM], step + 1));
    assert_eq!(storage.stat("steps_skipped").unwrap(), skipped);
}

#[test]
fn calls_are_refused_without_the_option_and_the_padding_key_may_have_any() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    for options in [&[][..], &[("non_finite", text("refuse"))]] {
        let embedding = sgd(&storage, DIM, 1.0, options);
        for float in WRONG {
            let (keys, gradients) = wrong(7, float);
            let error =
                failure(embedding.apply_gradients(&keys, &gradients), Status::InvalidArgument);
            assert!(error.message().contains("the gradient of key 3"), "{error}");
        }
        assert_eq!((embedding.step().unwrap(), storage.stat("steps_skipped").unwrap()), (0, 0));
    }
    let padded = skipping(&storage, &[("padding_key", int(3))]);
    let (keys, gradients) = wrong(7, f32::NAN);
    padded.apply_gradients(&keys, &gradients).unwrap();
    assert_eq!((padded.step().unwrap(), storage.stat("steps_skipped").unwrap()), (1, 0));
    assert_eq!(lookup(&padded, &[2, 4]), [0.0; 2 * DIM]);
}

#[test]
fn clipping_makes_no_wrong_gradient_right_and_sums_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let limits = [("clip_value", float(1.0)), ("clip_norm", float(1.0))];
    let embedding = skipping(&storage, &limits);
    embedding.apply_gradients(&[1], &[f32::INFINITY; DIM]).unwrap();
    assert_eq!((embedding.step().unwrap(), storage.stat("steps_skipped").unwrap()), (0, 1));
    let summed = embedding.sum_gradients(&[1], &[f32::NAN; DIM], &mut [0], &mut [0.0; DIM]);
    failure(summed, Status::InvalidArgument);
    assert_eq!(storage.stat("steps_skipped").unwrap(), 1);
}

#[test]
fn with_a_filter_a_wrong_gradient_of_any_key_skips_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = skipping(&storage, &[]);
    lookup(&embedding, &[1, 2]);
    let path = dir.path().with_extension("filter");
    let options = params(&[("path", text(path.to_str().unwrap())), ("capacity", int(1_000))]);
    embedding.set_filter(Some(Arc::new(Filter::open(&options).unwrap()))).unwrap();
    // Key 9 has no row, and is not admitted.
    for wrong in [0, 2 * DIM] {
        let mut gradients = [1.0; 3 * DIM];
        gradients[wrong] = f32::NAN;
        embedding.apply_gradients(&[1, 2, 9], &gradients).unwrap();
    }
    assert_eq!((embedding.step().unwrap(), storage.stat("steps_skipped").unwrap()), (0, 2));
    embedding.apply_gradients(&[1, 2, 9], &[1.0; 3 * DIM]).unwrap();
    assert_eq!(peek(&embedding, &[1, 2, 9]), (vec![0.0; 3 * DIM], vec![1, 1, 0]));
    embedding.set_filter(None).unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_poisoned_group_refuses_a_call_that_would_be_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = skipping(&storage, &[]);
    assert!(catch_unwind(AssertUnwindSafe(|| embedding.panic_for_test())).is_err());
    let call = CallId { client: 1, sequence: 1 };
    for count in [1, 60, 3_000] {
        let (keys, gradients) = wrong(count, f32::NAN);
        failure(embedding.apply_gradients(&keys, &gradients), Status::Poisoned);
        let once = embedding.apply_gradients_once(call, None, &keys, &gradients);
        failure(once, Status::Poisoned);
    }
    assert_eq!(storage.stat("steps_skipped").unwrap(), 0);
}

#[test]
fn a_replay_knows_nothing_of_skipped_calls() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, copy) = (scratch.path().join("0"), scratch.path().join("copy"));
    let storage = open(&dir);
    let embedding = skipping(&storage, &[]);
    for call in 0..20 {
        let (keys, gradients) = wrong(50, if call % 3 == 0 { f32::NAN } else { 2.0 });
        embedding.apply_gradients(&keys, &gradients).unwrap();
    }
    copy_dir(&dir, &copy);
    let again = open(&copy);
    let replayed = skipping(&again, &[]);
    let keys: Vec<i64> = (0..50).collect();
    assert_eq!(peek(&replayed, &keys), peek(&embedding, &keys));
    assert_eq!((replayed.step().unwrap(), embedding.step().unwrap()), (13, 13));
    assert_eq!(again.stat("steps_skipped").unwrap(), 0);
}

#[test]
fn other_words_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    for (value, given) in [(text("drop"), "\"drop\" (string)"), (int(1), "1 (int)")] {
        let (adam, ones) = (optimizer("adam", &[]), initializer("ones", &[]));
        let options = params(&[("non_finite", value)]);
        let opened = Embedding::new(storage.clone(), adam, ones, 1, 0, &options);
        let error = failure(opened, Status::InvalidArgument);
        let expected = format!(
            "embedding: parameter 'non_finite' is {given}; one of 'refuse', 'skip' is needed"
        );
        assert_eq!(error.message(), expected);
    }
}
