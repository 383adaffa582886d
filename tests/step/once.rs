//! Calls that are made once, however often they are sent, and reads at an expected step.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use damo::bags::Pooling;
use damo::embedding::{CallId, Embedding};
use damo::error::{Result, Status};
use damo::kernels::{Rows, RowsMut};
use damo::step::Step;
use damo::storage::{Storage, salvage};
use serde_json::{Value, json};

use crate::common::{copy_dir, failure, filters, int, open, params, text};
use crate::{apply, bags, content, embeddings, look_up};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn call(client: u64, sequence: u64) -> CallId {
    CallId { client, sequence }
}

fn open_with(dir: &Path, durability: &str) -> Storage {
    let options = params(&[("durability", text(durability)), ("cache_bytes", int(256 << 10))]);
    Storage::open(dir, 0, &options).unwrap()
}

/// A step over the groups 0, 1 and 3, with two keys each.
fn three_groups(storage: &Storage, all: &[Arc<Embedding>]) -> Step {
    let mut step = Step::new(storage.clone());
    for group in [3, 0, 1] {
        step.add(&all[group], &[1, group as i64], None).unwrap();
    }
    step
}

fn ones(step: &Step) -> Vec<Vec<f32>> {
    step.dims(step.parts()).unwrap().into_iter().map(|dim| vec![1.0; 2 * dim]).collect()
}

fn apply_once(step: &mut Step, id: CallId, expected: &[Option<i64>]) -> Result<bool> {
    let (gradients, dims) = (ones(step), step.dims(step.parts())?);
    let given = gradients.iter().zip(dims);
    let rows: Vec<_> = given.map(|(rows, dim)| Rows::new(rows, dim, dim).unwrap()).collect();
    step.apply_gradients_once(id, expected, &rows)
}

fn lookup_at(step: &mut Step, steps: &[Option<i64>]) -> Result<Vec<Vec<f32>>> {
    let (mut outputs, dims) = (ones(step), step.dims(step.parts())?);
    let given = outputs.iter_mut().zip(dims);
    let rows = given.map(|(rows, dim)| RowsMut::new(rows, dim, dim).unwrap()).collect();
    step.lookup_at(steps, rows).map(|()| outputs)
}

/// The clients of each group that has any, without their times.
fn clients(storage: &Storage) -> Vec<(u64, u64, u64)> {
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
fn a_call_is_made_at_the_expected_step_only() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let mut step = three_groups(&storage, &all);
    all[0].set_step(5).unwrap();
    let before = content(&storage);
    let refused = |step: &mut Step, expected: &[Option<i64>], words: &str| {
        let error = failure(apply_once(step, call(1, 1), expected), Status::StepMismatch);
        assert_eq!(error.message(), words);
    };
    refused(
        &mut step,
        &[None, Some(6), None],
        "expected[1] is 6, and the global step of group 0 is 5; the call was not made",
    );
    refused(
        &mut step,
        &[Some(1), Some(5), Some(0)],
        "expected[0] is 1, and the global step of group 3 is 0; the call was not made",
    );
    let single = |expected| all[0].apply_gradients_once(call(1, 1), expected, &[1], &[1.0; 4]);
    let error = failure(single(Some(4)), Status::StepMismatch);
    let words = "expected is 4, and the global step of group 0 is 5; the call was not made";
    assert_eq!(error.message(), words);
    assert!(content(&storage) == before && clients(&storage).is_empty());
    assert!(apply_once(&mut step, call(1, 1), &[Some(0), Some(5), None]).unwrap());
    // What is stored is not compared.
    assert!(!apply_once(&mut step, call(1, 1), &[Some(0), Some(5), None]).unwrap());
    assert!(!single(Some(77)).unwrap());
}

#[test]
fn a_read_is_made_at_the_expected_step_only() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let mut step = three_groups(&storage, &all);
    all[1].set_step(8).unwrap();
    let error = failure(lookup_at(&mut step, &[Some(0), None, Some(7)]), Status::StepMismatch);
    let words = "steps[2] is 7, and the global step of group 1 is 8; the call was not made";
    assert_eq!(error.message(), words);
    assert_eq!(content(&storage).0, [], "no row was made");
    let found = lookup_at(&mut step, &[Some(0), None, Some(8)]).unwrap();
    assert_eq!(found, look_up(&mut step, &[2, 2, 2]).unwrap());
    let mut weights = [f32::NAN; 4];
    let error = failure(all[0].lookup_at(3, &[1], &mut weights), Status::StepMismatch);
    let words = "step is 3, and the global step of group 0 is 0; the call was not made";
    assert_eq!(error.message(), words);
    assert!(weights[0].is_nan());
    all[0].lookup_at(0, &[1], &mut weights).unwrap();
    assert_eq!(weights, found[1][..4]);
}

#[test]
fn lists_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let mut step = three_groups(&storage, &all);
    step.add(&all[0], &[5, 6], None).unwrap();
    let steps = [None, Some(0), None, Some(1)];
    let words = "expected[1] is 0 and expected[3] is 1, and both parts are of group 0; one step";
    let error = failure(apply_once(&mut step, call(1, 1), &steps), Status::InvalidArgument);
    assert!(error.message().contains(words), "{error}");
    let error = failure(lookup_at(&mut step, &steps), Status::InvalidArgument);
    assert!(error.message().contains("steps[1] is 0 and steps[3] is 1"), "{error}");
    let error = failure(lookup_at(&mut step, &[None]), Status::InvalidArgument);
    assert!(error.message().contains("parts_len is 1 and the step has 4 parts"), "{error}");
    assert!(apply_once(&mut step, call(1, 1), &[None, Some(0), None, Some(0)]).unwrap());
    // A number that some groups have is another call's.
    all[0].apply_gradients_once(call(1, 4), None, &[1], &[1.0; 4]).unwrap();
    let before = content(&storage);
    let error = failure(apply_once(&mut step, call(1, 3), &[]), Status::InvalidArgument);
    let words = "sequence is 3, and the latest of client 1 is 4 in group 0 and 1 in group 1: a";
    assert!(error.message().contains(words), "{error}");
    let mut other = Step::new(storage.clone());
    other.add(&all[0], &[1, 2], None).unwrap();
    other.add(&all[4], &[1, 2], None).unwrap();
    let error = failure(apply_once(&mut other, call(1, 4), &[]), Status::InvalidArgument);
    assert!(error.message().contains("is 4 in group 0 and none in group 4: a"), "{error}");
    assert!(content(&storage) == before);
    assert!(apply_once(&mut other, call(1, 5), &[]).unwrap());
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

#[test]
fn clients_survive_closing_kills_checkpoints_and_loads() {
    for durability in ["process", "power", "checkpoint"] {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("0");
        let storage = open_with(&dir, durability);
        let all = embeddings(&storage, &[]);
        let mut step = three_groups(&storage, &all);
        apply_once(&mut step, call(1, 10), &[]).unwrap();
        let checkpoint = scratch.path().join("checkpoint");
        storage.checkpoint(&checkpoint).unwrap();
        let at = |sequence| [(0, 1, sequence), (1, 1, sequence), (3, 1, sequence)];
        apply_once(&mut step, call(1, 11), &[]).unwrap();
        if durability == "checkpoint" {
            storage.flush().unwrap();
        }
        apply_once(&mut step, call(1, 12), &[]).unwrap();
        if durability == "checkpoint" {
            storage.flush().unwrap();
        }
        // What a kill would leave.
        let copy = scratch.path().join("copy");
        copy_dir(&dir, &copy);
        let killed = open_with(&copy, durability);
        assert_eq!(clients(&killed), at(12), "{durability}");
        let mut again = three_groups(&killed, &embeddings(&killed, &[]));
        assert!(!apply_once(&mut again, call(1, 12), &[]).unwrap());
        assert!(content(&killed) == content(&storage));
        drop((again, killed));
        // Closed and opened; closed once more without any call.
        drop((step, all, storage));
        for _ in 0..2 {
            assert_eq!(clients(&open_with(&dir, durability)), at(12));
        }
        let storage = open_with(&dir, durability);
        let all = embeddings(&storage, &[]);
        let mut step = three_groups(&storage, &all);
        let late = call(2, 1);
        all[4].apply_gradients_once(late, None, &[1], &[1.0; 32]).unwrap();
        assert_eq!(clients(&open(&checkpoint)), at(10), "a checkpoint");
        storage.load_from_checkpoint(&checkpoint).unwrap();
        assert_eq!(clients(&storage), at(10));
        assert!(!apply_once(&mut step, call(1, 10), &[]).unwrap());
        assert!(apply_once(&mut step, call(1, 11), &[Some(1), Some(1), Some(1)]).unwrap());
        assert!(all[4].apply_gradients_once(late, None, &[1], &[1.0; 32]).unwrap());
        drop((step, all, storage));
        let expected = [(0, 1, 11), (1, 1, 11), (3, 1, 11), (4, 2, 1)];
        assert_eq!(clients(&open_with(&dir, durability)), expected);
    }
}

#[test]
fn a_client_is_forgotten_on_request_for_good() {
    for durability in ["process", "power", "checkpoint"] {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("0");
        let storage = open_with(&dir, durability);
        let mut step = three_groups(&storage, &embeddings(&storage, &[]));
        apply_once(&mut step, call(1, 10), &[]).unwrap();
        apply_once(&mut step, call(2, 10), &[]).unwrap();
        storage.flush().unwrap();
        apply_once(&mut step, call(1, 11), &[]).unwrap();
        drop((step, storage));
        // A process that has opened no group.
        let storage = open_with(&dir, durability);
        let rows = content(&storage);
        assert!(storage.forget_client(1).unwrap());
        assert!(!storage.forget_client(1).unwrap() && !storage.forget_client(3).unwrap());
        let left = [(0, 2, 10), (1, 2, 10), (3, 2, 10)];
        assert_eq!(clients(&storage), left);
        if durability == "checkpoint" {
            storage.flush().unwrap();
        }
        let copy = scratch.path().join("copy");
        copy_dir(&dir, &copy);
        assert_eq!(clients(&open_with(&copy, durability)), left, "{durability}, killed");
        drop(storage);
        let storage = open_with(&dir, durability);
        assert_eq!(clients(&storage), left, "{durability}");
        assert!(content(&storage) == rows);
        let mut step = three_groups(&storage, &embeddings(&storage, &[]));
        assert!(apply_once(&mut step, call(1, 1), &[]).unwrap());
        assert!(!apply_once(&mut step, call(1, 1), &[]).unwrap());
    }
}

#[test]
fn a_client_is_forgotten_after_30_days() {
    let dir = tempfile::tempdir().unwrap();
    let start = 4_000_000_000_000;
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let once = |client, sequence| {
        all[0].apply_gradients_once(call(client, sequence), None, &[1], &[1.0; 4]).unwrap()
    };
    storage.set_clock_for_test(start).unwrap();
    assert!(once(1, 5) && once(2, 5));
    storage.set_clock_for_test(start + 30 * DAY_MS - 1).unwrap();
    assert!(!once(1, 5) && once(2, 6));
    assert_eq!(clients(&storage), [(0, 1, 5), (0, 2, 6)]);
    storage.set_clock_for_test(start + 30 * DAY_MS).unwrap();
    assert_eq!(clients(&storage), [(0, 2, 6)]);
    storage.flush().unwrap();
    assert!(!storage.forget_client(1).unwrap(), "the round has forgotten it");
    assert!(once(1, 5) && !once(1, 5));
    drop((all, storage));
    let storage = open(dir.path());
    assert_eq!(clients(&storage), [(0, 1, 5), (0, 2, 6)]);
    storage.set_clock_for_test(start + 90 * DAY_MS).unwrap();
    assert_eq!(clients(&storage), []);
}

#[test]
fn a_clear_forgets_no_client() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("0");
    let storage = open(&dir);
    let all = embeddings(&storage, &[]);
    let id = call(1, 1);
    assert!(all[0].apply_gradients_once(id, None, &[1], &[1.0; 4]).unwrap());
    all[0].clear().unwrap();
    assert!(!all[0].apply_gradients_once(id, None, &[1], &[1.0; 4]).unwrap());
    assert!(content(&storage).0.is_empty());
    for flushed in [false, true] {
        let copy = scratch.path().join(format!("copy-{flushed}"));
        copy_dir(&dir, &copy);
        assert_eq!(clients(&open(&copy)), [(0, 1, 1)]);
        storage.flush().unwrap();
    }
}

#[test]
fn read_only_shows_clients_and_reads_at_steps() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    all[0].apply_gradients_once(call(1, 1), None, &[1], &[1.0; 4]).unwrap();
    let mut weights = [0.0; 4];
    all[0].lookup(&[1], &mut weights).unwrap();
    let looked_at = Storage::open(dir.path(), 0, &params(&[("read_only", true.into())])).unwrap();
    assert_eq!(clients(&looked_at), [(0, 1, 1)]);
    let group = &embeddings(&looked_at, &[])[0];
    let refused = group.apply_gradients_once(call(1, 1), None, &[1], &[1.0; 4]);
    failure(refused, Status::NotSupported);
    failure(looked_at.forget_client(1), Status::NotSupported);
    let mut read = [0.0; 4];
    failure(group.lookup_at(0, &[1], &mut read), Status::StepMismatch);
    group.lookup_at(1, &[1], &mut read).unwrap();
    assert_eq!(read, weights);
}

#[test]
fn salvage_saves_clients() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("0");
    let storage = open(&dir);
    let all = embeddings(&storage, &[]);
    for (client, flush) in [(1, true), (2, false)] {
        all[0].apply_gradients_once(call(client, 3), None, &[1], &[1.0; 4]).unwrap();
        all[1].apply_gradients_once(call(client, 4), None, &[1], &[1.0; 8]).unwrap();
        if flush {
            storage.flush().unwrap();
        }
    }
    let (copy, out) = (scratch.path().join("copy"), scratch.path().join("out"));
    copy_dir(&dir, &copy);
    salvage(&copy, &out, None, |_| {}).unwrap();
    let saved = open(&out);
    assert_eq!(clients(&saved), [(0, 1, 3), (0, 2, 3), (1, 1, 4), (1, 2, 4)]);
    assert!(content(&saved) == content(&storage));
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

/// Each row has as many updates as the step that was asked for.
#[test]
fn a_read_at_a_step_sees_that_step_beside_others() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let keys: Vec<i64> = (0..500).collect();
    let mut step = Step::new(storage.clone());
    [1, 2].iter().for_each(|group| step.add(&all[*group], &keys, None).unwrap());
    let gradients = [vec![1.0; 500 * 8], vec![1.0; 500 * 16]];
    let fresh = look_up(&mut step, &[500, 500]).unwrap().remove(0);
    let (is_over, read) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut step = Step::new(storage.clone());
                [1, 2].iter().for_each(|group| step.add(&all[*group], &keys, None).unwrap());
                let mut outputs = [vec![0.0f32; 500 * 8], vec![0.0f32; 500 * 16]];
                while !is_over.load(Ordering::SeqCst) {
                    let at = all[1].step().unwrap();
                    let given = outputs.iter_mut().zip([8, 16]);
                    let rows = given.map(|(rows, dim)| RowsMut::new(rows, dim, dim).unwrap());
                    match step.lookup_at(&[Some(at), Some(at)], rows.collect()) {
                        Ok(()) => {
                            // sgd moves each weight by the same amount.
                            let wanted = 0.05 * at as f32;
                            let moved = outputs[0].iter().zip(&fresh).map(|(now, then)| then - now);
                            moved.for_each(|moved| assert!((moved - wanted).abs() < 1e-3));
                            read.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(error) => assert_eq!(error.status(), Status::StepMismatch),
                    }
                }
            });
        }
        let plain = scope.spawn(|| {
            for _ in 0..100 {
                apply(&mut step, &gradients).unwrap();
            }
        });
        plain.join().unwrap();
        is_over.store(true, Ordering::SeqCst);
    });
    println!("{} lookups at a step", read.into_inner());
    assert_eq!(content(&storage).1[1..3], [100, 100]);
}

#[test]
fn descriptions_have_the_time_of_the_latest_call() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    storage.set_clock_for_test(4_000_000_000_000).unwrap();
    all[0].apply_gradients_once(call(u64::MAX, 0), None, &[], &[]).unwrap();
    let description: Value = serde_json::from_str(&storage.describe().unwrap()).unwrap();
    let client = json!({ "client": u64::MAX, "sequence": 0, "time": 4_000_000_000_000u64 });
    assert_eq!(description["groups"][0]["clients"], json!([client]));
    assert_eq!(description["groups"][1]["clients"], json!([]));
}
