//! Write-back rounds large enough for several threads, each with files of its own.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Params;
use damo::storage::Storage;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::{embed, failure, int, is_alone, params, peek, sgd, text};

/// Enough for four files.
const KEYS: i64 = 550_000;

fn keys() -> Vec<i64> {
    (0..KEYS).map(|key| key * 7 - KEYS).collect()
}

fn open_with(dir: &Path, threads: i64, durability: &str) -> Storage {
    let options = [("threads", int(threads)), ("durability", text(durability))];
    Storage::open(dir, 0, &params(&options)).unwrap()
}

fn step(embedding: &Embedding, keys: &[i64]) {
    embedding.apply_gradients(keys, &vec![1.0; keys.len() * embedding.dim()]).unwrap();
}

/// Rows of three groups, some of them changed twice, created only, or deleted.
fn fill(storage: &Storage) {
    let (keys, wide) = (keys(), sgd(storage, 2, 0.5, &[]));
    let (small, few) = (embed(storage, 3), embed(storage, 700));
    step(&wide, &keys);
    storage.flush().unwrap();
    step(&wide, &keys[..200_000]);
    wide.delete(&keys[100_000..100_500]).unwrap();
    step(&small, &keys[..70_000]);
    few.lookup(&keys[..10], &mut [0.0; 10]).unwrap();
    storage.flush().unwrap();
}

fn content(storage: &Storage) -> Vec<(Vec<f32>, Vec<u8>)> {
    let (wide, small, few) = (sgd(storage, 2, 0.5, &[]), embed(storage, 3), embed(storage, 700));
    [&wide, &small, &few].map(|embedding| peek(embedding, &keys())).into()
}

#[test]
fn any_number_of_threads_writes_the_same_rows() {
    let scratch = tempfile::tempdir().unwrap();
    let mut wanted = None;
    for threads in [1, 3, 64] {
        let dir = scratch.path().join(threads.to_string());
        let storage = open_with(&dir, threads, "checkpoint");
        fill(&storage);
        let before = content(&storage);
        drop(storage);
        let storage = Storage::open(&dir, 0, &Params::new()).unwrap();
        let after = content(&storage);
        assert!(before == after, "{threads} threads: the rows changed when the storage was opened");
        assert!(*wanted.get_or_insert(after.clone()) == after, "{threads} threads");
        storage.verify().unwrap();
    }
    let [(_, wide), (_, small), (_, few)] = &wanted.unwrap()[..] else { panic!() };
    let found = |flags: &[u8]| flags.iter().filter(|flag| **flag == 1).count();
    assert_eq!([found(wide), found(small), found(few)], [KEYS as usize - 500, 70_000, 10]);
}

#[test]
fn a_checkpoint_of_many_files_is_of_one_moment() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open_with(&scratch.path().join("storage"), 8, "process");
    let (keys, embedding) = (keys(), sgd(&storage, 2, 0.5, &[]));
    step(&embedding, &keys);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                step(&embedding, &keys);
            }
        });
        for number in 0..2 {
            let path = scratch.path().join(format!("checkpoint{number}"));
            let outcome = storage.checkpoint(&path);
            is_over.store(number == 1 || outcome.is_err(), Ordering::Relaxed);
            outcome.unwrap();
            let saved = Storage::open(&path, 0, &Params::new()).unwrap();
            let rows = sgd(&saved, 2, 0.5, &[]);
            let steps = rows.step().unwrap();
            let weight = 1.0 - 0.5 * steps as f32;
            let (weights, found) = peek(&rows, &keys);
            assert!(found.iter().all(|found| *found == 1));
            assert!(weights.iter().all(|found| *found == weight), "{steps} steps");
        }
    });
}

#[test]
fn rows_whose_files_cannot_be_written_are_written_later() {
    if !is_alone(rows_whose_files_cannot_be_written_are_written_later) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("storage");
    let storage = open_with(&dir, 4, "checkpoint");
    let (keys, embedding) = (keys(), sgd(&storage, 2, 0.5, &[]));
    step(&embedding, &keys);
    let usual = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(64 << 10), ..usual }).unwrap();
    failure(storage.flush(), Status::Io);
    step(&embedding, &keys[..1000]);
    failure(storage.flush(), Status::Io);
    setrlimit(Resource::Fsize, usual).unwrap();
    assert_eq!(fs::read_dir(dir.join("incoming")).unwrap().count(), 0);
    storage.flush().unwrap();
    let before = content(&storage);
    drop((embedding, storage));
    let storage = Storage::open(&dir, 0, &Params::new()).unwrap();
    let after = content(&storage);
    assert!(before == after);
    let (weights, found) = &after[0];
    assert!(found.iter().all(|found| *found == 1));
    assert!(weights[..2000].iter().all(|weight| *weight == 0.0));
    assert!(weights[2000..].iter().all(|weight| *weight == 0.5));
}
