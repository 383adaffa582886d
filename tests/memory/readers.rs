//! The threads that read from disk: with the caller as many as the option `readers` says, in each
//! storage of a process, and all of them gone once it is closed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use damo::embedding::Embedding;
use damo::error::Status;
use damo::storage::Storage;

use crate::common::{failure, int, is_alone, lookup, params, sgd, text};

const STORAGES: usize = 16;
const KEYS: i64 = 3_000;
const DIM: usize = 4;

/// How many threads of this process have a name that begins so.
fn threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread may end meanwhile.
    let names =
        tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|comm| comm.starts_with(name)).count()
}

/// Waits until so many threads have a name that begins so. A thread names itself, and one that has
/// ended may be listed for a moment.
fn await_threads(name: &str, expected: usize) {
    let started = Instant::now();
    while threads(name) != expected && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(threads(name), expected, "threads {name}");
}

/// Opens a storage without io_uring, with which few threads have many reads in flight.
fn open(dir: &Path, options: &[(&str, i64)]) -> (Storage, Embedding) {
    open_with(dir, "off", options)
}

fn open_with(dir: &Path, io_uring: &str, options: &[(&str, i64)]) -> (Storage, Embedding) {
    let mut options: Vec<_> = options.iter().map(|(name, value)| (*name, int(*value))).collect();
    options.push(("io_uring", text(io_uring)));
    let storage = Storage::open(dir, 0, &params(&options)).unwrap();
    let embedding = sgd(&storage, DIM, 1.0, &[]);
    (storage, embedding)
}

/// A storage whose rows are on disk only: the row of key k is k in all columns.
fn fill(dir: &Path) {
    let (_storage, embedding) = open(dir, &[("threads", 1)]);
    let keys: Vec<i64> = (0..KEYS).collect();
    let rows: Vec<f32> = keys.iter().flat_map(|key| [*key as f32; DIM]).collect();
    embedding.insert(&keys, &rows).unwrap();
}

/// Looks up all rows, and a key without one.
fn check_rows(embedding: &Embedding) {
    let keys: Vec<i64> = (0..=KEYS).collect();
    let weights = lookup(embedding, &keys);
    for (key, row) in keys.iter().zip(weights.chunks_exact(DIM)) {
        let expected = if *key == KEYS { 1.0 } else { *key as f32 };
        assert_eq!(row, [expected; DIM], "key {key}");
    }
}

#[test]
fn storages_of_a_process_have_the_readers_that_they_may_have() {
    if !is_alone(storages_of_a_process_have_the_readers_that_they_may_have) {
        return;
    }
    let dirs: Vec<_> = (0..STORAGES).map(|_| tempfile::tempdir().unwrap()).collect();
    dirs.iter().for_each(|dir| fill(dir.path()));
    await_threads("damo-", 0);
    for readers in [1, 2, 4] {
        let options = [("threads", 1), ("readers", readers)];
        let storages: Vec<_> = dirs.iter().map(|dir| open(dir.path(), &options)).collect();
        let expected = |used: usize| used * (readers as usize - 1);
        for (used, (storage, embedding)) in storages.iter().enumerate() {
            await_threads("damo-reader", expected(used));
            check_rows(embedding);
            assert!(storage.stat("rows_loaded").unwrap() >= KEYS as u64);
        }
        await_threads("damo-reader", expected(STORAGES));
        // All at once, again from disk.
        drop(storages);
        await_threads("damo-reader", 0);
        let storages: Vec<_> = dirs.iter().map(|dir| open(dir.path(), &options)).collect();
        std::thread::scope(|scope| {
            for (_, embedding) in &storages {
                scope.spawn(|| check_rows(embedding));
            }
        });
        await_threads("damo-reader", expected(STORAGES));
        // A writer, the readers, and what may prepare the journal's room.
        let most = STORAGES * (2 + expected(1));
        assert!(threads("damo-") <= most, "{} threads, not {most}", threads("damo-"));
    }
}

#[test]
fn a_storage_has_64_readers_unless_it_is_told() {
    if !is_alone(a_storage_has_64_readers_unless_it_is_told) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let (_storage, embedding) = open(dir.path(), &[]);
    assert_eq!(threads("damo-reader"), 0);
    check_rows(&embedding);
    // The caller reads, too.
    await_threads("damo-reader", 63);
}

#[test]
#[cfg(target_os = "linux")]
fn with_io_uring_as_many_threads_read_as_share_the_work() {
    if !is_alone(with_io_uring_as_many_threads_read_as_share_the_work) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let (storage, embedding) = open_with(dir.path(), "auto", &[("threads", 3)]);
    check_rows(&embedding);
    let by_ring = storage.stat("blocks_read_by_io_uring").unwrap();
    println!("{by_ring} blocks by io_uring, {} readers", threads("damo-reader"));
    // The system may refuse rings once they are wanted, and none is where all is mapped.
    assert!(threads("damo-reader") <= if by_ring > 0 { 2 } else { 63 });
}

#[test]
fn numbers_of_readers_that_nobody_can_have_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for readers in [0, -1, 1025] {
        let options = params(&[("readers", int(readers))]);
        let refused = Storage::open(dir.path(), 0, &options);
        let error = failure(refused, Status::InvalidArgument);
        let words = ["'readers'", &readers.to_string(), "1 to 1024"];
        assert!(words.iter().all(|word| error.message().contains(word)), "{error}");
    }
}
