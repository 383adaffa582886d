//! Steps with wrong gradients: skipped whole, or refused, as the step or its embeddings say.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use damo::bags::Pooling;
use damo::embedding::{CallId, Embedding};
use damo::error::Status;
use damo::filter::Filter;
use damo::step::Step;
use damo::storage::Storage;

use crate::common::{
    copy_dir, failure, float, initializer, int, lookup, open, optimizer, params, text,
};
use crate::{apply, bags, content, embeddings};

/// Groups 0, 1 and 2 with dims 2, 3 and 4, and what each does with wrong gradients.
fn groups(storage: &Storage, non_finite: [Option<&str>; 3]) -> Vec<Arc<Embedding>> {
    let group = |(number, word): (u32, Option<&str>)| {
        let (adam, ones) = (optimizer("adam", &[]), initializer("ones", &[]));
        let word = word.map(|word| ("non_finite", text(word)));
        let options = params(&word.into_iter().collect::<Vec<_>>());
        let dim = number as usize + 2;
        Embedding::new(storage.clone(), adam, ones, dim, number, &options).map(Arc::new).unwrap()
    };
    (0..).zip(non_finite).map(group).collect()
}

/// Gradients of three keys of each group. Those of the groups `wrong` have a NaN.
fn gradients(wrong: &[usize]) -> Vec<Vec<f32>> {
    let of = |group: usize| {
        let mut floats = vec![0.5; 3 * (group + 2)];
        floats[group + 2] = if wrong.contains(&group) { f32::NAN } else { 1.0 };
        floats
    };
    (0..3).map(of).collect()
}

fn step(storage: &Storage, all: &[Arc<Embedding>], option: Option<&str>) -> Step {
    let options: Vec<_> = option.into_iter().map(|word| ("non_finite", text(word))).collect();
    let mut step = Step::with_options(storage.clone(), &params(&options)).unwrap();
    all.iter().for_each(|embedding| step.add(embedding, &[1, 2, 3], None).unwrap());
    step
}

#[test]
fn the_step_decides_before_its_embeddings_and_is_skipped_whole() {
    let (skip, refuse) = (Some("skip"), Some("refuse"));
    for (of_step, of_groups, wrong, is_skipped) in [
        (skip, [None; 3], &[1][..], true),
        (skip, [refuse; 3], &[0, 1, 2], true),
        (refuse, [skip; 3], &[1], false),
        (None, [None; 3], &[1], false),
        (None, [skip; 3], &[0, 2], true),
        (None, [None, skip, None], &[1], true),
        (None, [None, skip, None], &[0, 1], false),
        (None, [skip, None, None], &[0, 1], false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        let all = groups(&storage, of_groups);
        let mut step = step(&storage, &all, of_step);
        apply(&mut step, &gradients(&[])).unwrap();
        assert!(!step.skipped());
        let before = content(&storage);
        let outcome = apply(&mut step, &gradients(wrong));
        assert_eq!(step.skipped(), is_skipped);
        if is_skipped {
            outcome.unwrap();
        } else {
            let refuses = |group: &&usize| of_step.or(of_groups[**group]) != skip;
            let first = wrong.iter().find(refuses).unwrap();
            let words = format!("gradients[{first}], row 1, column 0 is NaN");
            let error = failure(outcome, Status::InvalidArgument);
            assert!(error.message().contains(&words), "{error}");
        }
        assert_eq!(storage.stat("steps_skipped").unwrap(), u64::from(is_skipped));
        assert!(content(&storage) == before);
        apply(&mut step, &gradients(&[])).unwrap();
        assert!(!step.skipped());
        assert!(all.iter().all(|embedding| embedding.step().unwrap() == 2));
    }
}

/// A step of one group is an ordinary call, unless its gradients are clipped, a filter holds keys
/// back, or they come from bags.
#[test]
fn steps_of_one_group_are_skipped_too() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = groups(&storage, [None; 3]);
    for (number, option) in [None, Some(("clip_norm", float(1.0)))].into_iter().enumerate() {
        let mut options = vec![("non_finite", text("skip"))];
        options.extend(option);
        let mut step = Step::with_options(storage.clone(), &params(&options)).unwrap();
        assert!(!step.skipped());
        step.add(&all[0], &[1, 2], None).unwrap();
        apply(&mut step, &[vec![1.0, 1.0, f32::INFINITY, 1.0]]).unwrap();
        assert!(step.skipped());
        match step.gradient_norm() {
            Ok(norm) => assert!(number == 1 && norm.is_nan()),
            Err(_) => assert_eq!(number, 0),
        }
        step.clear();
        step.add(&all[1], &[1, 2, 2], Some(bags(&[0, 1], Pooling::Sum))).unwrap();
        apply(&mut step, &[vec![1.0, 1.0, 1.0, 9e17, 0.0, 0.0]]).unwrap();
        assert!(step.skipped(), "a sum is beyond the limit");
        apply(&mut step, &[vec![1.0; 6]]).unwrap();
        assert!(!step.skipped());
    }
    assert_eq!(storage.stat("steps_skipped").unwrap(), 4);
    assert_eq!((all[0].step().unwrap(), all[1].step().unwrap()), (0, 2));
    let path = dir.path().with_extension("filter");
    let options = params(&[("path", text(path.to_str().unwrap())), ("capacity", int(1_000))]);
    lookup(&all[2], &[1]);
    all[2].set_filter(Some(Arc::new(Filter::open(&options).unwrap()))).unwrap();
    let mut step = step(&storage, &all, Some("skip"));
    for wrong in [0, 4] {
        let mut gradients = gradients(&[]);
        gradients[2][wrong] = f32::NAN;
        apply(&mut step, &gradients).unwrap();
        assert!(step.skipped());
    }
    all[2].set_filter(None).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(storage.stat("steps_skipped").unwrap(), 6);
}

/// Gradients of keys that a filter may hold back are looked at after the others.
#[test]
fn a_filter_does_not_hide_that_its_embedding_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = groups(&storage, [Some("skip"), None, None]);
    lookup(&all[1], &[7]);
    let path = dir.path().with_extension("filter");
    let options = params(&[("path", text(path.to_str().unwrap())), ("capacity", int(1_000))]);
    all[1].set_filter(Some(Arc::new(Filter::open(&options).unwrap()))).unwrap();
    let mut mixed = step(&storage, &all, None);
    let error = failure(apply(&mut mixed, &gradients(&[0, 1])), Status::InvalidArgument);
    assert!(error.message().contains("gradients[1], row 1, column 0 is NaN"), "{error}");
    assert!(!mixed.skipped());
    apply(&mut mixed, &gradients(&[0])).unwrap();
    assert!(mixed.skipped());
    assert_eq!(storage.stat("steps_skipped").unwrap(), 1);
    // A sum is one only for a key that gets a step: key 8 has no row, and is not admitted.
    mixed.clear();
    mixed.add(&all[0], &[1], None).unwrap();
    mixed.add(&all[1], &[7, 7, 8, 8], None).unwrap();
    let (wrong, large) = (vec![f32::NAN; 2], vec![9e17; 6]);
    let sums = |of_seven, of_eight| [wrong.clone(), [of_seven, of_eight].concat()];
    let call = apply(&mut mixed, &sums(large.clone(), vec![1.0; 6]));
    let error = failure(call, Status::InvalidArgument);
    assert!(error.message().contains("the gradients of key 7 add up"), "{error}");
    apply(&mut mixed, &sums(vec![1.0; 6], large)).unwrap();
    assert!(mixed.skipped());
    assert!(all.iter().all(|embedding| embedding.step().unwrap() == 0));
    all[1].set_filter(None).unwrap();
    std::fs::remove_file(path).unwrap();
}

/// An embedding that skips is not what a step is refused for.
#[test]
fn a_refusal_is_not_explained_by_gradients_that_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = groups(&storage, [Some("skip"), None, None]);
    let mut step = step(&storage, &all[..1], None);
    step.add(&all[1], &[5, 5], None).unwrap();
    let call = apply(&mut step, &[vec![f32::NAN; 6], vec![9e17; 6]]);
    let error = failure(call, Status::InvalidArgument);
    assert!(error.message().contains("the gradients of key 5 add up"), "{error}");
}

#[test]
fn a_call_that_fails_was_not_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = groups(&storage, [None; 3]);
    let options = params(&[("non_finite", text("skip")), ("clip_norm", float(1.0))]);
    let mut step = Step::with_options(storage, &options).unwrap();
    step.add(&all[0], &[1], None).unwrap();
    let call = CallId { client: 1, sequence: 1 };
    for number in 0..4 {
        apply(&mut step, &[vec![f32::NAN; 2]]).unwrap();
        assert!(step.skipped() && step.gradient_norm().unwrap().is_nan());
        let outcome = match number {
            0 => step.apply_gradients(&[]),
            1 => step.apply_gradients_once(call, &[], &[]).map(drop),
            2 => step.apply_gradients_once(call, &[None, None], &[]).map(drop),
            _ => apply(&mut step, &[vec![1.0; 4]]),
        };
        failure(outcome, Status::InvalidArgument);
        assert!(!step.skipped());
        let error = failure(step.gradient_norm(), Status::InvalidArgument);
        assert!(error.message().contains("the latest call has failed"), "{error}");
    }
}

#[test]
fn a_poisoned_group_refuses_a_call_that_would_be_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = groups(&storage, [Some("skip"); 3]);
    assert!(catch_unwind(AssertUnwindSafe(|| all[1].panic_for_test())).is_err());
    let mut mixed = step(&storage, &all, None);
    let mut alone = Step::new(storage.clone());
    alone.add(&all[1], &[1, 2, 3], None).unwrap();
    for wrong in [&[0][..], &[1], &[]] {
        failure(apply(&mut mixed, &gradients(wrong)), Status::Poisoned);
        failure(apply(&mut alone, &gradients(wrong)[1..2]), Status::Poisoned);
    }
    assert!(!mixed.skipped() && !alone.skipped());
    assert_eq!(storage.stat("steps_skipped").unwrap(), 0);
}

#[test]
fn what_is_replayed_has_the_steps_that_were_not_skipped() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, copy) = (scratch.path().join("0"), scratch.path().join("copy"));
    let storage = open(&dir);
    let all = embeddings(&storage, &[]);
    let options = params(&[("non_finite", text("skip")), ("clip_norm", float(0.5))]);
    let mut step = Step::with_options(storage.clone(), &options).unwrap();
    all.iter().for_each(|embedding| step.add(embedding, &[1, 2, 300], None).unwrap());
    for call in 0..9 {
        let mut gradients: Vec<_> =
            all.iter().map(|embedding| vec![1.0; 3 * embedding.dim()]).collect();
        gradients[call % 5][call] = if call % 2 == 0 { 3.0 } else { f32::NAN };
        apply(&mut step, &gradients).unwrap();
        assert_eq!(step.skipped(), call % 2 == 1);
    }
    copy_dir(&dir, &copy);
    assert!(content(&open(&copy)) == content(&storage));
    assert_eq!(content(&storage).1, [5; 5]);
}

#[test]
fn other_words_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = params(&[("non_finite", text("nan"))]);
    let error = failure(Step::with_options(open(dir.path()), &options), Status::InvalidArgument);
    let expected =
        "step: parameter 'non_finite' is \"nan\" (string); one of 'refuse', 'skip' is needed";
    assert_eq!(error.message(), expected);
}
