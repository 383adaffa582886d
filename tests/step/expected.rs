//! Reads, and calls that are made once, at the step that their caller expects.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use damo::error::{Result, Status};
use damo::kernels::RowsMut;
use damo::step::Step;

use crate::common::{failure, open};
use crate::once::{apply_once, call, clients, ones, three_groups};
use crate::{apply, content, embeddings, look_up};

fn lookup_at(step: &mut Step, steps: &[Option<i64>]) -> Result<Vec<Vec<f32>>> {
    let (mut outputs, dims) = (ones(step), step.dims(step.parts())?);
    let given = outputs.iter_mut().zip(dims);
    let rows = given.map(|(rows, dim)| RowsMut::new(rows, dim, dim).unwrap()).collect();
    step.lookup_at(steps, rows).map(|()| outputs)
}

#[test]
fn a_call_is_made_at_the_expected_step_only() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let mut step = three_groups(&storage, &all);
    all[0].set_step(5).unwrap();
    let before = content(&storage);
    let refused = |step: &mut Step, expected: &[Option<i64>], words: &str| {
        let error = failure(apply_once(step, call(1, 1), expected), Status::StepMismatch);
        assert_eq!(error.message(), words);
    };
    refused(
        &mut step,
        &[None, Some(6), None],
        "expected[1] is 6, and the global step of group 0 is 5; the call was not made",
    );
    refused(
        &mut step,
        &[Some(1), Some(5), Some(0)],
        "expected[0] is 1, and the global step of group 3 is 0; the call was not made",
    );
    let single = |expected| all[0].apply_gradients_once(call(1, 1), expected, &[1], &[1.0; 4]);
    let error = failure(single(Some(4)), Status::StepMismatch);
    let words = "expected is 4, and the global step of group 0 is 5; the call was not made";
    assert_eq!(error.message(), words);
    assert!(content(&storage) == before && clients(&storage).is_empty());
    assert!(apply_once(&mut step, call(1, 1), &[Some(0), Some(5), None]).unwrap());
    // The step is not compared for a call that is stored.
    assert!(!apply_once(&mut step, call(1, 1), &[Some(0), Some(5), None]).unwrap());
    assert!(!single(Some(77)).unwrap());
}

#[test]
fn a_read_is_made_at_the_expected_step_only() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let mut step = three_groups(&storage, &all);
    all[1].set_step(8).unwrap();
    let error = failure(lookup_at(&mut step, &[Some(0), None, Some(7)]), Status::StepMismatch);
    let words = "steps[2] is 7, and the global step of group 1 is 8; the call was not made";
    assert_eq!(error.message(), words);
    assert_eq!(content(&storage).0, [], "no row was made");
    let found = lookup_at(&mut step, &[Some(0), None, Some(8)]).unwrap();
    assert_eq!(found, look_up(&mut step, &[2, 2, 2]).unwrap());
    let mut weights = [f32::NAN; 4];
    let error = failure(all[0].lookup_at(3, &[1], &mut weights), Status::StepMismatch);
    let words = "step is 3, and the global step of group 0 is 0; the call was not made";
    assert_eq!(error.message(), words);
    assert!(weights[0].is_nan());
    all[0].lookup_at(0, &[1], &mut weights).unwrap();
    assert_eq!(weights, found[1][..4]);
}

#[test]
fn lists_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let mut step = three_groups(&storage, &all);
    step.add(&all[0], &[5, 6], None).unwrap();
    let steps = [None, Some(0), None, Some(1)];
    let words = "expected[1] is 0 and expected[3] is 1, and both parts are of group 0; one step";
    let error = failure(apply_once(&mut step, call(1, 1), &steps), Status::InvalidArgument);
    assert!(error.message().contains(words), "{error}");
    let error = failure(lookup_at(&mut step, &steps), Status::InvalidArgument);
    assert!(error.message().contains("steps[1] is 0 and steps[3] is 1"), "{error}");
    let error = failure(lookup_at(&mut step, &[None]), Status::InvalidArgument);
    assert!(error.message().contains("parts_len is 1 and the step has 4 parts"), "{error}");
    assert!(apply_once(&mut step, call(1, 1), &[None, Some(0), None, Some(0)]).unwrap());
    // A sequence that some groups have stored is another call's.
    all[0].apply_gradients_once(call(1, 4), None, &[1], &[1.0; 4]).unwrap();
    let before = content(&storage);
    let error = failure(apply_once(&mut step, call(1, 3), &[]), Status::InvalidArgument);
    let words = "sequence is 3, and the latest of client 1 is 4 in group 0 and 1 in group 1: a";
    assert!(error.message().contains(words), "{error}");
    let mut other = Step::new(storage.clone());
    other.add(&all[0], &[1, 2], None).unwrap();
    other.add(&all[4], &[1, 2], None).unwrap();
    let error = failure(apply_once(&mut other, call(1, 4), &[]), Status::InvalidArgument);
    assert!(error.message().contains("is 4 in group 0 and none in group 4: a"), "{error}");
    assert!(content(&storage) == before);
    assert!(apply_once(&mut other, call(1, 5), &[]).unwrap());
}

/// Each row has as many updates as the step that was asked for.
#[test]
fn a_read_at_a_step_sees_that_step_beside_others() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let keys: Vec<i64> = (0..500).collect();
    let mut step = Step::new(storage.clone());
    [1, 2].iter().for_each(|group| step.add(&all[*group], &keys, None).unwrap());
    let gradients = [vec![1.0; 500 * 8], vec![1.0; 500 * 16]];
    let fresh = look_up(&mut step, &[500, 500]).unwrap().remove(0);
    let (is_over, read) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut step = Step::new(storage.clone());
                [1, 2].iter().for_each(|group| step.add(&all[*group], &keys, None).unwrap());
                let mut outputs = [vec![0.0f32; 500 * 8], vec![0.0f32; 500 * 16]];
                while !is_over.load(Ordering::SeqCst) {
                    let at = all[1].step().unwrap();
                    let given = outputs.iter_mut().zip([8, 16]);
                    let rows = given.map(|(rows, dim)| RowsMut::new(rows, dim, dim).unwrap());
                    match step.lookup_at(&[Some(at), Some(at)], rows.collect()) {
                        Ok(()) => {
                            // sgd moves each weight by the same amount.
                            let wanted = 0.05 * at as f32;
                            let moved = outputs[0].iter().zip(&fresh).map(|(now, then)| then - now);
                            moved.for_each(|moved| assert!((moved - wanted).abs() < 1e-3));
                            read.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(error) => assert_eq!(error.status(), Status::StepMismatch),
                    }
                }
            });
        }
        let plain = scope.spawn(|| {
            for _ in 0..100 {
                apply(&mut step, &gradients).unwrap();
            }
        });
        plain.join().unwrap();
        is_over.store(true, Ordering::SeqCst);
    });
    println!("{} lookups at a step", read.into_inner());
    assert_eq!(content(&storage).1[1..3], [100, 100]);
}
