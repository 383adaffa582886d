//! Inserted rows go on as they would have where they come from: with their state, and ftrl's rows
//! without it, too.

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::{Params, Value};
use damo::storage::Storage;

use crate::common::{self, failure, float, initializer, open, optimizer, params};

const DIM: usize = 3;
const OPTIMIZERS: [&str; 8] =
    ["sgd", "ftrl", "adagrad", "rowwise_adagrad", "adam", "amsgrad", "adamw", "lion"];

fn embed(storage: &Storage, name: &str, group: u32, list: &[(&str, Value)]) -> Embedding {
    let ones = initializer("ones", &[]);
    Embedding::new(storage.clone(), optimizer(name, list), ones, DIM, group, &Params::new())
        .unwrap()
}

fn gradients(step: usize) -> Vec<f32> {
    (0..2 * DIM).map(|index| ((index * 7 + step * 5) % 11) as f32 / 11.0 - 0.4).collect()
}

#[test]
fn rows_go_on_with_their_state_in_another_storage_and_after_a_kill() {
    let scratch = tempfile::tempdir().unwrap();
    let keys = [5, -6];
    for (group, name) in OPTIMIZERS.into_iter().enumerate() {
        let (here, there) =
            (scratch.path().join(name), scratch.path().join(format!("{name}-moved")));
        let (here, moved) = (open(&here), open(&there));
        let (here, other) = (embed(&here, name, group as u32, &[]), embed(&moved, name, 1, &[]));
        for step in 0..5 {
            here.apply_gradients(&keys, &gradients(step)).unwrap();
        }
        let records = keys.map(|key| here.record(key).unwrap());
        let rows: Vec<f32> = records.iter().flat_map(|record| record.data.clone()).collect();
        let counts = records.map(|record| record.update_num);
        assert_eq!(counts, [5, 5]);
        other.insert_records(&keys, &rows, &counts).unwrap();
        // A kill would leave this copy: the call is in the journal.
        let killed = scratch.path().join(format!("{name}-killed"));
        common::copy_dir(&there, &killed);
        let killed = open(&killed);
        let killed = embed(&killed, name, 1, &[]);
        for step in 5..10 {
            for embedding in [&here, &other, &killed] {
                embedding.apply_gradients(&keys, &gradients(step)).unwrap();
            }
        }
        for key in keys {
            let expected = here.record(key).unwrap();
            for embedding in [&other, &killed] {
                let found = embedding.record(key).unwrap();
                assert_eq!((&found.data, found.update_num), (&expected.data, 10), "{name}");
            }
        }
    }
}

#[test]
fn of_a_key_given_twice_the_last_row_counts_and_counts_may_be_left_out() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(scratch.path());
    let adagrad = embed(&storage, "adagrad", 0, &[]);
    let rows: Vec<f32> = (0..4 * 2 * DIM).map(|index| index as f32).collect();
    adagrad.insert_records(&[1, 2, 1, 3], &rows, &[4, 5, u64::from(u32::MAX) + 6, 7]).unwrap();
    let first = adagrad.record(1).unwrap();
    assert_eq!((first.update_num, &first.data[..]), (u64::from(u32::MAX) + 6, &rows[12..18]));
    adagrad.insert_records(&[1], &rows[..6], &[]).unwrap();
    let first = adagrad.record(1).unwrap();
    assert_eq!((first.update_num, &first.data[..]), (0, &rows[..6]));
    let refused = |result: damo::error::Result<()>, word: &str| {
        let error = failure(result, Status::InvalidArgument);
        assert!(error.message().contains(word), "{error}");
    };
    refused(adagrad.insert_records(&[1], &rows[..5], &[]), "rows_len is 5");
    refused(adagrad.insert_records(&[1], &rows[..3], &[]), "6 floats of a row");
    refused(adagrad.insert_records(&[1], &rows[..6], &[1, 2]), "update_nums_len is 2");
    let mut bad = rows[..6].to_vec();
    bad[4] = f32::INFINITY;
    refused(adagrad.insert_records(&[1], &bad, &[]), "column 4");
    assert_eq!(adagrad.record(1).unwrap().data, &rows[..6]);
}

/// Inserted weights are a fixed point until gradients move them.
#[test]
fn ftrl_goes_on_from_weights_that_were_inserted() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(scratch.path());
    let weights = [0.5, -0.25, 0.0];
    let settings: [&[(&str, f64)]; 4] = [
        &[],
        &[("lambda1", 0.1), ("lambda2", 0.01)],
        &[("beta", 1.0), ("lambda1", 1e-3)],
        &[("initial_accumulator_value", 0.1), ("lambda1", 100.0)],
    ];
    for (group, settings) in settings.into_iter().enumerate() {
        let list: Vec<_> = settings.iter().map(|(name, value)| (*name, float(*value))).collect();
        let list = [list, vec![("alpha", float(0.01))]].concat();
        let embedding = embed(&storage, "ftrl", group as u32, &list);
        embedding.insert(&[1], &weights).unwrap();
        for _ in 0..3 {
            embedding.apply_gradients(&[1], &[0.0; DIM]).unwrap();
            assert_eq!(embedding.record(1).unwrap().data[..DIM], weights, "{settings:?}");
        }
        embedding.apply_gradients(&[1], &[1e-3, 1e-3, 0.0]).unwrap();
        let moved = embedding.record(1).unwrap();
        for (after, before) in moved.data[..2].iter().zip(weights) {
            assert!(*after < before && before - after < 0.011, "{settings:?}: {before} to {after}");
        }
    }
}

#[test]
fn accumulators_begin_where_they_are_told_to() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(scratch.path());
    let initial = [("initial_accumulator_value", float(0.5)), ("learning_rate", float(0.1))];
    for (group, name) in ["adagrad", "rowwise_adagrad", "ftrl"].into_iter().enumerate() {
        let embedding = embed(&storage, name, group as u32, &initial);
        embedding.lookup(&[1], &mut [0.0; DIM]).unwrap();
        embedding.insert(&[2], &[0.25; DIM]).unwrap();
        for key in [1, 2] {
            let state = embedding.record(key).unwrap().data[DIM..].to_vec();
            assert_eq!(state.last(), Some(&0.5), "{name}");
        }
        embedding.apply_gradients(&[3], &[0.5; DIM]).unwrap();
        let record = embedding.record(3).unwrap();
        assert_eq!(record.data.last(), Some(&0.75), "{name}");
        if name != "ftrl" {
            // torch.optim.Adagrad: 1 - 0.1 * 0.5 / sqrt(0.75).
            assert!((record.data[0] - 0.942_265).abs() < 1e-6, "{name}: {}", record.data[0]);
        }
    }
    let list = params(&[("initial_accumulator_value", float(-1.0))]);
    assert!(damo::optimizer::Optimizer::new("adagrad", &list, None).is_err());
    assert!(damo::optimizer::Optimizer::new("sgd", &list, None).is_err());
}

#[test]
fn squares_are_not_negative() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(scratch.path());
    let squares = [("sgd", 0..0), ("lion", 0..0), ("adagrad", 3..6), ("rowwise_adagrad", 3..4)];
    let more = [("adam", 6..9), ("adamw", 6..9), ("amsgrad", 6..12), ("ftrl", 6..9)];
    for (group, (name, squares)) in squares.into_iter().chain(more).enumerate() {
        let embedding = embed(&storage, name, group as u32, &[]);
        for column in 0..embedding.row_len() {
            let mut row = vec![0.5; embedding.row_len()];
            row[column] = -0.5;
            let stored = embedding.insert_records(&[7], &row, &[3]);
            assert_eq!(
                stored.is_err(),
                squares.contains(&column),
                "{name}, column {column}: {stored:?}"
            );
            if let Err(error) = stored {
                assert!(
                    error.to_string().contains(&format!("column {column}) has -0.5")),
                    "{error}"
                );
            }
        }
    }
}

/// The count saturates at 2^56 - 1, in memory as on disk, and such a row can be moved on.
#[test]
fn counts_end_where_stored_rows_end() {
    const MOST: u64 = (1 << 56) - 1;
    for (group, name) in OPTIMIZERS.into_iter().enumerate() {
        let scratch = tempfile::tempdir().unwrap();
        let [dir, killed] = ["t", "killed"].map(|name| scratch.path().join(name));
        let storage = open(&dir);
        let embedding = embed(&storage, name, group as u32, &[]);
        let rows = vec![0.5; 2 * embedding.row_len()];
        embedding.insert_records(&[5, -6], &rows, &[MOST - 1, u64::MAX]).unwrap();
        for step in 0..2 {
            embedding.apply_gradients(&[5, -6], &gradients(step)).unwrap();
            // Each occurrence of a key in a call counts.
            embedding.apply_gradients(&[5, 5], &gradients(step)).unwrap();
        }
        let records = [5, -6].map(|key| embedding.record(key).unwrap());
        assert_eq!([records[0].update_num, records[1].update_num], [MOST; 2], "{name}");
        common::copy_dir(&dir, &killed);
        drop((embedding, storage));
        for dir in [&dir, &killed] {
            let storage = open(dir);
            let embedding = embed(&storage, name, group as u32, &[]);
            for before in &records {
                let after = embedding.record(before.key).unwrap();
                assert_eq!((after.update_num, &after.data), (MOST, &before.data), "{name}");
                embedding.insert_records(&[1], &after.data, &[after.update_num]).unwrap();
                assert_eq!(embedding.record(1).unwrap().update_num, MOST, "{name}");
            }
        }
    }
}
