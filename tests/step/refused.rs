//! What steps refuse, and that nothing changes then.

use std::sync::Arc;

use damo::bags::{Offsets, Pooling};
use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Params;
use damo::step::{GivenBags, Step};

use crate::common::{failure, initializer, open, optimizer};
use crate::{apply, bags, content, embeddings, look_up};

#[test]
fn a_wrong_gradient_of_one_part_changes_no_group() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let mut step = Step::new(storage.clone());
    for group in [0, 1, 3] {
        step.add(&all[group], &[1, 2], None).unwrap();
    }
    look_up(&mut step, &[2, 2, 2]).unwrap();
    let before = content(&storage);
    let mut gradients = [vec![1.0; 8], vec![1.0; 16], vec![1.0; 6]];
    gradients[2][4] = f32::NAN;
    let error = failure(apply(&mut step, &gradients), Status::InvalidArgument);
    assert!(error.message().contains("gradients[2], row 1, column 1 is NaN"), "{error}");
    assert!(content(&storage) == before);
    // Gradients within the limit, whose sum is beyond it.
    step.clear();
    step.add(&all[0], &[1], None).unwrap();
    step.add(&all[1], &[8, 8], None).unwrap();
    let gradients = [vec![1.0; 4], vec![9e17; 16]];
    let error = failure(apply(&mut step, &gradients), Status::InvalidArgument);
    assert!(error.message().contains("gradients of key 8 add up to more than 1e18"), "{error}");
    assert!(content(&storage) == before);
    step.clear();
    all[3].set_step(i64::MAX).unwrap();
    step.add(&all[0], &[1], None).unwrap();
    step.add(&all[3], &[1], None).unwrap();
    let error = failure(apply(&mut step, &[vec![1.0; 4], vec![1.0; 3]]), Status::InvalidArgument);
    assert!(error.message().contains("the global step of group 3"), "{error}");
    assert_eq!(content(&storage).0, before.0);
    assert_eq!(all[0].step().unwrap(), 0);
}

#[test]
fn parts_that_do_not_fit_are_refused_and_not_added() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let storages = [open(dirs[0].path()), open(dirs[1].path())];
    let [all, others] = storages.each_ref().map(|storage| embeddings(storage, &[]));
    let mut step = Step::new(storages[0].clone());
    step.add(&all[0], &[1], None).unwrap();
    let error = failure(step.add(&others[1], &[1], None), Status::InvalidArgument);
    assert!(error.message().contains("is of the storage"), "{error}");
    let (adam, start) = (optimizer("adam", &[]), initializer("zeros", &[]));
    let again = Embedding::new(storages[0].clone(), adam, start, 4, 0, &Params::new()).unwrap();
    let error = failure(step.add(&Arc::new(again), &[1], None), Status::InvalidArgument);
    assert!(error.message().contains("another one of group 0 than that of part 0"), "{error}");
    for (offsets, words) in [
        (&[0, 3][..], "offsets[1] is 3"),
        (&[1][..], "offsets[0] is 1"),
        (&[0, 2, 1][..], "offsets[2] is 1"),
        (&[][..], "offsets_len is 0"),
    ] {
        let given = Some(bags(offsets, Pooling::Sum));
        let error = failure(step.add(&all[1], &[1, 2], given), Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
    let offsets = Offsets { offsets: &[0], has_last: false };
    let weighted = GivenBags { offsets, pooling: Pooling::Mean, weights: Some(&[1.0]) };
    let error = failure(step.add(&all[1], &[1], Some(weighted)), Status::InvalidArgument);
    assert!(error.message().contains("weights go with 'sum' only"), "{error}");
    assert_eq!(step.parts(), 1);
    assert_eq!(look_up(&mut step, &[1]).unwrap()[0].len(), 4);
}

#[test]
fn rows_that_do_not_fit_the_parts_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let mut step = Step::new(storage.clone());
    step.add(&all[0], &[1, 2], None).unwrap();
    step.add(&all[1], &[1, 2], Some(bags(&[0], Pooling::Max))).unwrap();
    let refused = |step: &mut Step, gradients: &[Vec<f32>], words: &str| {
        let error = failure(apply(step, gradients), Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    };
    refused(&mut step, &[vec![1.0; 8]], "parts_len is 1 and the step has 2 parts");
    refused(&mut step, &[vec![1.0; 4], vec![1.0; 8]], "gradients[0] has 1 rows of 4 floats; 2");
    refused(&mut step, &[vec![1.0; 8], vec![1.0; 16]], "gradients[1] has 2 rows of 8 floats; 1");
    refused(&mut step, &[vec![1.0; 8], vec![1.0; 8]], "part 1 has pooling 'max'");
    let error = failure(look_up(&mut step, &[2, 2]), Status::InvalidArgument);
    assert!(error.message().contains("outputs[1] has 2 rows"), "{error}");
    assert_eq!(content(&storage).1, [0; 5]);
    look_up(&mut step, &[2, 1]).unwrap();
    apply(&mut step, &[vec![1.0; 8], vec![1.0; 8]]).unwrap();
    assert_eq!(content(&storage).1, [1, 1, 0, 0, 0]);
}

#[test]
fn an_embedding_may_go_before_its_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut step = {
        let storage = open(dir.path());
        let all = embeddings(&storage, &[]);
        let mut step = Step::new(storage);
        step.add(&all[0], &[1], None).unwrap();
        step.add(&all[1], &[1], None).unwrap();
        step
    };
    apply(&mut step, &[vec![1.0; 4], vec![1.0; 8]]).unwrap();
    step.clear();
    drop(step);
    assert_eq!(content(&open(dir.path())).1, [1, 1, 0, 0, 0]);
}
