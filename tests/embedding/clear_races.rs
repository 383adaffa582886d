//! Clears amid calls of other threads: each call is wholly before or wholly after a clear.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use damo::embedding::Embedding;
use damo::params::Value;
use damo::storage::Storage;

use crate::common::filters::filter;
use crate::common::{int, lookup, params, peek, races, sgd, text};

const DIM: usize = 8;
const KEYS: i64 = 3000;

fn keys() -> Vec<i64> {
    (0..KEYS).collect()
}

fn open_with(dir: &Path, durability: &str, cache_bytes: i64) -> (Storage, Embedding) {
    let list: [(&str, Value); 2] =
        [("durability", text(durability)), ("cache_bytes", int(cache_bytes))];
    let storage = Storage::open(dir, 0, &params(&list)).unwrap();
    let embedding = sgd(&storage, DIM, 0.5, &[]);
    (storage, embedding)
}

#[derive(Clone, Copy, PartialEq)]
enum Read {
    Peek,
    Lookup,
    /// With a filter, which soon admits all keys.
    LookupAdmitted,
}

/// Each batch has rows only from before or only from after a clear.
#[test]
fn reading_calls_are_wholly_before_or_wholly_after() {
    // One cache holds all rows; the other is so small that rows are read from disk.
    for cache_bytes in [64 << 20, 64 << 10] {
        for read in [Read::Peek, Read::Lookup, Read::LookupAdmitted] {
            read_while_clearing(cache_bytes, read);
        }
    }
}

fn read_while_clearing(cache_bytes: i64, read: Read) {
    let scratch = tempfile::tempdir().unwrap();
    let (_storage, embedding) = open_with(&scratch.path().join("t"), "process", cache_bytes);
    if read == Read::LookupAdmitted {
        embedding.set_filter(Some(filter(&scratch.path().join("filter")))).unwrap();
    }
    // Odd while rows are being inserted or cleared: a batch may see some of them.
    let filling = AtomicU64::new(1);
    let is_over = AtomicBool::new(false);
    let [before, after] = [const { AtomicU64::new(0) }; 2];
    let look = || {
        let began = filling.load(Ordering::Acquire);
        let (weights, fresh) = match read {
            Read::Peek => (peek(&embedding, &keys()).0, 0.0),
            _ => (lookup(&embedding, &keys()), 1.0),
        };
        if began % 2 == 1 || filling.load(Ordering::Acquire) != began {
            return;
        }
        let first = weights[0];
        assert!([5.0, fresh].contains(&first), "{first}");
        let torn = weights.iter().position(|weight| *weight != first);
        assert_eq!(torn, None, "rows from before and from after a clear in one call");
        let counted = if first == 5.0 { &before } else { &after };
        counted.fetch_add(1, Ordering::Relaxed);
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    look();
                }
            });
        }
        let enough = || [&before, &after].iter().all(|count| count.load(Ordering::Relaxed) > 3);
        let mut turns = 0;
        while turns < 20 * races() as u32 || !enough() && turns < 1000 {
            turns += 1;
            // Pauses of 0 to 4 times the duration of a call.
            let began = Instant::now();
            embedding.insert(&keys(), &vec![5.0; keys().len() * DIM]).unwrap();
            let part = began.elapsed() / 8;
            filling.fetch_add(1, Ordering::AcqRel);
            thread::sleep(part * (turns % 32));
            embedding.clear().unwrap();
            thread::sleep(part * (turns * 7 % 32));
            filling.fetch_add(1, Ordering::AcqRel);
        }
        is_over.store(true, Ordering::Release);
        assert!(enough(), "{before:?} calls before a clear, {after:?} after");
    });
}

/// Each step changes all rows, so update counts and the global step show where the last clear was.
#[test]
fn steps_are_wholly_before_or_wholly_after() {
    for durability in ["process", "checkpoint"] {
        for cache_bytes in [64 << 20, 64 << 10] {
            step_while_clearing(durability, cache_bytes);
        }
    }
}

fn step_while_clearing(durability: &str, cache_bytes: i64) {
    let dir = tempfile::tempdir().unwrap();
    let (storage, embedding) = open_with(dir.path(), durability, cache_bytes);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    embedding.apply_gradients(&keys(), &vec![1.0; keys().len() * DIM]).unwrap();
                }
            });
        }
        // Cuts and rounds in between must each see one moment, too.
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                let mut rows = storage.rows(None).unwrap();
                let (mut count, mut updates) = (0, None);
                while let Some(row) = rows.next_row().unwrap() {
                    count += 1;
                    assert_eq!(*updates.get_or_insert(row.update_num), row.update_num);
                }
                assert!(count == 0 || count == KEYS, "{count} rows");
                storage.flush().unwrap();
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                embedding.prefetch(&keys()).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        for _ in 0..60 * races() {
            thread::sleep(Duration::from_millis(3));
            embedding.clear().unwrap();
        }
        is_over.store(true, Ordering::Release);
    });
    let check = |storage: &Storage, embedding: &Embedding| {
        let step = embedding.step().unwrap();
        let (weights, found) = peek(embedding, &keys());
        assert_eq!(found, vec![u8::from(step > 0); keys().len()], "step {step}");
        let expected = if step == 0 { 0.0 } else { 1.0 - 0.5 * step as f32 };
        assert!(weights.iter().all(|weight| *weight == expected), "step {step}");
        assert_eq!(storage.row_count(None).unwrap(), if step == 0 { 0 } else { KEYS as u64 });
        step
    };
    embedding.apply_gradients(&keys(), &vec![1.0; keys().len() * DIM]).unwrap();
    let step = check(&storage, &embedding);
    drop((embedding, storage));
    let (storage, embedding) = open_with(dir.path(), durability, cache_bytes);
    assert_eq!(check(&storage, &embedding), step);
}
