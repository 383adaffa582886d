//! An embedding's limits of gradients: in every call that applies some, after those of a key were
//! merged. They are what PyTorch's are, do not depend on the threads, and are not applied again by
//! a replay.

use std::sync::Arc;

use damo::embedding::Embedding;
use damo::filter::Filter;
use damo::kernels::Rows;
use damo::params::Value;
use damo::step::Step;
use damo::storage::Storage;
use serde::Deserialize;

use crate::common::{
    copy_dir, float, initializer, int, lookup, open, optimizer, params, peek, sgd, text,
};
use crate::refusal;

/// A limit of each kind.
const LIMITS: [&str; 3] = ["clip_value", "clip_row_norm", "clip_norm"];

#[derive(Deserialize)]
struct Golden {
    rate: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    dim: usize,
    limits: std::collections::BTreeMap<String, f64>,
    first: Vec<f32>,
    steps: Vec<GoldenStep>,
    last: Vec<f32>,
}

#[derive(Deserialize)]
struct GoldenStep {
    keys: Vec<i64>,
    rows: Vec<f32>,
    gradients: Vec<f32>,
}

fn assert_near(found: &[f32], expected: &[f32], number: usize) {
    let is_near = |(one, other): (&f32, &f32)| (one - other).abs() < 1e-6;
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(expected).all(is_near), "case {number}: {found:?}, {expected:?}");
}

#[test]
fn limits_are_those_of_pytorch() {
    let golden: Golden =
        serde_json::from_str(include_str!("../golden/conditioned_steps.json")).unwrap();
    for (number, case) in golden.cases.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        let limits = case.limits.iter().map(|(name, limit)| (&**name, float(*limit)));
        let options: Vec<_> = limits.chain([("duplicates", text("sum"))]).collect();
        let embedding = sgd(&storage, case.dim, golden.rate, &options);
        let all: Vec<i64> = (0..(case.first.len() / case.dim) as i64).collect();
        embedding.insert(&all, &case.first).unwrap();
        for step in &case.steps {
            assert_near(&lookup(&embedding, &step.keys), &step.rows, number);
            embedding.apply_gradients(&step.keys, &step.gradients).unwrap();
        }
        assert_near(&lookup(&embedding, &all), &case.last, number);
    }
}

/// Keys, of which some occur twice, and their gradients.
fn batch(len: i64, dim: usize) -> (Vec<i64>, Vec<f32>) {
    let keys: Vec<i64> = (0..len).map(|key| key * 7 % (len * 2 / 3 + 1)).collect();
    let floats = (0..keys.len() * dim).map(|at| (at * 37 % 23) as f32 / 4.0 - 2.5);
    (keys, floats.collect())
}

/// What sgd with the rate 1 makes of rows of zeros, with the limits 3, 4 and 5: a plain loop.
fn model(keys: &[i64], gradients: &[f32], dim: usize) -> Vec<(i64, Vec<f64>)> {
    let mut sums: Vec<(i64, Vec<f64>)> = Vec::new();
    for (key, gradient) in keys.iter().zip(gradients.chunks_exact(dim)) {
        let index = sums.iter().position(|(known, _)| known == key).unwrap_or(sums.len());
        if index == sums.len() {
            sums.push((*key, vec![0.0; dim]));
        }
        sums[index].1.iter_mut().zip(gradient).for_each(|(sum, float)| *sum += f64::from(*float));
    }
    let norm = |floats: &[f64]| floats.iter().map(|float| float * float).sum::<f64>().sqrt();
    for (_, sum) in &mut sums {
        sum.iter_mut().for_each(|float| *float = float.clamp(-3.0, 3.0));
        let factor = (4.0 / (norm(sum) + 1e-6)).min(1.0);
        sum.iter_mut().for_each(|float| *float *= factor);
    }
    let all = sums.iter().map(|(_, sum)| norm(sum).powi(2)).sum::<f64>().sqrt();
    let factor = (5.0 / (all + 1e-6)).min(1.0);
    sums.iter_mut().for_each(|(_, sum)| sum.iter_mut().for_each(|float| *float *= -factor));
    sums
}

fn clipped(storage: &Storage, dim: usize, group: u32, more: &[(&str, Value)]) -> Embedding {
    let (sgd, zeros) = (optimizer("sgd", &[("gamma", float(1.0))]), initializer("zeros", &[]));
    let limits = LIMITS.into_iter().zip([3.0, 4.0, 5.0]);
    let options: Vec<_> = limits
        .map(|(name, limit)| (name, float(limit)))
        .chain([("duplicates", text("sum"))])
        .chain(more.iter().cloned())
        .collect();
    Embedding::new(storage.clone(), sgd, zeros, dim, group, &params(&options)).unwrap()
}

fn assert_is(embedding: &Embedding, expected: &[(i64, Vec<f64>)]) {
    for (key, row) in expected {
        let found = lookup(embedding, &[*key]);
        let is_near = |(one, other): (&f32, &f64)| (f64::from(*one) - other).abs() < 1e-5;
        assert!(found.iter().zip(row).all(is_near), "key {key}: {found:?}, {row:?}");
    }
}

/// Few keys hold their rows, more of them take turns, and a filter or a step go ways of their own.
#[test]
fn every_path_has_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    for (group, len) in [(0, 1), (10, 6), (20, 60), (30, 250), (40, 3_000), (50, 9_000)] {
        let (keys, gradients) = batch(len, 8);
        let expected = model(&keys, &gradients, 8);
        let alone = clipped(&storage, 8, group, &[]);
        alone.apply_gradients(&keys, &gradients).unwrap();
        assert_is(&alone, &expected);
        // Rows that are resident.
        let again = clipped(&storage, 8, group + 1, &[]);
        lookup(&again, &keys);
        again.apply_gradients(&keys, &gradients).unwrap();
        assert_is(&again, &expected);
        let of_step = Arc::new(clipped(&storage, 8, group + 2, &[]));
        let mut step = Step::new(storage.clone());
        step.add(&of_step, &keys, None).unwrap();
        step.apply_gradients(&[Rows::new(&gradients, 8, 8).unwrap()]).unwrap();
        assert_is(&of_step, &expected);
        // Of the first half of the keys there are no rows, and none is admitted.
        let filtered = clipped(&storage, 8, group + 3, &[]);
        let path = dir.path().with_extension(format!("{group}.filter"));
        let options = params(&[("path", text(path.to_str().unwrap())), ("capacity", int(100_000))]);
        let (held_back, admitted): (Vec<i64>, Vec<i64>) = {
            let distinct: Vec<i64> = expected.iter().map(|(key, _)| *key).collect();
            let (first, second) = distinct.split_at(distinct.len() / 2);
            (first.to_vec(), second.to_vec())
        };
        lookup(&filtered, &admitted);
        filtered.set_filter(Some(Arc::new(Filter::open(&options).unwrap()))).unwrap();
        filtered.apply_gradients(&keys, &gradients).unwrap();
        let applied: Vec<(i64, &[f32])> = keys
            .iter()
            .zip(gradients.chunks_exact(8))
            .filter(|(key, _)| admitted.contains(key))
            .map(|(key, gradient)| (*key, gradient))
            .collect();
        let keys: Vec<i64> = applied.iter().map(|(key, _)| *key).collect();
        let gradients: Vec<f32> =
            applied.iter().flat_map(|(_, gradient)| gradient.iter().copied()).collect();
        assert_is(&filtered, &model(&keys, &gradients, 8));
        assert!(peek(&filtered, &held_back).1.iter().all(|found| *found == 0));
        filtered.set_filter(None).unwrap();
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_step_clips_after_its_embeddings() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = [0, 1].map(|group| Arc::new(clipped(&storage, 2, group, &[])));
    let mut step = Step::with_options(storage, &params(&[("clip_norm", float(1.0))])).unwrap();
    all.iter().for_each(|embedding| step.add(embedding, &[1], None).unwrap());
    let gradients = [9.0; 2];
    step.apply_gradients(&[Rows::new(&gradients, 2, 2).unwrap(); 2]).unwrap();
    // (9, 9) becomes (3, 3), whose norm becomes 4. There are two of them.
    let norm = 32f64.sqrt();
    assert!((step.gradient_norm().unwrap() - norm).abs() < 1e-5);
    let each = -(8f64.sqrt()) / norm;
    all.iter().for_each(|embedding| assert_is(embedding, &[(1, vec![each; 2])]));
}

#[test]
fn each_step_of_sequential_duplicates_is_clipped() {
    let dir = tempfile::tempdir().unwrap();
    let embedding = sgd(&open(dir.path()), 1, 1.0, &[("clip_value", float(0.5))]);
    embedding.apply_gradients(&[7, 7, 7], &[2.0, 3.0, -0.25]).unwrap();
    assert_eq!(lookup(&embedding, &[7]), [1.0 - 0.5 - 0.5 + 0.25]);
}

#[test]
fn sums_are_not_clipped() {
    let dir = tempfile::tempdir().unwrap();
    let embedding = clipped(&open(dir.path()), 1, 0, &[]);
    let (mut keys, mut sums) = ([0; 2], [0.0; 2]);
    let summed = embedding.sum_gradients(&[1, 1], &[6.0, 3.0], &mut keys, &mut sums).unwrap();
    assert_eq!((summed.keys, summed.norm, summed.largest, sums[0]), (1, 9.0, 9.0, 9.0));
}

/// Group, key and the bits of the floats.
type Row = (u16, i64, Vec<u32>);

/// All rows, and the groups' steps.
fn content(storage: &Storage) -> (Vec<Row>, Vec<i64>) {
    let (mut rows, mut found) = (storage.rows(None).unwrap(), Vec::new());
    while let Some(row) = rows.next_row().unwrap() {
        found.push((row.group, row.key, row.data.iter().map(|float| float.to_bits()).collect()));
    }
    (found, storage.groups().iter().map(|group| group.step()).collect())
}

fn train(storage: &Storage) {
    for (group, len) in [(0, 40), (1, 700), (2, 9_000)] {
        let embedding = clipped(storage, 8, group, &[]);
        for _ in 0..3 {
            let (keys, gradients) = batch(len, 8);
            embedding.apply_gradients(&keys, &gradients).unwrap();
        }
    }
}

#[test]
fn rows_do_not_depend_on_threads() {
    let contents = [1, 4].map(|threads| {
        let dir = tempfile::tempdir().unwrap();
        let options = params(&[("threads", int(threads))]);
        let storage = Storage::open(dir.path(), 0, &options).unwrap();
        train(&storage);
        content(&storage)
    });
    assert!(contents[0] == contents[1]);
}

#[test]
fn what_is_replayed_is_clipped_once() {
    for durability in ["process", "power"] {
        let scratch = tempfile::tempdir().unwrap();
        let (dir, copy) = (scratch.path().join("0"), scratch.path().join("copy"));
        let storage = Storage::open(&dir, 0, &params(&[("durability", text(durability))])).unwrap();
        train(&storage);
        copy_dir(&dir, &copy);
        // Nobody opens the groups again with their limits.
        assert!(content(&open(&copy)) == content(&storage), "{durability}");
    }
}

#[test]
fn wrong_limits_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    for name in LIMITS {
        for limit in [0.0, -1.0] {
            let message = refusal(&storage, &params(&[(name, float(limit))]));
            let expected = format!(
                "embedding: parameter '{name}' is {limit:?} (float); a number > 0 is needed"
            );
            assert_eq!(message, expected);
        }
        let message = refusal(&storage, &params(&[(name, text("1"))]));
        assert!(message.contains("(string); a number > 0 is needed"), "{message}");
    }
    assert_eq!(storage.groups().len(), 0);
}
