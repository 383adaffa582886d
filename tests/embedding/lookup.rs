//! lookup creates rows, peek does not; both answer in the order of the keys.

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Params;

use crate::common::{self, failure, initializer, int, lookup, open, optimizer, params, peek, sgd};

#[test]
fn peek_reads_zeros_until_lookup_has_created_the_row() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = sgd(&storage, 2, 0.1, &[]);
    assert_eq!(peek(&embedding, &[5, 6]), (vec![0.0; 4], vec![0, 0]));
    assert_eq!(storage.stat("rows_created").unwrap(), 0);
    assert_eq!(lookup(&embedding, &[5]), [1.0, 1.0]);
    assert_eq!(peek(&embedding, &[5, 6]), (vec![1.0, 1.0, 0.0, 0.0], vec![1, 0]));
    assert_eq!(storage.stat("rows_created").unwrap(), 1);
}

#[test]
fn all_bit_patterns_are_keys_and_come_back_in_the_order_asked() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let normal = initializer("random_normal", &[("seed", int(3))]);
    let embedding =
        Embedding::new(storage, optimizer("sgd", &[]), normal.clone(), 3, 65535, &Params::new())
            .unwrap();
    let keys = [0, i64::MAX, -1, i64::MIN, 1, -1, 1 << 40, i64::MAX];
    let weights = lookup(&embedding, &keys);
    for (key, row) in keys.iter().zip(weights.chunks_exact(3)) {
        let mut expected = [0.0; 3];
        normal.fill(65535, *key, &mut expected);
        assert_eq!(row, expected, "key {key}");
    }
    assert_eq!(peek(&embedding, &keys).0, weights);
}

#[test]
fn batches_of_any_size_read_and_create_every_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let normal = initializer("random_uniform", &[("seed", int(1))]);
    let embedding =
        Embedding::new(storage.clone(), optimizer("adam", &[]), normal, 4, 0, &Params::new())
            .unwrap();
    // Around the size of one MultiGet.
    let mut created = 0;
    for size in [1, 1023, 1024, 1025, 3000] {
        let keys: Vec<i64> = (0..size).map(|key| key * 7919 % 4099).collect();
        let weights = lookup(&embedding, &keys);
        created = created.max(size as u64);
        assert_eq!(storage.stat("rows_created").unwrap(), created, "after {size} keys");
        let reversed: Vec<i64> = keys.iter().rev().copied().collect();
        let again: Vec<f32> =
            lookup(&embedding, &reversed).chunks_exact(4).rev().flatten().copied().collect();
        assert_eq!(weights, again);
    }
}

#[test]
fn padding_reads_as_zeros_and_never_has_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = sgd(&storage, 1, 0.5, &[("padding_key", int(0))]);
    assert_eq!(lookup(&embedding, &[0, 3, 0]), [0.0, 1.0, 0.0]);
    embedding.apply_gradients(&[0, 3, 0], &[f32::NAN, 2.0, 8.0]).unwrap();
    assert_eq!(lookup(&embedding, &[0, 3]), [0.0, 0.0]);
    assert_eq!(peek(&embedding, &[0, 3]).1, [0, 1]);
    failure(embedding.record(0), Status::NotFound);
    let error = failure(embedding.insert(&[4, 0], &[1.0, 1.0]), Status::InvalidArgument);
    assert!(error.message().contains("key 0 (position 1) is the padding key"), "{error}");
    failure(embedding.record(4), Status::NotFound);
    // Without the option key 0 is a key like any other.
    drop(embedding);
    assert_eq!(lookup(&sgd(&storage, 1, 0.5, &[]), &[0]), [1.0]);
}

#[test]
fn rows_survive_reopening_and_groups_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let keys = [1, -1, 1 << 33];
    let expected: Vec<Vec<f32>> = {
        let storage = open(dir.path());
        (0..3).map(|group| lookup(&normal_group(&storage, group), &keys)).collect()
    };
    assert_ne!(expected[0], expected[1]);
    let storage = open(dir.path());
    for (group, expected) in expected.iter().enumerate() {
        assert_eq!(
            peek(&normal_group(&storage, group as u32), &keys),
            (expected.clone(), vec![1; 3])
        );
    }
}

fn normal_group(storage: &damo::storage::Storage, group: u32) -> Embedding {
    let (adam, normal) = (optimizer("adam", &[]), initializer("normal", &[]));
    Embedding::new(storage.clone(), adam, normal, 5, group, &Params::new()).unwrap()
}

#[test]
fn insert_replaces_rows_and_delete_forgets_them() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = Embedding::new(
        storage,
        optimizer("adam", &[]),
        initializer("ones", &[]),
        2,
        0,
        &params(&[("duplicates", common::text("sum"))]),
    )
    .unwrap();
    embedding.apply_gradients(&[1, 2], &[1.0; 4]).unwrap();
    let trained = embedding.record(1).unwrap();
    assert_eq!((trained.update_num, trained.data.len()), (1, 6));
    assert!(trained.data[2] != 0.0, "adam has state");

    embedding.insert(&[1, 7, 7], &[5.0, 6.0, 1.0, 1.0, 2.0, 3.0]).unwrap();
    let inserted = embedding.record(1).unwrap();
    assert_eq!((inserted.update_num, inserted.data), (0, vec![5.0, 6.0, 0.0, 0.0, 0.0, 0.0]));
    assert_eq!(lookup(&embedding, &[7]), [2.0, 3.0], "of a key given twice the last counts");

    embedding.delete(&[1, 99, 1]).unwrap();
    failure(embedding.record(1), Status::NotFound);
    assert_eq!(peek(&embedding, &[1, 2]).1, [0, 1]);
    assert_eq!(lookup(&embedding, &[1]), [1.0, 1.0], "a later lookup makes a fresh row");
    assert_eq!(embedding.record(1).unwrap().update_num, 0);
}
