//! Rows that are inserted with their state, for every optimizer: any state comes in bit for bit,
//! replaces the old row, survives the disk, and is stepped as the optimizer steps such a row.

use std::sync::Arc;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::filter::Filter;
use damo::optimizer::Optimizer;
use damo::params::Value;
use damo::scheduler::Scheduler;
use damo::storage::Storage;

use crate::common::{self, copy_dir, failure, float, initializer, int, optimizer, params};

const DIM: usize = 3;
const OPTIMIZERS: [&str; 8] =
    ["sgd", "ftrl", "adagrad", "rowwise_adagrad", "adam", "amsgrad", "adamw", "lion"];

fn open(dir: &std::path::Path, list: &[(&str, Value)]) -> Storage {
    Storage::open(dir, 0, &params(list)).unwrap()
}

fn embed(storage: &Storage, optimizer: Arc<Optimizer>, group: u32) -> Embedding {
    let ones = initializer("ones", &[]);
    Embedding::new(storage.clone(), optimizer, ones, DIM, group, &params(&[])).unwrap()
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|float| float.to_bits()).collect()
}

fn gradients(step: usize, rows: usize) -> Vec<f32> {
    (0..rows * DIM).map(|index| ((index * 7 + step * 5) % 11) as f32 / 11.0 - 0.4).collect()
}

/// One step of a row that has had `count` gradients.
fn step(optimizer: &Optimizer, row: &mut [f32], gradient: &[f32], count: u64) {
    optimizer.step(row, gradient, optimizer.rate(0).unwrap(), count + 1);
}

/// Zero, subnormal, small and large values of both signs come out as they came in. The next step is
/// the optimizer's own on these floats and this count.
#[test]
fn every_value_of_state_comes_in_bit_for_bit_and_is_stepped_as_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(scratch.path(), &[]);
    let values = [0.0, -0.0, 1e-45, 1e-30, 1e-8, 0.5, 1.0, 3.25, 1e4, 1e15];
    for (group, name) in OPTIMIZERS.into_iter().enumerate() {
        let optimizer = optimizer(name, &[]);
        let rows = embed(&storage, Arc::clone(&optimizer), group as u32);
        let len = optimizer.row_len(DIM);
        for (number, value) in values.into_iter().enumerate() {
            for count in [0, 1, 7, 1_000_000, u64::from(u32::MAX) + 5] {
                let key = number as i64;
                let mut row: Vec<f32> = (0..DIM).map(|column| column as f32 - 0.5).collect();
                row.resize(len, value);
                rows.insert_records(&[key], &row, &[count]).unwrap();
                let record = rows.record(key).unwrap();
                assert_eq!(
                    (bits(&record.data), record.update_num),
                    (bits(&row), count),
                    "{name} {value:e}"
                );
                rows.set_step(0).unwrap();
                rows.apply_gradients(&[key], &gradients(number, 1)).unwrap();
                step(&optimizer, &mut row, &gradients(number, 1), count);
                let record = rows.record(key).unwrap();
                assert_eq!(
                    (bits(&record.data), record.update_num),
                    (bits(&row), count + 1),
                    "{name} {value:e} {count}"
                );
            }
        }
    }
}

/// With a schedule, a table larger than memory, and a stop in between; the steps of the group move,
/// too.
#[test]
fn many_rows_go_on_bit_by_bit_from_a_table_that_memory_does_not_hold() {
    const ROWS: usize = 4000;
    let scratch = tempfile::tempdir().unwrap();
    let keys: Vec<i64> = (0..ROWS as i64).map(|key| key * 977 - 40_000).collect();
    for name in OPTIMIZERS {
        let decay =
            params(&[("decay_steps", int(20)), ("alpha", float(0.1)), ("warmup_steps", int(3))]);
        let make = || {
            let cosine = Arc::new(Scheduler::new("cosine_decay", &decay).unwrap());
            Arc::new(Optimizer::new(name, &params(&[]), Some(cosine)).unwrap())
        };
        let path = |place: &str| scratch.path().join(format!("{name}-{place}"));
        let here = open(&path("here"), &[]);
        let rows_here = embed(&here, make(), 0);
        for step in 0..4 {
            rows_here.apply_gradients(&keys, &gradients(step, ROWS)).unwrap();
        }
        let small = [("cache_bytes", int(64 << 10))];
        {
            let there = open(&path("there"), &small);
            let rows = embed(&there, make(), 0);
            let mut all = here.rows(None).unwrap();
            let (mut moved, mut data, mut counts) = (Vec::new(), Vec::new(), Vec::new());
            while let Some(row) = all.next_row().unwrap() {
                moved.push(row.key);
                data.extend_from_slice(&row.data);
                counts.push(row.update_num);
            }
            rows.insert_records(&moved, &data, &counts).unwrap();
            rows.set_step(rows_here.step().unwrap()).unwrap();
        }
        let there = open(&path("there"), &small);
        let rows = embed(&there, make(), 0);
        for step in 4..8 {
            rows_here.apply_gradients(&keys, &gradients(step, ROWS)).unwrap();
            rows.apply_gradients(&keys, &gradients(step, ROWS)).unwrap();
        }
        let (mut left, mut right) = (here.rows(None).unwrap(), there.rows(None).unwrap());
        while let Some(row) = left.next_row().unwrap() {
            let other = right.next_row().unwrap().unwrap();
            assert_eq!((row.key, row.update_num), (other.key, other.update_num), "{name}");
            assert_eq!(bits(&row.data), bits(&other.data), "{name} key {}", row.key);
        }
        assert!(right.next_row().unwrap().is_none());
    }
}

/// An inserted row replaces one that was trained, deleted, or waits for a filter, also after a
/// kill.
#[test]
fn what_was_there_before_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    for name in OPTIMIZERS {
        let dir = scratch.path().join(name);
        let storage = open(&dir, &[]);
        let optimizer = optimizer(name, &[]);
        let rows = embed(&storage, Arc::clone(&optimizer), 0);
        let path = scratch.path().join(format!("{name}.filter"));
        let list = [
            ("path", common::text(path.to_str().unwrap())),
            ("capacity", int(100)),
            ("count", int(9)),
        ];
        rows.insert(&[1, 2], &[0.5; 2 * DIM]).unwrap();
        rows.apply_gradients(&[1, 2], &gradients(3, 2)).unwrap();
        storage.flush().unwrap();
        rows.delete(&[2]).unwrap();
        rows.set_filter(Some(Arc::new(Filter::open(&params(&list)).unwrap()))).unwrap();
        let row: Vec<f32> = (0..optimizer.row_len(DIM)).map(|index| 0.125 + index as f32).collect();
        let keys = [1, 2, 3];
        rows.insert_records(&keys, &row.repeat(3), &[4, 0, 6]).unwrap();
        rows.apply_gradients(&keys, &gradients(5, 3)).unwrap();
        let killed = scratch.path().join(format!("{name}-killed"));
        copy_dir(&dir, &killed);
        let killed = open(&killed, &[]);
        let after_kill = embed(&killed, Arc::clone(&optimizer), 0);
        for (index, (key, count)) in keys.into_iter().zip([4, 0, 6]).enumerate() {
            let mut wanted = row.clone();
            let all = gradients(5, 3);
            step(&optimizer, &mut wanted, &all[index * DIM..][..DIM], count);
            for rows in [&rows, &after_kill] {
                let record = rows.record(key).unwrap();
                assert_eq!(
                    (bits(&record.data), record.update_num),
                    (bits(&wanted), count + 1),
                    "{name}"
                );
            }
        }
    }
}

/// The accumulator of each optimizer that has one, at the limits of its initial value.
#[test]
fn accumulators_begin_at_any_number_that_is_one() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(scratch.path(), &[]);
    let mut group = 0;
    for name in ["adagrad", "rowwise_adagrad", "ftrl"] {
        for initial in [0.0, 1e-40, 0.1, 1.0, 1e30] {
            let optimizer = optimizer(name, &[("initial_accumulator_value", float(initial))]);
            let rows = embed(&storage, Arc::clone(&optimizer), group);
            group += 1;
            // Rows are made by a lookup, by a gradient, by an insert, and again after a delete.
            rows.lookup(&[1], &mut [0.0; DIM]).unwrap();
            rows.apply_gradients(&[2], &gradients(1, 1)).unwrap();
            rows.insert(&[3, 4], &[1.0; 2 * DIM]).unwrap();
            rows.apply_gradients(&[4], &gradients(1, 1)).unwrap();
            rows.delete(&[4]).unwrap();
            rows.lookup(&[4], &mut [0.0; DIM]).unwrap();
            for key in [1, 3, 4] {
                let last = *rows.record(key).unwrap().data.last().unwrap();
                assert_eq!(last, initial as f32, "{name} {initial:e} key {key}");
            }
            let mut fresh = vec![1.0; DIM];
            fresh.resize(optimizer.row_len(DIM), 0.0);
            optimizer.begin(&mut fresh[DIM..]);
            step(&optimizer, &mut fresh, &gradients(1, 1), 0);
            assert_eq!(bits(&rows.record(2).unwrap().data), bits(&fresh), "{name} {initial:e}");
        }
        for refused in [-1e-30, 1e39, f64::MAX] {
            let list = params(&[("initial_accumulator_value", float(refused))]);
            let error =
                failure(Optimizer::new(name, &list, None).map(drop), Status::InvalidArgument);
            assert!(error.message().contains("initial_accumulator_value"), "{error}");
        }
    }
}
