//! Admission: an embedding with a filter makes rows for keys that were looked up often enough, and
//! for no others.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::filter::Filter;
use damo::params::{Params, Value};
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{
    self, failure, initializer, int, lookup, optimizer, params, peek, rerun, sgd, text,
};

/// A filter so large that it has no false positives.
fn filter(path: &Path, count: i64) -> Arc<Filter> {
    let list =
        [("path", text(path.to_str().unwrap())), ("capacity", int(100_000)), ("count", int(count))];
    Arc::new(Filter::open(&params(&list)).unwrap())
}

/// An embedding with a filter, of dim 1: rows begin as 1 and lose half of each gradient.
fn admitting(
    dir: &Path,
    count: i64,
    options: &[(&str, Value)],
) -> (Storage, Embedding, Arc<Filter>) {
    let storage = common::open(&dir.join("rows"));
    let embedding = sgd(&storage, 1, 0.5, options);
    let filter = filter(&dir.join("filter"), count);
    embedding.set_filter(Some(Arc::clone(&filter))).unwrap();
    (storage, embedding, filter)
}

fn stat(storage: &Storage, name: &str) -> u64 {
    storage.stat(name).unwrap()
}

#[test]
fn a_key_gets_a_row_with_its_count_th_lookup() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, embedding, _) = admitting(dir.path(), 3, &[]);
    for seen in 1..3 {
        assert_eq!(lookup(&embedding, &[7]), [1.0]);
        assert_eq!(peek(&embedding, &[7]), (vec![0.0], vec![0]), "after {seen} lookups");
        embedding.apply_gradients(&[7], &[1.0]).unwrap();
        failure(embedding.record(7), Status::NotFound);
        assert_eq!(embedding.step().unwrap(), seen);
    }
    storage.flush().unwrap();
    assert_eq!((stat(&storage, "rows_created"), stat(&storage, "rows_updated")), (0, 0));
    assert_eq!((stat(&storage, "rows_written"), stat(&storage, "rows_in_memory")), (0, 0));
    assert_eq!(lookup(&embedding, &[7]), [1.0]);
    assert_eq!(peek(&embedding, &[7]), (vec![1.0], vec![1]));
    embedding.apply_gradients(&[7], &[1.0]).unwrap();
    assert_eq!(lookup(&embedding, &[7]), [0.5]);
    assert_eq!((stat(&storage, "rows_created"), stat(&storage, "rows_updated")), (1, 1));
}

#[test]
fn every_occurrence_counts_and_the_padding_key_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (_storage, embedding, filter) = admitting(dir.path(), 3, &[("padding_key", int(0))]);
    assert_eq!(
        lookup(&embedding, &[7, 0, 7, 8, 7, 0, 0, 8]),
        [1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0]
    );
    assert_eq!(peek(&embedding, &[7, 8, 0]).1, [1, 0, 0]);
    assert!(!filter.check(0, 0).unwrap());
    embedding.apply_gradients(&[8, 7, 0, 7], &[1.0, 1.0, 9.0, 1.0]).unwrap();
    assert_eq!(lookup(&embedding, &[7, 8]), [0.0, 1.0]);
    assert_eq!(embedding.record(7).unwrap().update_num, 2);
    assert_eq!(embedding.record(8).unwrap().update_num, 0);
}

#[test]
fn a_filter_hides_no_row_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<i64> = (0..5000).collect();
    {
        let storage = common::open(&dir.path().join("rows"));
        let embedding = sgd(&storage, 1, 0.5, &[]);
        embedding.apply_gradients(&keys, &[1.0; 5000]).unwrap();
    }
    // The rows are on disk only.
    let (storage, embedding, filter) = admitting(dir.path(), 15, &[]);
    let both: Vec<i64> = (2500..7500).collect();
    let expected: Vec<f32> = both.iter().map(|key| if *key < 5000 { 0.5 } else { 1.0 }).collect();
    embedding.apply_gradients(&both[..10], &[0.0; 10]).unwrap();
    assert_eq!(lookup(&embedding, &both), expected);
    embedding.apply_gradients(&both, &[1.0; 5000]).unwrap();
    assert_eq!(
        lookup(&embedding, &both),
        expected.iter().map(|w| (w - 0.5).round()).collect::<Vec<_>>()
    );
    assert_eq!(stat(&storage, "rows_created"), 0);
    assert_eq!(stat(&storage, "rows_updated"), 2510);
    assert!(both.iter().all(|key| !filter.check(0, *key).unwrap()));
    // The key of a deleted row is a key like any other.
    embedding.delete(&[2500]).unwrap();
    assert_eq!(lookup(&embedding, &[2500]), [1.0]);
    assert_eq!(peek(&embedding, &[2500]).1, [0]);
}

#[test]
fn other_calls_are_as_without_a_filter() {
    let dir = tempfile::tempdir().unwrap();
    let (_storage, embedding, filter) = admitting(dir.path(), 1, &[]);
    embedding.insert(&[1], &[5.0]).unwrap();
    embedding.prefetch(&[1, 2]).unwrap();
    assert_eq!(peek(&embedding, &[1, 2]), (vec![5.0, 0.0], vec![1, 0]));
    assert!(!filter.check(0, 1).unwrap() && !filter.check(0, 2).unwrap());
    embedding.apply_gradients(&[1, 2], &[2.0, 2.0]).unwrap();
    assert_eq!(peek(&embedding, &[1, 2]), (vec![4.0, 0.0], vec![1, 0]));
    // A refused call counts and applies nothing.
    failure(embedding.lookup(&[3], &mut [0.0; 2]), Status::InvalidArgument);
    assert!(!filter.check(0, 3).unwrap());
    let error =
        failure(embedding.apply_gradients(&[1, 2], &[1.0, f32::NAN]), Status::InvalidArgument);
    assert!(error.message().contains("key 2") && error.message().contains("NaN"), "{error}");
    assert_eq!(embedding.step().unwrap(), 1);
    assert_eq!(peek(&embedding, &[1]).0, [4.0]);
    embedding.lookup(&[], &mut []).unwrap();
    embedding.apply_gradients(&[], &[]).unwrap();
    // Without the filter every lookup makes a row.
    embedding.set_filter(None).unwrap();
    assert_eq!(lookup(&embedding, &[2]), [1.0]);
    assert_eq!(peek(&embedding, &[2]).1, [1]);
}

#[test]
fn filters_are_listed_while_embeddings_have_them() {
    let dir = tempfile::tempdir().unwrap();
    let storage = common::open(&dir.path().join("rows"));
    let [first, second] = ["a", "b"].map(|name| filter(&dir.path().join(name), 2));
    let open = |group: u32| {
        let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
        Embedding::new(storage.clone(), sgd, ones, 1, group, &Params::new()).unwrap()
    };
    let live = || {
        let live = storage.filters().live();
        live.into_iter()
            .map(|(groups, filter)| (groups, filter.path().to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(live(), []);
    let (a, b, c) = (open(5), open(3), open(5));
    a.set_filter(Some(first.clone())).unwrap();
    b.set_filter(Some(first.clone())).unwrap();
    c.set_filter(Some(first.clone())).unwrap();
    assert_eq!(live(), [(vec![3, 5], first.path().to_owned())]);
    b.set_filter(Some(second.clone())).unwrap();
    assert_eq!(live(), [(vec![3], second.path().to_owned()), (vec![5], first.path().to_owned())]);
    a.set_filter(None).unwrap();
    drop(b);
    assert_eq!(live(), [(vec![5], first.path().to_owned())]);
    // The embedding keeps the filter open until it is dropped.
    let path = first.path().to_owned();
    let list =
        [("path", text(path.to_str().unwrap())), ("capacity", int(100_000)), ("count", int(2))];
    drop(first);
    failure(Filter::open(&params(&list)), Status::Busy);
    drop(c);
    assert_eq!(live(), []);
    Filter::open(&params(&list)).unwrap();
    storage.flush().unwrap();
}

/// The reference: a plain table with counts.
struct Model {
    count: u64,
    sum: bool,
    seen: HashMap<i64, u64>,
    /// Weight and number of gradients of each row.
    rows: HashMap<i64, (f32, u64)>,
    step: i64,
}

const PADDING: i64 = -3;

impl Model {
    fn lookup(&mut self, keys: &[i64]) -> Vec<f32> {
        for key in keys.iter().filter(|key| **key != PADDING) {
            *self.seen.entry(*key).or_default() += 1;
        }
        let mut weights = Vec::new();
        for key in keys {
            if *key == PADDING {
                weights.push(0.0);
                continue;
            }
            if self.seen[key] >= self.count {
                self.rows.entry(*key).or_insert((1.0, 0));
            }
            weights.push(self.rows.get(key).map_or(1.0, |row| row.0));
        }
        weights
    }

    fn apply(&mut self, keys: &[i64], gradients: &[f32]) {
        self.step += 1;
        let mut stepped = std::collections::HashSet::new();
        for (key, gradient) in keys.iter().zip(gradients) {
            let is_admitted = self.seen.get(key).is_some_and(|seen| *seen >= self.count);
            if *key == PADDING || !is_admitted && !self.rows.contains_key(key) {
                continue;
            }
            let row = self.rows.entry(*key).or_insert((1.0, 0));
            row.0 -= 0.5 * gradient;
            row.1 += u64::from(!self.sum || stepped.insert(*key));
        }
    }
}

/// The n-th call of a history, which does not depend on earlier calls.
enum Call {
    Lookup(Vec<i64>),
    Apply(Vec<i64>, Vec<f32>),
    Insert(Vec<i64>, Vec<f32>),
    Delete(Vec<i64>),
    Flush,
}

fn call(seed: u64, index: u64) -> Call {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let len = match random.random_range(0..12) {
        0 => random.random_range(4200..5000),
        1 => 0,
        _ => random.random_range(1..200),
    };
    let key = |random: &mut ChaCha8Rng| match random.random_range(0..3) {
        0 => random.random_range(-20..50),
        _ => random.random_range(-200..6000),
    };
    let mut keys: Vec<i64> = (0..len).map(|_| key(&mut random)).collect();
    // Halves and quarters, so that sums are exact in any order.
    let floats = (0..len).map(|_| random.random_range(-8..=8) as f32 / 4.0).collect();
    match random.random_range(0..20) {
        0..10 => Call::Lookup(keys),
        10..16 => Call::Apply(keys, floats),
        16 => {
            keys.iter_mut().filter(|key| **key == PADDING).for_each(|key| *key += 1);
            Call::Insert(keys, floats)
        }
        17 | 18 => Call::Delete(keys),
        _ => Call::Flush,
    }
}

fn model(model: &mut Model, call: &Call) {
    match call {
        Call::Lookup(keys) => drop(model.lookup(keys)),
        Call::Apply(keys, gradients) => model.apply(keys, gradients),
        Call::Insert(keys, weights) => {
            for (key, weight) in keys.iter().zip(weights) {
                model.rows.insert(*key, (*weight, 0));
            }
        }
        Call::Delete(keys) => model.rows.retain(|key, _| !keys.contains(key)),
        Call::Flush => {}
    }
}

fn make(storage: &Storage, embedding: &Embedding, call: &Call) -> Vec<f32> {
    match call {
        Call::Lookup(keys) => return lookup(embedding, keys),
        Call::Apply(keys, gradients) => embedding.apply_gradients(keys, gradients).unwrap(),
        Call::Insert(keys, weights) => embedding.insert(keys, weights).unwrap(),
        Call::Delete(keys) => embedding.delete(keys).unwrap(),
        Call::Flush => storage.flush().unwrap(),
    }
    Vec::new()
}

/// After a kill rows may be missing that a lookup made and nobody trained.
fn compare(embedding: &Embedding, model: &mut Model, after_kill: bool) -> Result<(), String> {
    if embedding.step().unwrap() != model.step {
        return Err(format!("step {}, not {}", embedding.step().unwrap(), model.step));
    }
    let keys: Vec<i64> = (-200..6000).collect();
    let (weights, found) = peek(embedding, &keys);
    for ((key, weight), found) in keys.iter().zip(weights).zip(found) {
        let row = model.rows.get(key).copied();
        let updates = if found == 1 { embedding.record(*key).unwrap().update_num } else { 0 };
        match row {
            Some(row) if found == 1 && row == (weight, updates) => {}
            Some((1.0, 0)) if found == 0 && after_kill => drop(model.rows.remove(key)),
            None if found == 0 => {}
            _ => {
                return Err(format!(
                    "key {key} is {weight} ({updates} steps, found {found}), not {row:?}"
                ));
            }
        }
    }
    Ok(())
}

fn open_for_history(dir: &Path, session: u64, sum: bool) -> (Storage, Embedding) {
    // The first session has the smallest cache: most rows are on disk only.
    let options =
        [("cache_bytes", int([65536, 1 << 20][session as usize % 2])), ("threads", int(2))];
    let storage = Storage::open(dir.join("rows"), 0, &params(&options)).unwrap();
    let duplicates = if sum { "sum" } else { "sequential" };
    let embedding =
        sgd(&storage, 1, 0.5, &[("duplicates", text(duplicates)), ("padding_key", int(PADDING))]);
    embedding.set_filter(Some(filter(&dir.join("filter"), 4))).unwrap();
    (storage, embedding)
}

fn fresh_model(sum: bool) -> Model {
    Model { count: 4, sum, seen: HashMap::new(), rows: HashMap::new(), step: 0 }
}

#[test]
fn histories_agree_with_a_model_across_openings() {
    for sum in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut reference = fresh_model(sum);
        let mut index = 0;
        for session in 0..4 {
            let (storage, embedding) = open_for_history(dir.path(), session, sum);
            for _ in 0..60 {
                let call = call(11, index);
                let answer = make(&storage, &embedding, &call);
                if let Call::Lookup(keys) = &call {
                    assert_eq!(answer, reference.lookup(keys), "call {index}");
                } else {
                    model(&mut reference, &call);
                }
                index += 1;
            }
            compare(&embedding, &mut reference, false).unwrap();
        }
        let held_back =
            reference.seen.keys().filter(|key| !reference.rows.contains_key(key)).count();
        assert!(held_back > 500 && reference.rows.len() > 500, "{held_back} held back");
    }
}

const CHILD: &str = "DAMO_ADMISSION_CHILD";

fn make_calls_until_killed(dir: &Path, session: u64, first: u64) {
    let (storage, embedding) = open_for_history(dir, session, false);
    let mut out = std::io::stdout();
    for index in first.. {
        drop(make(&storage, &embedding, &call(23, index)));
        writeln!(out, "ack {index}").unwrap();
    }
}

/// Every lookup that returned is in the filter, and every other call that returned is in the rows,
/// exactly once.
#[test]
fn kills_leave_rows_and_counts_as_they_were_acknowledged() {
    // A child makes at least these calls before its kill, on any machine.
    const CALLS: u64 = 40;
    if let Ok(settings) = std::env::var(CHILD) {
        let numbers: Vec<u64> = settings.split(' ').map(|number| number.parse().unwrap()).collect();
        let dir = std::env::var_os("DAMO_ADMISSION_DIR").unwrap();
        return make_calls_until_killed(Path::new(&dir), numbers[0], numbers[1]);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut reference = fresh_model(false);
    let mut first = 0;
    for session in 0..8 {
        let mut child = rerun(kills_leave_rows_and_counts_as_they_were_acknowledged)
            .env(CHILD, format!("{session} {first}"))
            .env("DAMO_ADMISSION_DIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ack =
            |line: &str| line.strip_prefix("ack ").and_then(|index| index.parse::<u64>().ok());
        let is_enough = |index: &u64| *index >= first + CALLS;
        let mut next =
            lines.by_ref().filter_map(|line| ack(&line.unwrap())).find(is_enough).unwrap() + 1;
        std::thread::sleep(Duration::from_millis(15 + 20 * session));
        child.kill().unwrap();
        child.wait().unwrap();
        next = lines
            .map_while(Result::ok)
            .filter_map(|line| ack(&line))
            .fold(next, |_, index| index + 1);
        (first..next).for_each(|index| model(&mut reference, &call(23, index)));
        let filter = filter(&dir.path().join("filter"), 4);
        let under_way = call(23, next);
        for (key, seen) in &reference.seen {
            let is_under_way = matches!(&under_way, Call::Lookup(keys) if keys.contains(key));
            assert!(
                filter.check(0, *key).unwrap() == (*seen >= 4) || is_under_way,
                "key {key}, seen {seen}"
            );
        }
        drop(filter);
        let (storage, embedding) = open_for_history(dir.path(), session, false);
        first = next;
        match &under_way {
            // Nobody can tell how much of the call was counted: from here on all of its keys are
            // admitted and have no rows.
            Call::Lookup(keys) => {
                embedding.delete(keys).unwrap();
                reference.rows.retain(|key, _| !keys.contains(key));
                let counted: Vec<i64> =
                    keys.iter().copied().filter(|key| *key != PADDING).collect();
                embedding.filter().unwrap().add_batch(0, &counted, 4).unwrap();
                reference.seen.extend(counted.iter().map(|key| (*key, 4)));
                compare(&embedding, &mut reference, true).unwrap();
                first += 1;
            }
            _ => {
                if let Err(without) = compare(&embedding, &mut reference, true) {
                    model(&mut reference, &under_way);
                    first += 1;
                    compare(&embedding, &mut reference, true).unwrap_or_else(|with| {
                        panic!("session {session}: {without}\nand with it: {with}")
                    });
                }
            }
        }
        storage.flush().unwrap();
    }
    println!("8 kills, {first} calls, {} rows", reference.rows.len());
    assert!(first > 100 && reference.rows.len() > 300);
}

/// Threads look up and train while filters are attached, swapped and detached: no call fails, and a
/// key that no filter could have admitted has no row.
#[test]
fn filters_can_be_swapped_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let storage = common::open(&dir.path().join("rows"));
    let embedding = sgd(&storage, 1, 0.5, &[]);
    let filters = ["a", "b"].map(|name| filter(&dir.path().join(name), 15));
    embedding.set_filter(Some(filters[0].clone())).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (embedding, done) = (&embedding, &done);
            scope.spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(thread);
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    // Frequent keys, and rare keys that come once.
                    let mut keys: Vec<i64> = (0..100).map(|_| random.random_range(0..50)).collect();
                    keys.push(random.random::<i64>() | 1 << 40);
                    assert!(lookup(embedding, &keys).iter().all(|weight| weight.is_finite()));
                    embedding.apply_gradients(&keys, &vec![0.25; keys.len()]).unwrap();
                }
            });
        }
        // Goes on until the threads have admitted every frequent key, however slowly they run.
        let started = std::time::Instant::now();
        for round in 0.. {
            embedding.set_filter(Some(filters[round % 2].clone())).unwrap();
            std::thread::yield_now();
            let is_late = started.elapsed().as_secs() > 30;
            if round >= 300 && (stat(&storage, "rows_created") >= 50 || is_late) {
                break;
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(stat(&storage, "rows_created"), 50);
    assert_eq!(peek(&embedding, &(0..50).collect::<Vec<_>>()).1, [1; 50]);
}

#[test]
fn which_filter_is_attached_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, embedding, filter) = admitting(dir.path(), 2, &[]);
    lookup(&embedding, &[1]);
    drop((storage, embedding, filter));
    let storage = common::open(&dir.path().join("rows"));
    let embedding = sgd(&storage, 1, 0.5, &[]);
    assert!(embedding.filter().is_none());
    assert_eq!(lookup(&embedding, &[9]), [1.0]);
    assert_eq!(peek(&embedding, &[9, 1]).1, [1, 0]);
}
