//! Calls that are made once, however often they are sent.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use damo::bags::Pooling;
use damo::embedding::{CallId, Embedding};
use damo::error::{Result, Status};
use damo::kernels::Rows;
use damo::step::Step;
use damo::storage::Storage;
use serde_json::Value;

use crate::common::{failure, filters, int, open, params, text};
use crate::{apply, bags, content, embeddings, look_up};

pub fn call(client: u64, sequence: u64) -> CallId {
    CallId { client, sequence }
}

pub fn open_with(dir: &Path, durability: &str) -> Storage {
    let options = params(&[("durability", text(durability)), ("cache_bytes", int(256 << 10))]);
    Storage::open(dir, 0, &options).unwrap()
}

/// A step over the groups 0, 1 and 3, with two keys each.
pub fn three_groups(storage: &Storage, all: &[Arc<Embedding>]) -> Step {
    let mut step = Step::new(storage.clone());
    for group in [3, 0, 1] {
        step.add(&all[group], &[1, group as i64], None).unwrap();
    }
    step
}

pub fn ones(step: &Step) -> Vec<Vec<f32>> {
    step.dims(step.parts()).unwrap().into_iter().map(|dim| vec![1.0; 2 * dim]).collect()
}

pub fn apply_once(step: &mut Step, id: CallId, expected: &[Option<i64>]) -> Result<bool> {
    let (gradients, dims) = (ones(step), step.dims(step.parts())?);
    let given = gradients.iter().zip(dims);
    let rows: Vec<_> = given.map(|(rows, dim)| Rows::new(rows, dim, dim).unwrap()).collect();
    step.apply_gradients_once(id, expected, &rows)
}

/// The clients of each group that has any, without their times.
pub fn clients(storage: &Storage) -> Vec<(u64, u64, u64)> {
    let description: Value = serde_json::from_str(&storage.describe().unwrap()).unwrap();
    let groups = description["groups"].as_array().unwrap();
    let of_group = |group: &Value| {
        let number = group["group"].as_u64().unwrap();
        let client = |client: &Value| {
            let [id, sequence] = ["client", "sequence"].map(|name| client[name].as_u64().unwrap());
            (number, id, sequence)
        };
        group["clients"].as_array().unwrap().iter().map(client).collect::<Vec<_>>()
    };
    groups.iter().flat_map(of_group).collect()
}

#[test]
fn a_call_that_is_stored_is_not_made_again() {
    for durability in ["process", "power", "checkpoint"] {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let storages = dirs.each_ref().map(|dir| open_with(dir.path(), durability));
        let [all, plain] = storages.each_ref().map(|storage| embeddings(storage, &[]));
        let mut steps = [0, 1].map(|at| three_groups(&storages[at], [&all, &plain][at]));
        let gradients = ones(&steps[0]);
        for sequence in 1..=4 {
            for attempt in 0..3 {
                let made = apply_once(&mut steps[0], call(7, 3 * sequence), &[]).unwrap();
                assert_eq!(made, attempt == 0);
                // An earlier one counts as stored, too; another client's does not.
                assert!(!apply_once(&mut steps[0], call(7, 3 * sequence - 1), &[]).unwrap());
            }
            apply(&mut steps[1], &gradients).unwrap();
            let single = [2.0; 4];
            let made = all[0].apply_gradients_once(call(7, 3 * sequence + 1), None, &[9], &single);
            assert!(made.unwrap());
            // After the later single call, only its group has it.
            assert!(!all[0].apply_gradients_once(call(7, 1), None, &[9], &single).unwrap());
            plain[0].apply_gradients(&[9], &single).unwrap();
            let other = call(u64::MAX, sequence);
            assert!(all[1].apply_gradients_once(other, None, &[], &[]).unwrap());
            plain[1].apply_gradients(&[], &[]).unwrap();
            assert!(content(&storages[0]) == content(&storages[1]), "{durability}");
        }
        let last = [(0, 7, 13), (1, 7, 12), (1, u64::MAX, 4), (3, 7, 12)];
        assert_eq!(clients(&storages[0]), last);
        assert_eq!(clients(&storages[1]), []);
    }
}

#[test]
fn duplicates_and_filters_are_as_with_plain_calls() {
    for duplicates in ["sequential", "sum", "mean"] {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let storages = dirs.each_ref().map(|dir| open(dir.path()));
        let options = [("duplicates", text(duplicates))];
        let [all, plain] = storages.each_ref().map(|storage| embeddings(storage, &options));
        for (dir, group) in dirs.iter().zip([&all[4], &plain[4]]) {
            let filter = filters::filter(&dir.path().join("filter"));
            group.set_filter(Some(filter)).unwrap();
            let mut weights = vec![0.0; 3 * 32];
            group.lookup(&[1, 1, 5], &mut weights).unwrap();
        }
        let keys: Vec<i64> = (0..300).map(|n| n % 7).collect();
        for (number, group) in [0, 1, 4].into_iter().enumerate() {
            let count = keys.len() * all[group].dim();
            let gradients: Vec<f32> = (0..count).map(|n| (n % 13) as f32 - 6.0).collect();
            let id = call(1, number as u64);
            assert!(all[group].apply_gradients_once(id, Some(0), &keys, &gradients).unwrap());
            plain[group].apply_gradients(&keys, &gradients).unwrap();
        }
        assert!(content(&storages[0]) == content(&storages[1]), "{duplicates}");
    }
}

#[test]
fn a_call_that_failed_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let wrong = all[0].apply_gradients_once(call(1, 1), None, &[1], &[f32::NAN; 4]);
    failure(wrong, Status::InvalidArgument);
    let short = all[0].apply_gradients_once(call(1, 1), None, &[1], &[1.0; 3]);
    failure(short, Status::InvalidArgument);
    assert_eq!(clients(&storage), []);
    assert!(all[0].apply_gradients_once(call(1, 1), None, &[1], &[1.0; 4]).unwrap());
    // One that is stored is not looked at any more.
    let wrong = all[0].apply_gradients_once(call(1, 1), None, &[1], &[f32::NAN; 4]);
    assert!(!wrong.unwrap());
}

/// A step that is sent again may come to a process that has not made its lookup.
#[test]
fn a_stored_call_needs_no_lookup() {
    let dir = tempfile::tempdir().unwrap();
    for made in [true, false] {
        let storage = open(dir.path());
        let all = embeddings(&storage, &[]);
        let mut step = Step::new(storage.clone());
        step.add(&all[0], &[1, 2], Some(bags(&[0, 1], Pooling::Max))).unwrap();
        if made {
            look_up(&mut step, &[2]).unwrap();
        }
        assert_eq!(apply_once(&mut step, call(1, 1), &[]).unwrap(), made);
    }
}

/// No client may do that. The call is made once all the same.
#[test]
fn a_call_on_many_threads_is_made_once() {
    for durability in ["process", "power"] {
        let dir = tempfile::tempdir().unwrap();
        let storage = open_with(dir.path(), durability);
        let all = embeddings(&storage, &[]);
        let made = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut step = three_groups(&storage, &all);
                    for sequence in 0..50 {
                        // All groups are seen with the step, or none.
                        let done = apply_once(&mut step, call(1, sequence), &[]).unwrap();
                        let least = sequence as i64 + 1;
                        assert!(all[0].step().unwrap() >= least && all[3].step().unwrap() >= least);
                        made.fetch_add(u64::from(done), Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(content(&storage).1, [50, 50, 0, 50, 0]);
        assert_eq!(made.into_inner(), 50);
    }
}
