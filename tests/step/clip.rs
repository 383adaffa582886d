//! Clipped gradients: the limits, the norm, and that retries and replay have the same ones.

use damo::error::Status;
use damo::params::Params;
use damo::step::Step;

use crate::common::{copy_dir, failure, float, lookup, open, params};
use crate::{apply, content, embeddings};

/// sgd of group 1 (dim 8, rate .05) shows what its gradient was.
fn applied(clip: &[(&str, f64)], gradients: &[[f32; 8]]) -> (Vec<Vec<f32>>, Step) {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let clip: Vec<_> = clip.iter().map(|(name, limit)| (*name, float(*limit))).collect();
    let mut step = Step::with_options(storage, &params(&clip)).unwrap();
    let keys: Vec<i64> = (0..gradients.len() as i64).collect();
    step.add(&all[1], &keys, None).unwrap();
    step.add(&all[0], &[3], None).unwrap();
    let before = lookup(&all[1], &keys);
    apply(&mut step, &[gradients.concat(), vec![3.0; 4]]).unwrap();
    let after = lookup(&all[1], &keys);
    let rows = before.chunks(8).zip(after.chunks(8));
    let seen = |(before, after): (&[f32], &[f32])| -> Vec<f32> {
        before.iter().zip(after).map(|(before, after)| (before - after) / 0.05).collect()
    };
    (rows.map(seen).collect(), step)
}

fn assert_near(found: &[f32], expected: &[f32]) {
    let is_near = |(one, other): (&f32, &f32)| (one - other).abs() < 1e-4;
    assert!(found.iter().zip(expected).all(is_near), "{found:?}, {expected:?}");
}

#[test]
fn limits_are_those_of_values_rows_and_the_whole() {
    let gradients = [[3.0; 8], [-0.5; 8]];
    let (seen, step) = applied(&[("clip_value", 2.0)], &gradients);
    assert_near(&seen.concat(), &[[2.0; 8], [-0.5; 8]].concat());
    failure(step.gradient_norm(), Status::InvalidArgument);
    // The norm of a row is 3 * sqrt(8); the second one is within the limit.
    let (seen, _) = applied(&[("clip_row_norm", 4.0)], &gradients);
    assert_near(&seen.concat(), &[[4.0 / 8f32.sqrt(); 8], [-0.5; 8]].concat());
    // 8 * 9 + 8 / 4 and, of group 0, 4 * 9: the norm is over both groups.
    let (seen, step) = applied(&[("clip_norm", 2.0)], &gradients);
    let norm = 110f64.sqrt();
    assert!((step.gradient_norm().unwrap() - norm).abs() < 1e-9);
    let factor = (2.0 / norm) as f32;
    assert_near(&seen.concat(), &[[3.0 * factor; 8], [-0.5 * factor; 8]].concat());
    let (seen, step) = applied(&[("clip_norm", 1e30)], &gradients);
    assert_near(&seen.concat(), &gradients.concat());
    assert!((step.gradient_norm().unwrap() - norm).abs() < 1e-9);
}

#[test]
fn the_norm_is_that_of_sums_and_does_not_depend_on_threads() {
    let dirs = [1, 4].map(|threads| (threads, tempfile::tempdir().unwrap()));
    let norms = dirs.map(|(threads, dir)| {
        let options = params(&[("threads", damo::params::Value::Int(threads))]);
        let storage = damo::storage::Storage::open(dir.path(), 0, &options).unwrap();
        let all = embeddings(&storage, &[]);
        let mut step = Step::with_options(storage, &params(&[("clip_norm", float(1.0))])).unwrap();
        let keys: Vec<i64> = (0..9_000).map(|key| key % 4_000).collect();
        let mut gradients = Vec::new();
        for group in [3, 0, 2] {
            step.add(&all[group], &keys, None).unwrap();
            let floats = (0..9_000 * all[group].dim()).map(|at| (at % 7) as f32 - 3.0);
            gradients.push(floats.collect::<Vec<_>>());
        }
        apply(&mut step, &gradients).unwrap();
        step.gradient_norm().unwrap()
    });
    assert_eq!(norms[0].to_bits(), norms[1].to_bits());
}

#[test]
fn what_is_replayed_is_clipped_once() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("0");
    let storage = open(&dir);
    let all = embeddings(&storage, &[]);
    let clip = params(&[("clip_norm", float(0.5)), ("clip_value", float(0.1))]);
    let mut step = Step::with_options(storage.clone(), &clip).unwrap();
    all.iter().for_each(|embedding| step.add(embedding, &[1, 2, 300], None).unwrap());
    for _ in 0..3 {
        let gradients: Vec<_> =
            all.iter().map(|embedding| vec![1.0; 3 * embedding.dim()]).collect();
        apply(&mut step, &gradients).unwrap();
    }
    let copy = scratch.path().join("copy");
    copy_dir(&dir, &copy);
    assert!(content(&open(&copy)) == content(&storage));
}

#[test]
fn wrong_limits_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let of = |options: &Params| {
        failure(Step::with_options(storage.clone(), options), Status::InvalidArgument)
    };
    for limit in [0.0, -1.0] {
        let error = of(&params(&[("clip_norm", float(limit))]));
        assert!(error.message().contains("step: parameter 'clip_norm'"), "{error}");
    }
    let error = of(&params(&[("clip", float(1.0))]));
    assert!(error.message().contains("step has no parameter 'clip'"), "{error}");
}
