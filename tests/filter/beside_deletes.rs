//! Steps through a filter, beside calls that insert and delete rows. A key that is not admitted
//! gets no row by a step, whenever its row is deleted, and a replay gives the same rows.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use damo::embedding::Embedding;
use damo::filter::Filter;
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{copy_dir, int, open, params, peek, sgd, text};

const KEYS: i64 = 3000;
const CALLS: u64 = 120;

/// An embedding that admits no key.
fn admitting_none(storage: &Storage, path: &Path) -> Embedding {
    let path = text(path.to_str().unwrap());
    let list = [("path", path), ("capacity", int(100_000)), ("count", int(15))];
    let embedding = sgd(storage, 3, 0.5, &[]);
    embedding.set_filter(Some(Arc::new(Filter::open(&params(&list)).unwrap()))).unwrap();
    embedding
}

fn call(embedding: &Embedding, random: &mut ChaCha8Rng, which: u64) {
    let most = [5, 100, 6000][random.random_range(0..3)];
    let keys: Vec<i64> = (0..most).map(|_| random.random_range(0..KEYS)).collect();
    let floats: Vec<f32> = (0..3 * most).map(|_| random.random_range(-1.0..1.0)).collect();
    match which {
        0 => embedding.insert(&keys, &floats).unwrap(),
        1 => embedding.delete(&keys).unwrap(),
        _ => embedding.apply_gradients(&keys, &floats).unwrap(),
    }
}

#[test]
fn a_step_makes_no_row_that_is_being_deleted() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("rows");
    let storage = open(&dir);
    let embedding = admitting_none(&storage, &scratch.path().join("filter"));
    thread::scope(|scope| {
        for seed in 0..6 {
            let embedding = &embedding;
            scope.spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                (0..CALLS).for_each(|_| call(embedding, &mut random, seed));
            });
        }
    });
    assert_eq!(storage.stat("rows_created").unwrap(), 0);
    assert!(storage.stat("rows_updated").unwrap() > 0);
    let content = |embedding: &Embedding| {
        let (weights, found) = peek(embedding, &(0..KEYS).collect::<Vec<_>>());
        let weights: Vec<u32> = weights.into_iter().map(f32::to_bits).collect();
        (embedding.step().unwrap(), weights, found)
    };
    let made = content(&embedding);
    assert_eq!(made.0 as u64, 4 * CALLS);
    copy_dir(&dir, &scratch.path().join("copy"));
    let replayed = open(&scratch.path().join("copy"));
    assert!(content(&sgd(&replayed, 3, 0.5, &[])) == made);
}
