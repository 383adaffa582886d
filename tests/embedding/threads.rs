//! Many threads on the same rows, most of which are on disk: over re-openings and kills, each
//! gradient is applied exactly once.
//!
//! Gradients and the learning rate are one, so float addition is exact: a weight is minus the
//! number of its gradients, in any order. DAMO_THREADS_SEED runs another history,
//! DAMO_THREADS_CALLS a longer one.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{self, float, initializer, int, optimizer, params, peek, rerun, text};

const CHILD: &str = "DAMO_THREADS_CHILD";
const GROUPS: [u32; 3] = [0, 7, 65535];
const DIM: usize = 12;
const TRAINERS: u64 = 4;
const KEYS: i64 = 3000;
/// Keys that one thread makes and deletes, while others only read them.
const DELETED: std::ops::Range<i64> = 10_000..10_400;
/// 80 bytes a row: the first cache holds a twelfth of the rows; the second has two shards, so large
/// calls are divided.
const CACHES: [i64; 2] = [65536, 2_500_000];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn open(dir: &Path, cache_bytes: i64) -> Storage {
    let options = [("cache_bytes", int(cache_bytes)), ("threads", int(2))];
    Storage::open(dir, 0, &params(&options)).unwrap()
}

fn embedding(storage: &Storage, group: usize, duplicates: &str) -> Embedding {
    let (sgd, zeros) = (optimizer("sgd", &[("gamma", float(1.0))]), initializer("zeros", &[]));
    let options = params(&[("duplicates", text(duplicates))]);
    Embedding::new(storage.clone(), sgd, zeros, DIM, GROUPS[group], &options).unwrap()
}

/// The group and keys, some of them repeated, of a trainer's `index`th call.
fn batch(seed: u64, trainer: u64, index: u64) -> (usize, Vec<i64>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ (trainer << 40) ^ index);
    let count = if random.random_range(0..25) == 0 { 4500 } else { random.random_range(1..250) };
    let hot = random.random_range(1..KEYS);
    let keys = (0..count).map(|_| match random.random_range(0..3) {
        0 => random.random_range(0..hot) / 30,
        _ => random.random_range(0..KEYS),
    });
    let keys = keys.collect();
    (random.random_range(0..GROUPS.len()), keys)
}

/// Every other call of a trainer sums the gradients of a key: the same weights, fewer steps.
fn is_summed(index: u64) -> bool {
    index % 2 == 1
}

/// Runs everything at once, and calls `acknowledge` after each call of a trainer.
fn train(storage: &Storage, seed: u64, calls: u64, acknowledge: impl Fn(u64, u64) + Sync) {
    let done = AtomicBool::new(false);
    let is_done = || done.load(Ordering::Relaxed);
    let random = |number| ChaCha8Rng::seed_from_u64(seed ^ 0xff << 56 ^ number);
    let open = |duplicates| [0, 1, 2].map(|group| embedding(storage, group, duplicates));
    let (sequential, summed) = (open("sequential"), open("sum"));
    thread::scope(|scope| {
        let trainer = |trainer| {
            for index in 0..calls {
                let (group, keys) = batch(seed, trainer, index);
                let embeddings = if is_summed(index) { &summed } else { &sequential };
                embeddings[group].apply_gradients(&keys, &vec![1.0; DIM * keys.len()]).unwrap();
                acknowledge(trainer, index);
            }
        };
        let trainers: Vec<_> =
            (0..TRAINERS).map(|number| scope.spawn(move || trainer(number))).collect();
        // Rows are whole, and gradients that were seen stay.
        scope.spawn(|| {
            let mut random = random(1);
            let mut seen: HashMap<(usize, i64), f32> = HashMap::new();
            while !is_done() {
                let group = random.random_range(0..GROUPS.len());
                let count = random.random_range(1..200);
                let keys: Vec<i64> = (0..count).map(|_| random.random_range(0..KEYS)).collect();
                let weights = match random.random_range(0..2) {
                    0 => common::lookup(&sequential[group], &keys),
                    _ => peek(&sequential[group], &keys).0,
                };
                for (key, row) in keys.iter().zip(weights.chunks_exact(DIM)) {
                    assert!(row.iter().all(|weight| *weight == row[0]), "half a gradient: {row:?}");
                    let last = seen.entry((group, *key)).or_insert(0.0);
                    assert!(
                        row[0] <= *last && row[0].fract() == 0.0,
                        "key {key}: {last}, then {}",
                        row[0]
                    );
                    *last = row[0];
                }
            }
        });
        scope.spawn(|| {
            let mut random = random(2);
            while !is_done() {
                let group = random.random_range(0..GROUPS.len());
                let start = random.random_range(0..DELETED.end);
                let keys: Vec<i64> = (start..start + 700).collect();
                sequential[group].prefetch(&keys).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        scope.spawn(|| {
            let mut random = random(3);
            while !is_done() {
                let group = random.random_range(0..GROUPS.len());
                let start = random.random_range(DELETED.start..DELETED.end - 100);
                let keys: Vec<i64> = (start..start + random.random_range(1..100)).collect();
                let ones = vec![1.0; DIM * keys.len()];
                let steps = random.random_range(1..3);
                (0..steps).for_each(|_| sequential[group].apply_gradients(&keys, &ones).unwrap());
                let (weights, found) = peek(&sequential[group], &keys);
                assert!(found.iter().all(|found| *found == 1));
                assert!(weights.iter().all(|weight| *weight == -(steps as f32)), "{weights:?}");
                sequential[group].delete(&keys).unwrap();
                let found = peek(&summed[group], &keys).1;
                assert!(found.iter().all(|found| *found == 0), "a deleted row came back");
            }
        });
        scope.spawn(|| {
            while !is_done() {
                storage.flush().unwrap();
                thread::sleep(Duration::from_millis(15));
            }
        });
        scope.spawn(|| {
            for group in (0..GROUPS.len()).cycle() {
                if is_done() {
                    return;
                }
                let again = embedding(storage, group, "mean");
                again.apply_gradients(&[], &[]).unwrap();
                drop(again);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let outcomes: Vec<_> = trainers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    });
}

/// Gradients and steps of every row.
type Counts = HashMap<(usize, i64), (f32, u64)>;

fn count(counts: &mut Counts, seed: u64, trainer: u64, index: u64) {
    let (group, keys) = batch(seed, trainer, index);
    let mut before: HashMap<i64, u64> = HashMap::new();
    for key in keys {
        let (gradients, steps) = counts.entry((group, key)).or_default();
        *gradients += 1.0;
        let first = *before.entry(key).or_insert(*steps) == *steps;
        *steps += u64::from(first || !is_summed(index));
    }
}

/// Every row of the keys that are not deleted.
fn read(storage: &Storage) -> Counts {
    let mut counts = Counts::new();
    for group in 0..GROUPS.len() {
        let embedding = embedding(storage, group, "sequential");
        for key in 0..KEYS {
            match embedding.record(key) {
                // A row that was only looked up counts as none.
                Ok(record) if record.update_num == 0 => assert_eq!(record.data, [0.0; DIM]),
                Ok(record) => {
                    assert!(
                        record.data.iter().all(|weight| *weight == record.data[0]),
                        "{record:?}"
                    );
                    counts.insert((group, key), (-record.data[0], record.update_num));
                }
                Err(error) => assert_eq!(error.status(), Status::NotFound, "{error}"),
            }
        }
    }
    counts
}

/// The differences of two tables, at most ten rows.
fn difference(expected: &Counts, found: &Counts) -> Option<String> {
    let keys = expected.keys().chain(found.keys().filter(|key| !expected.contains_key(key)));
    let differing = keys.filter(|key| expected.get(key) != found.get(key));
    let lines: Vec<String> = differing
        .map(|key| format!("{key:?}: {:?} expected, {:?} found", expected.get(key), found.get(key)))
        .collect();
    (!lines.is_empty())
        .then(|| format!("{} rows, among them {:?}", lines.len(), &lines[..lines.len().min(10)]))
}

#[test]
fn no_gradient_is_lost_among_threads() {
    let (seed, calls) = (setting("DAMO_THREADS_SEED", 1), setting("DAMO_THREADS_CALLS", 120));
    println!("DAMO_THREADS_SEED={seed}");
    let mut expected = Counts::new();
    (0..TRAINERS).for_each(|trainer| {
        (0..calls).for_each(|index| count(&mut expected, seed, trainer, index))
    });
    for cache_bytes in CACHES {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path(), cache_bytes);
        train(&storage, seed, calls, |_, _| {});
        let evictions = storage.stat("evictions").unwrap();
        println!("cache_bytes {cache_bytes}: {evictions} evictions");
        assert!(cache_bytes > 65536 || evictions > 20_000);
        assert_eq!(difference(&expected, &read(&storage)), None);
        drop(storage);
        assert_eq!(
            difference(&expected, &read(&open(dir.path(), cache_bytes))),
            None,
            "after re-opening"
        );
    }
}

fn train_until_killed(dir: &Path) {
    let (cache_bytes, seed) = (setting(CHILD, 0) as i64, setting("DAMO_THREADS_SEED", 1));
    let storage = open(dir, cache_bytes);
    // The kill must not hide a failure on one thread.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
    println!();
    train(&storage, seed, u64::MAX, |trainer, index| {
        // One write, so that lines do not mix; it fails once the parent is gone.
        let line = format!("ack {trainer} {index}\n");
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    });
}

#[test]
fn no_gradient_is_lost_among_threads_that_are_killed() {
    if std::env::var_os(CHILD).is_some() {
        return train_until_killed(Path::new(&std::env::var_os("DAMO_THREADS_DIR").unwrap()));
    }
    let base = setting("DAMO_THREADS_SEED", 1);
    println!("DAMO_THREADS_SEED={base}");
    for round in 0..setting("DAMO_THREADS_KILLS", 4) {
        let (seed, dir) = (base + round, tempfile::tempdir().unwrap());
        let cache_bytes = CACHES[round as usize % 2];
        let mut child = rerun(no_gradient_is_lost_among_threads_that_are_killed)
            .env(CHILD, cache_bytes.to_string())
            .env("DAMO_THREADS_SEED", seed.to_string())
            .env("DAMO_THREADS_DIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut acks = lines.filter_map(|line| {
            let (trainer, index) = line.strip_prefix("ack ")?.split_once(' ')?;
            Some((trainer.parse::<usize>().ok()?, index.parse::<u64>().ok()?))
        });
        let mut next = [0; TRAINERS as usize];
        acks.by_ref().take(150).for_each(|(trainer, index)| next[trainer] = index + 1);
        thread::sleep(Duration::from_millis(37 * round));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL), "the child failed");
        acks.for_each(|(trainer, index)| next[trainer] = index + 1);
        assert!(next.iter().sum::<u64>() >= 150, "the child ended by itself");
        let mut acknowledged = Counts::new();
        for (trainer, next) in next.iter().enumerate() {
            (0..*next).for_each(|index| count(&mut acknowledged, seed, trainer as u64, index));
        }
        let found = read(&open(dir.path(), cache_bytes));
        // Each trainer may have had one call under way, which was made as a whole or not at all.
        let differences: Vec<_> = (0..1 << TRAINERS)
            .map(|under_way: u64| {
                let mut expected = acknowledged.clone();
                let trainers = (0..TRAINERS).filter(|trainer| under_way >> trainer & 1 == 1);
                trainers.for_each(|trainer| {
                    count(&mut expected, seed, trainer, next[trainer as usize])
                });
                difference(&expected, &found)
            })
            .collect();
        let fits = differences.iter().position(Option::is_none);
        println!("round {round}: {next:?} calls acknowledged, under way and there: {fits:?}");
        assert!(fits.is_some(), "seed {seed}, {next:?} calls acknowledged: {:?}", differences[0]);
    }
}
