//! The clients whose calls are stored: what they survive, and when they are forgotten.

use damo::error::Status;
use damo::storage::{Storage, salvage};
use serde_json::{Value, json};

use crate::common::{copy_dir, failure, open, params};
use crate::once::{apply_once, call, clients, open_with, three_groups};
use crate::{content, embeddings};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

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
