//! What a clear costs callers on its group, the writer, and later write-back rounds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use damo::storage::Storage;

use crate::common::{embed, int, lookup, open, params, sgd};

/// Each clear makes RocksDB begin a log. Logs that stayed would be looked at again with each write
/// of a document.
#[test]
fn clears_leave_no_logs_behind() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = embed(&storage, 4);
    for _ in 0..60 {
        embedding.apply_gradients(&[1, 2], &[1.0; 2]).unwrap();
        storage.flush().unwrap();
        embedding.clear().unwrap();
        storage.flush().unwrap();
    }
    let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let logs: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".log")).collect();
    assert!((1..4).contains(&logs.len()), "{logs:?}");
}

/// The clear waits until another group's rows are on disk. Calls on its own group do not.
#[test]
fn calls_go_on_while_a_clear_waits_for_a_round() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let (large, small) = (sgd(&storage, 64, 0.5, &[]), embed(&storage, 5));
    // On a fast disk a round takes long enough only with more rows.
    for attempt in 1..=20 {
        (0..200 * attempt.min(8)).for_each(|part| drop(lookup(&large, &keys(part))));
        let is_over = AtomicBool::new(false);
        let (calls, waited) = thread::scope(|scope| {
            let written = storage.stat("rows_written").unwrap();
            let flush = scope.spawn(|| storage.flush().unwrap());
            // The round is under way once it has written something, or it is over.
            while storage.stat("rows_written").unwrap() == written && !flush.is_finished() {
                thread::yield_now();
            }
            let clear = scope.spawn(|| {
                let began = Instant::now();
                small.clear().unwrap();
                is_over.store(true, Ordering::Release);
                began.elapsed()
            });
            let mut calls = 0;
            while !is_over.load(Ordering::Acquire) {
                small.apply_gradients(&[calls], &[1.0]).unwrap();
                calls += 1;
                thread::sleep(Duration::from_millis(1));
            }
            (calls, clear.join().unwrap())
        });
        large.clear().unwrap();
        if waited > Duration::from_millis(50) {
            assert!(calls > 5, "{calls} calls in {waited:?}");
            return;
        }
    }
    panic!("no clear waited for a round");
}

/// A full cache that was cleared grows like a new one.
#[test]
fn the_writer_begins_before_the_cache_is_full_again() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path(), 0, &params(&[("cache_bytes", int(8 << 20))])).unwrap();
    let embedding = sgd(&storage, 16, 0.5, &[]);
    let fill = |rows: i64| (0..rows / 1000).for_each(|part| drop(lookup(&embedding, &keys(part))));
    fill(70_000);
    storage.flush().unwrap();
    assert!(storage.stat("bytes_in_memory").unwrap() > 6 << 20);
    embedding.clear().unwrap();
    let written = storage.stat("rows_written").unwrap();
    // Fills half of it with dirty rows.
    fill(45_000);
    let began = Instant::now();
    while storage.stat("rows_written").unwrap() == written {
        assert!(began.elapsed() < Duration::from_secs(20), "nothing is written");
        thread::sleep(Duration::from_millis(10));
    }
}

fn keys(part: i64) -> Vec<i64> {
    (part * 1000..(part + 1) * 1000).collect()
}
