//! A lookup of distinct keys with their occurrences is a lookup of the whole batch: weights, rows,
//! the filter's counts and statistics.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::filter::Filter;
use damo::kernels::{Rows, RowsMut};
use damo::params::Value;
use damo::step::Step;
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{failure, float, initializer, int, lookup, optimizer, params, peek, text};

const DIM: usize = 3;
const PADDING: i64 = -1;
const STATISTICS: [&str; 4] = ["rows_read", "cache_hits", "cache_misses", "rows_created"];

/// A storage with an embedding, and perhaps a filter with so few counters that keys share them.
struct Table {
    storage: Storage,
    embedding: Arc<Embedding>,
    filter: Option<Arc<Filter>>,
}

impl Table {
    fn open(dir: &Path, has_filter: bool, options: &[(&str, Value)]) -> Table {
        let storage = Storage::open(dir.join("rows"), 0, &params(options)).unwrap();
        let optimizer = optimizer("adagrad", &[("gamma", float(0.1))]);
        let initializer = initializer("random_uniform", &[]);
        let padding = params(&[("padding_key", int(PADDING)), ("duplicates", text("sum"))]);
        let embedding =
            Embedding::new(storage.clone(), optimizer, initializer, DIM, 5, &padding).unwrap();
        let filter = has_filter.then(|| {
            let path = dir.join("filter");
            let path = ("path", text(path.to_str().unwrap()));
            let options = params(&[path, ("capacity", int(300)), ("count", int(6))]);
            Arc::new(Filter::open(&options).unwrap())
        });
        embedding.set_filter(filter.clone()).unwrap();
        Table { storage, embedding: Arc::new(embedding), filter }
    }

    fn statistics(&self) -> [u64; 4] {
        STATISTICS.map(|name| self.storage.stat(name).unwrap())
    }

    /// All rows, with their update counts.
    fn content(&self) -> Vec<(i64, Vec<u32>, u64)> {
        let (mut rows, mut found) = (self.storage.rows(None).unwrap(), Vec::new());
        while let Some(row) = rows.next_row().unwrap() {
            found.push((row.key, bits(&row.data), row.update_num));
        }
        found
    }
}

fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|float| float.to_bits()).collect()
}

/// A filter's counters: what follows its header.
fn counters(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("filter")).unwrap().split_off(4096)
}

/// Keys, and how often each of them occurs. One in eight keys is given twice.
fn draw(random: &mut ChaCha8Rng, most: usize) -> (Vec<i64>, Vec<u32>) {
    let count = random.random_range(0..=most);
    let mut keys: Vec<i64> =
        (0..count).map(|_| random.random_range(PADDING..2 * most as i64 + 9)).collect();
    for index in 1..count {
        if random.random_range(0..8) == 0 {
            keys[index] = keys[index - 1];
        }
    }
    let occurrences = (0..count).map(|_| match random.random_range(0..4) {
        0 => random.random_range(1..20),
        _ => random.random_range(1..3),
    });
    let occurrences = occurrences.collect();
    (keys, occurrences)
}

/// The batch with each key so often, and the first position of each.
fn expand(keys: &[i64], occurrences: &[u32]) -> (Vec<i64>, Vec<usize>) {
    let (mut all, mut firsts) = (Vec::new(), Vec::new());
    for (key, number) in keys.iter().zip(occurrences) {
        firsts.push(all.len());
        all.extend((0..*number).map(|_| *key));
    }
    (all, firsts)
}

/// The rows at these positions.
fn rows_at(weights: &[f32], positions: &[usize]) -> Vec<f32> {
    positions.iter().flat_map(|at| weights[at * DIM..(at + 1) * DIM].iter().copied()).collect()
}

fn lookup_counted(embedding: &Embedding, keys: &[i64], occurrences: &[u32]) -> Vec<f32> {
    let mut weights = vec![f32::NAN; keys.len() * DIM];
    embedding.lookup_counted(keys, occurrences, &mut weights).unwrap();
    weights
}

/// Rounds of lookups and steps on two tables, one of which gets whole batches. Returns how many
/// keys had a row and how many had none.
fn compare(seed: u64, (most, rounds): (usize, usize), has_filter: bool, cache: i64) -> [usize; 2] {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let options = [("cache_bytes", int(cache)), ("threads", int(2))];
    let open = || dirs.each_ref().map(|dir| Table::open(dir.path(), has_filter, &options));
    let evicts = cache < 1 << 20;
    let mut tables = open();
    let mut seen = [0, 0];
    for round in 0..rounds {
        let [counted, whole] = &tables;
        let (keys, occurrences) = draw(&mut random, most);
        let (all, firsts) = expand(&keys, &occurrences);
        let found = lookup_counted(&counted.embedding, &keys, &occurrences);
        let expected = rows_at(&lookup(&whole.embedding, &all), &firsts);
        let place = format!("round {round} of seed {seed}, {most} keys, filter {has_filter}");
        assert!(bits(&found) == bits(&expected), "{place}");
        let [ours, theirs] = tables.each_ref().map(Table::statistics);
        // Which rows are evicted depends on the order in which they are found.
        let compared = if evicts { 1 } else { 4 };
        assert_eq!(ours[..compared], theirs[..compared], "{STATISTICS:?}, {place}");
        assert_eq!(ours[3], theirs[3], "rows made, {place}");
        let rows = tables.each_ref().map(|table| peek(&table.embedding, &keys));
        assert!(rows[0].1 == rows[1].1 && bits(&rows[0].0) == bits(&rows[1].0), "{place}");
        rows[0].1.iter().for_each(|found| seen[usize::from(*found)] += 1);
        let gradients: Vec<f32> = (0..found.len()).map(|at| (at % 7) as f32 / 8.0).collect();
        for table in &tables {
            table.embedding.apply_gradients(&keys, &gradients).unwrap();
        }
        if round % 24 == 11 {
            // From now on all rows are on disk only.
            drop(tables);
            if has_filter {
                assert!(counters(dirs[0].path()) == counters(dirs[1].path()), "{place}");
            }
            tables = open();
        }
    }
    let [ours, theirs] = tables.each_ref().map(Table::content);
    assert!(ours == theirs, "seed {seed}");
    seen
}

#[test]
fn counted_lookups_are_lookups_of_whole_batches() {
    // Few keys, more than a small call has, and more than one thread is worth.
    for (seed, sizes) in (0..).zip([(12, 240), (200, 100), (700, 40), (6_000, 12)]) {
        for cache in [64 << 10, 64 << 20] {
            let [missing, found] = compare(seed, sizes, true, cache);
            assert!(missing > 50 && found > 500, "{missing} without a row, {found} with one");
            compare(seed + 100, sizes, false, cache);
        }
    }
}

#[test]
fn every_occurrence_counts_toward_admission() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::open(dir.path(), true, &[]);
    let found = || peek(&table.embedding, &[7, 8, 9, PADDING]).1;
    lookup_counted(&table.embedding, &[7, 8, PADDING], &[5, 1, u32::MAX]);
    assert_eq!(found(), [0, 0, 0, 0]);
    lookup_counted(&table.embedding, &[7, 9], &[1, u32::MAX]);
    assert_eq!(found(), [1, 0, 1, 0]);
    // A key that is given twice has both of its numbers.
    lookup_counted(&table.embedding, &[8, 8], &[2, 3]);
    assert_eq!(found(), [1, 1, 1, 0]);
    assert!(!table.filter.unwrap().check(5, PADDING).unwrap());
    let read = 5 + 1 + 2 * u64::from(u32::MAX) + 1 + 2 + 3;
    assert_eq!(table.storage.stat("rows_read").unwrap(), read + 3 * 4);
}

#[test]
fn a_storage_that_only_looks_counts_occurrences_and_makes_no_row() {
    let dir = tempfile::tempdir().unwrap();
    drop(Table::open(dir.path(), false, &[]));
    let options = params(&[("read_only", Value::Bool(true))]);
    let storage = Storage::open(dir.path().join("rows"), 0, &options).unwrap();
    let (adagrad, uniform) = (optimizer("adagrad", &[]), initializer("random_uniform", &[]));
    let embedding =
        Embedding::new(storage.clone(), adagrad, uniform, DIM, 5, &params(&[])).unwrap();
    let first = lookup_counted(&embedding, &[4, 5], &[3, 1]);
    assert_eq!(storage.stat("rows_read").unwrap(), 4);
    assert_eq!(first, lookup(&embedding, &[4, 5]));
    assert_eq!(storage.row_count(None).unwrap(), 0);
}

#[test]
fn wrong_occurrences_are_refused_and_nothing_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::open(dir.path(), true, &[]);
    let embedding = &table.embedding;
    let mut weights = vec![9.0; 2 * DIM];
    for (occurrences, words) in [
        (&[9][..], "occurrences_len is 1 and keys_len is 2; one number a key is needed"),
        (&[9, 9, 9], "occurrences_len is 3 and keys_len is 2"),
        (&[9, 0], "occurrences[1] of key 8 is 0; 1 or more is needed"),
    ] {
        let refused = embedding.lookup_counted(&[7, 8], occurrences, &mut weights);
        let error = failure(refused, Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
        let mut step = Step::new(table.storage.clone());
        let error =
            failure(step.add_counted(embedding, &[7, 8], occurrences), Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
        assert_eq!(step.parts(), 0);
    }
    let short = &mut weights[1..];
    let error = failure(embedding.lookup_counted(&[7, 8], &[1, 1], short), Status::InvalidArgument);
    assert!(error.message().contains("weights_len is 5"), "{error}");
    assert_eq!(weights, [9.0; 2 * DIM]);
    assert_eq!(table.statistics(), [0; 4]);
    assert!(!table.filter.unwrap().check(5, 7).unwrap());
}

/// The rows of a step's parts, which have so many keys.
fn read(step: &mut Step, peeks: bool, keys: &[usize]) -> Vec<Vec<f32>> {
    let mut rows: Vec<_> = keys.iter().map(|keys| vec![f32::NAN; keys * DIM]).collect();
    let outputs = rows.iter_mut().map(|rows| RowsMut::new(rows, DIM, DIM).unwrap()).collect();
    if peeks {
        step.peek(outputs).unwrap()
    } else {
        step.lookup(outputs).unwrap()
    }
    rows
}

/// Parts with and without occurrences, of one group, in any order, in a step that is used again.
#[test]
fn parts_of_a_step_count_their_occurrences() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let tables = dirs.each_ref().map(|dir| Table::open(dir.path(), true, &[]));
    let [mut counted, mut whole] = tables.each_ref().map(|table| Step::new(table.storage.clone()));
    for round in 0..1500 {
        counted.clear();
        whole.clear();
        let mut same = Step::new(tables[1].storage.clone());
        let (mut lens, mut whole_lens, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..random.random_range(1..4) {
            let (keys, mut occurrences) = draw(&mut random, 20);
            if random.random() {
                counted.add_counted(&tables[0].embedding, &keys, &occurrences).unwrap();
            } else {
                counted.add(&tables[0].embedding, &keys, None).unwrap();
                occurrences.fill(1);
            }
            let (all, first) = expand(&keys, &occurrences);
            whole.add(&tables[1].embedding, &all, None).unwrap();
            same.add(&tables[1].embedding, &keys, None).unwrap();
            lens.push(keys.len());
            whole_lens.push(all.len());
            firsts.push(first);
        }
        let peeks = random.random_range(0..4) == 0;
        let found = read(&mut counted, peeks, &lens);
        let all = read(&mut whole, peeks, &whole_lens);
        for ((found, all), firsts) in found.iter().zip(&all).zip(&firsts) {
            assert!(bits(found) == bits(&rows_at(all, firsts)), "round {round}");
        }
        let [ours, theirs] = tables.each_ref().map(Table::statistics);
        assert_eq!(ours, theirs, "round {round}, {STATISTICS:?}");
        // A key has one gradient each time it is given, whatever its occurrences.
        if round % 5 == 0 {
            let gradients: Vec<_> = lens.iter().map(|keys| vec![0.5; keys * DIM]).collect();
            let rows: Vec<_> =
                gradients.iter().map(|rows| Rows::new(rows, DIM, DIM).unwrap()).collect();
            counted.apply_gradients(&rows).unwrap();
            same.apply_gradients(&rows).unwrap();
        }
    }
    let [ours, theirs] = tables.each_ref().map(Table::content);
    assert!(ours == theirs);
    drop((counted, whole, tables));
    assert!(counters(dirs[0].path()) == counters(dirs[1].path()));
}
