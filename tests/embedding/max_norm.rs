//! max_norm: rows are within it when they are made and after each step, whatever the call, the
//! threads and a replay.

use std::path::Path;

use damo::embedding::{Conflicts, Embedding};
use damo::error::Status;
use damo::params::{Params, Value};
use damo::storage::Storage;

use crate::common::{
    copy_dir, failure, float, initializer, int, lookup, open, optimizer, params, peek, text,
};
use crate::refusal;

const DIM: usize = 12;

/// Adagrad, whose state shows whether it was scaled, on rows of a norm of about 2.
fn limited(storage: &Storage, group: u32, max_norm: Option<f64>) -> Embedding {
    let adagrad = optimizer("adagrad", &[("gamma", float(0.5))]);
    let uniform = initializer("random_uniform", &[("seed", int(5))]);
    let limit = max_norm.map(|limit| ("max_norm", float(limit)));
    let options: Vec<(&str, Value)> =
        [("duplicates", text("sum"))].into_iter().chain(limit).collect();
    Embedding::new(storage.clone(), adagrad, uniform, DIM, group, &params(&options)).unwrap()
}

fn norm(row: &[f32]) -> f64 {
    row.iter().map(|weight| f64::from(*weight).powi(2)).sum::<f64>().sqrt()
}

/// A row that was made smaller.
fn scaled(row: &[f32], max_norm: f64) -> Vec<f32> {
    let factor = (max_norm / (norm(row) + 1e-7)).min(1.0) as f32;
    row.iter().map(|weight| weight * factor).collect()
}

fn assert_near(found: &[f32], expected: &[f32]) {
    let is_near = |(one, other): (&f32, &f32)| (one - other).abs() < 1e-6;
    assert!(found.iter().zip(expected).all(is_near), "{found:?}, {expected:?}");
}

#[test]
fn rows_begin_within_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let (free, bound) = (limited(&storage, 1, None), limited(&storage, 1, Some(0.75)));
    let keys: Vec<i64> = (0..400).collect();
    // The first rows are those of the unlimited ones, made smaller; read one by one and together.
    let made = lookup(&bound, &keys);
    free.clear().unwrap();
    let each: Vec<f32> = keys.iter().flat_map(|key| lookup(&bound, &[*key])).collect();
    assert!(made == each);
    free.clear().unwrap();
    let unlimited = lookup(&free, &keys);
    for (made, unlimited) in made.chunks(DIM).zip(unlimited.chunks(DIM)) {
        assert!(norm(unlimited) > 0.75);
        assert_near(made, &scaled(unlimited, 0.75));
        assert!(norm(made) <= 0.75 * (1.0 + 1e-6));
    }
}

#[test]
fn a_step_is_followed_by_the_limit_and_the_state_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    for (group, count) in [(0, 1), (10, 7), (20, 60), (30, 250), (40, 3_000)] {
        let (free, bound) =
            (limited(&storage, group, None), limited(&storage, group + 1, Some(1.0)));
        let keys: Vec<i64> = (0..count).collect();
        let start = lookup(&bound, &keys);
        free.insert(&keys, &start).unwrap();
        let gradients = vec![-2.0; keys.len() * DIM];
        free.apply_gradients(&keys, &gradients).unwrap();
        bound.apply_gradients(&keys, &gradients).unwrap();
        for key in keys {
            let (free, bound) = (free.record(key).unwrap(), bound.record(key).unwrap());
            assert!(norm(&free.data[..DIM]) > 1.0, "{:?}", free.data);
            assert_near(&bound.data[..DIM], &scaled(&free.data[..DIM], 1.0));
            assert_eq!(bound.data[DIM..], free.data[DIM..]);
        }
    }
}

#[test]
fn rows_that_are_given_stay_until_their_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let bound = limited(&storage, 0, Some(1.0));
    let large = [3.0; DIM];
    bound.insert(&[1], &large).unwrap();
    bound.insert_records(&[2], &[3.0; 2 * DIM], &[4]).unwrap();
    let mut pin = bound.new_pin();
    bound.pin_rows(&[3], &mut pin).unwrap();
    // A pin's new row begins as a lookup would make it.
    assert!(norm(&pin.rows_mut()[..DIM]) < 1.0 + 1e-6);
    pin.rows_mut().fill(3.0);
    pin.commit(Conflicts::Refuse).unwrap();
    for key in [1, 2, 3] {
        assert_eq!(lookup(&bound, &[key]), large);
        bound.apply_gradients(&[key], &[0.0; DIM]).unwrap();
        assert_near(&lookup(&bound, &[key]), &scaled(&large, 1.0));
    }
}

/// Group, key, update count and the bits of the floats.
type Row = (u16, i64, u64, Vec<u32>);

fn rows(storage: &Storage) -> Vec<Row> {
    let (mut rows, mut found) = (storage.rows(None).unwrap(), Vec::new());
    while let Some(row) = rows.next_row().unwrap() {
        let bits = row.data.iter().map(|float| float.to_bits()).collect();
        found.push((row.group, row.key, row.update_num, bits));
    }
    found
}

/// Calls of several sizes under limits that change. Some rows are made by lookups, which are in no
/// journal, others by steps.
fn train(storage: &Storage) {
    for (call, max_norm) in [Some(0.5), None, Some(1.25), Some(0.25)].into_iter().enumerate() {
        for (group, count) in [(0, 30), (1, 600), (2, 5_000)] {
            let embedding = limited(storage, group, max_norm);
            let keys: Vec<i64> = (0..count).map(|key| key * (call as i64 + 1) % 7_001).collect();
            lookup(&embedding, &keys[..keys.len() / 2]);
            let floats = (0..keys.len() * DIM).map(|at| (at * 37 % 23) as f32 / 4.0 - 2.5);
            embedding.apply_gradients(&keys, &floats.collect::<Vec<_>>()).unwrap();
        }
    }
}

fn open_with(dir: &Path, options: &[(&str, Value)]) -> Storage {
    Storage::open(dir, 0, &params(options)).unwrap()
}

#[test]
fn a_replay_has_the_same_bits() {
    for durability in ["process", "power"] {
        let scratch = tempfile::tempdir().unwrap();
        let (dir, copy) = (scratch.path().join("0"), scratch.path().join("copy"));
        let storage = open_with(&dir, &[("durability", text(durability))]);
        train(&storage);
        copy_dir(&dir, &copy);
        let (found, expected) = (rows(&open(&copy)), rows(&storage));
        // Rows that lookups alone have made may be gone, and are made anew.
        let stepped = |rows: Vec<Row>| -> Vec<Row> {
            rows.into_iter().filter(|(_, _, updates, _)| *updates > 0).collect()
        };
        assert!(stepped(found) == stepped(expected), "{durability}");
    }
}

/// Rows that were made without the limit, and never stepped, are in memory only.
#[test]
fn a_replay_knows_which_rows_were_made_before_the_limit() {
    for (before, after) in [(None, Some(0.5)), (Some(0.5), None)] {
        let dir = tempfile::tempdir().unwrap();
        let storage = open_with(dir.path(), &[("durability", text("process"))]);
        let keys: Vec<i64> = (0..400).collect();
        lookup(&limited(&storage, 1, before), &keys);
        let embedding = limited(&storage, 1, after);
        embedding.apply_gradients(&keys, &vec![0.1; keys.len() * DIM]).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), &copy.path().join("killed"));
        let killed = open_with(&copy.path().join("killed"), &[("durability", text("process"))]);
        assert!(rows(&killed) == rows(&storage));
    }
}

#[test]
fn rows_do_not_depend_on_threads() {
    let all = [1, 4].map(|threads| {
        let dir = tempfile::tempdir().unwrap();
        let storage = open_with(dir.path(), &[("threads", int(threads))]);
        train(&storage);
        rows(&storage)
    });
    assert!(all[0] == all[1]);
}

#[test]
fn the_limit_is_stored_with_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let described = |storage: &Storage| storage.describe_groups().unwrap()[0].max_norm;
    let storage = open(dir.path());
    drop(limited(&storage, 0, Some(0.1)));
    assert_eq!(described(&storage), Some(0.1));
    drop(storage);
    let storage = open(dir.path());
    assert_eq!(described(&storage), Some(0.1));
    let free = limited(&storage, 0, None);
    assert_eq!(described(&storage), None);
    assert_eq!(peek(&free, &[1]).1, [0]);
}

#[test]
fn wrong_limits_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    for (value, words) in [
        (float(0.0), "'max_norm' is 0.0 (float); a number > 0 is needed"),
        (int(-2), "'max_norm' is -2 (int); a number > 0 is needed"),
        (text("2"), "'max_norm' is \"2\" (string); a number > 0 is needed"),
    ] {
        let message = refusal(&storage, &params(&[("max_norm", value)]));
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn an_optimizer_without_steps_has_no_limit() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let opened = |options: &Params| {
        let (none, ones) = (optimizer("none", &[]), initializer("ones", &[]));
        Embedding::new(storage.clone(), none, ones, DIM, 3, options)
    };
    let error = failure(opened(&params(&[("max_norm", float(2.0))])), Status::InvalidArgument);
    let expected = "embedding: max_norm is 2.0 and the optimizer is 'none', which takes no steps; \
                    a trainer that changes rows itself limits them itself: leave max_norm out";
    assert_eq!(error.message(), expected);
    assert!(storage.groups().is_empty());
    opened(&Params::new()).unwrap();
}
