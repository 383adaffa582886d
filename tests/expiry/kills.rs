//! Expiry and kills. A replayed call sees the rows that it saw the first time, whatever the TTL of
//! the next opening. Merging keeps the rows that calls in the journal were made on.
//!
//! A test runs itself again as the process to be killed.

use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Value;
use damo::storage::{Storage, salvage};
use serde::{Deserialize, Serialize};

use crate::common::{embed, failure, params, rerun, sgd, text};

const CHILD: &str = "DAMO_EXPIRY_TEST_SESSION";
/// Later than any machine's clock, which an opening reads until a test sets it.
const START: u64 = 4_000_000_000_000;
const HOUR_S: i64 = 3600;
const HOUR_MS: u64 = 3_600_000;
/// A row on disk; one that only the journal has; one that is inserted again; one that is deleted;
/// one that is deleted and trained again.
const KEYS: [i64; 5] = [1, 2, 3, 4, 5];

/// Update count, time and weight of each row that exists.
type State = Vec<Option<(u64, u64, f32)>>;

fn open(
    dir: &Path,
    ttl_seconds: i64,
    clock: u64,
    options: &[(&str, Value)],
) -> (Storage, Embedding) {
    let storage = Storage::open(dir, ttl_seconds, &params(options)).unwrap();
    storage.set_clock_for_test(clock).unwrap();
    let embedding = sgd(&storage, 1, 1.0, &[]);
    (storage, embedding)
}

fn state(embedding: &Embedding) -> State {
    let record = |key: &i64| embedding.record(*key).ok();
    KEYS.iter()
        .map(|key| record(key).map(|row| (row.update_num, row.update_time, row.data[0])))
        .collect()
}

/// Makes all rows again.
fn begin(storage: &Storage, embedding: &Embedding) {
    embedding.delete(&KEYS).unwrap();
    embedding.apply_gradients(&[1], &[0.25]).unwrap();
    storage.flush().unwrap();
    embedding.apply_gradients(&KEYS[1..], &[0.25; 4]).unwrap();
}

/// Calls that update or delete every row.
fn go_on(embedding: &Embedding) {
    embedding.apply_gradients(&[1, 2], &[0.5; 2]).unwrap();
    embedding.insert(&[3], &[7.0]).unwrap();
    embedding.delete(&[4, 5]).unwrap();
    embedding.apply_gradients(&[5], &[0.5]).unwrap();
}

/// What a process does before its kill: it makes or loads rows, and goes on an hour later.
#[derive(Serialize, Deserialize)]
struct Session {
    dir: PathBuf,
    ttl_seconds: i64,
    durability: String,
    clock: u64,
    /// The rows that it must find.
    found: State,
    checkpoint: Option<PathBuf>,
}

impl Session {
    fn told() -> Option<Session> {
        std::env::var(CHILD).ok().map(|told| serde_json::from_str(&told).unwrap())
    }

    fn left(&self) -> PathBuf {
        self.dir.with_extension("left")
    }

    fn run(&self) {
        let options = [("durability", text(&self.durability))];
        let (storage, embedding) = open(&self.dir, self.ttl_seconds, self.clock, &options);
        assert_eq!(state(&embedding), self.found, "opened with {} s", self.ttl_seconds);
        match &self.checkpoint {
            Some(checkpoint) => storage.load_from_checkpoint(checkpoint).unwrap(),
            None => begin(&storage, &embedding),
        }
        storage.set_clock_for_test(self.clock + HOUR_MS).unwrap();
        go_on(&embedding);
        std::fs::write(self.left(), serde_json::to_vec(&state(&embedding)).unwrap()).unwrap();
        // SAFETY: raise takes a number and touches no memory.
        unsafe { libc::raise(libc::SIGKILL) };
    }

    /// Runs the session in a process, through this test, until its kill; returns the rows it saw
    /// last.
    fn kill(&self, test: impl Fn()) -> State {
        let told = serde_json::to_string(self).unwrap();
        let output = rerun(test).env(CHILD, told).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{told}");
        serde_json::from_slice(&std::fs::read(self.left()).unwrap()).unwrap()
    }
}

/// Compares a killed storage with its rows before the kill: looked at with other TTLs, and
/// salvaged.
fn compare(killed: &Path, clock: u64, expected: &State) {
    let read_only = [("read_only", Value::Bool(true))];
    for ttl_seconds in [HOUR_S / 2, 2 * HOUR_S] {
        let (_storage, rows) = open(killed, ttl_seconds, clock, &read_only);
        assert_eq!(state(&rows), *expected, "looked at with {ttl_seconds} s");
    }
    let salvaged = killed.with_extension("salvaged");
    salvage(killed, &salvaged, None, |_| ()).unwrap();
    let (_storage, rows) = open(&salvaged, 0, clock, &[]);
    assert_eq!(state(&rows), *expected, "salvaged");
    std::fs::remove_dir_all(salvaged).unwrap();
}

#[test]
fn a_call_that_is_made_again_goes_by_the_time_to_live_that_it_was_made_with() {
    if let Some(session) = Session::told() {
        return session.run();
    }
    // Whether the rows of an hour before have expired for the calls of each opening.
    for (durability, openings) in [
        ("process", [(2 * HOUR_S, false), (HOUR_S / 2, true), (0, false)]),
        ("power", [(HOUR_S / 2, true), (2 * HOUR_S, false), (HOUR_S, true)]),
        ("process", [(HOUR_S, true), (HOUR_S + 1, false), (1, true)]),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("t");
        let (mut clock, mut expected) = (START, vec![None; KEYS.len()]);
        for (ttl_seconds, has_expired) in openings {
            let (durability, found) = (durability.to_owned(), expected);
            let session = Session {
                dir: dir.clone(),
                ttl_seconds,
                durability,
                clock,
                found,
                checkpoint: None,
            };
            expected = session
                .kill(a_call_that_is_made_again_goes_by_the_time_to_live_that_it_was_made_with);
            let updates: Vec<Option<u64>> =
                expected.iter().map(|row| row.map(|row| row.0)).collect();
            let trained = if has_expired { 1 } else { 2 };
            assert_eq!(
                updates,
                [Some(trained), Some(trained), Some(0), None, Some(1)],
                "{ttl_seconds} s"
            );
            clock += HOUR_MS;
            compare(&dir, clock, &expected);
        }
        let (_storage, rows) = open(&dir, HOUR_S, clock, &[]);
        assert_eq!(state(&rows), expected);
    }
}

/// The TTL of the checkpoint's storage does not apply to later calls.
#[test]
fn calls_on_a_loaded_checkpoint_go_by_the_time_to_live_of_the_storage() {
    if let Some(session) = Session::told() {
        return session.run();
    }
    for (there, here) in [(2 * HOUR_S, HOUR_S / 2), (HOUR_S / 2, 2 * HOUR_S)] {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let (other, rows) = open(&path("other"), there, START, &[]);
        begin(&other, &rows);
        other.checkpoint(path("checkpoint")).unwrap();
        let session = Session {
            dir: path("t"),
            ttl_seconds: here,
            durability: "process".to_owned(),
            clock: START,
            found: vec![None; KEYS.len()],
            checkpoint: Some(path("checkpoint")),
        };
        let expected =
            session.kill(calls_on_a_loaded_checkpoint_go_by_the_time_to_live_of_the_storage);
        assert_eq!(expected[0].unwrap().0, if here < HOUR_S { 1 } else { 2 });
        compare(&path("t"), START + HOUR_MS, &expected);
        let (_storage, rows) = open(&path("t"), there, START + HOUR_MS, &[]);
        assert_eq!(state(&rows), expected, "{there} s, then {here} s");
    }
}

/// The row on disk expires while the row in memory, with a later update, lives on. The call between
/// them is in the journal, so merging must not drop the row on disk. A poisoned group keeps the
/// later row from being written.
#[test]
fn merging_leaves_the_rows_that_the_journals_calls_were_made_on() {
    for durability in ["process", "power"] {
        let scratch = tempfile::tempdir().unwrap();
        let options = [("durability", text(durability)), ("threads", Value::Int(1))];
        let (storage, before) = open(scratch.path(), HOUR_S, START, &options);
        let [embedding, behind] = [1, 2].map(|group| embed(&storage, group));
        // This row expires before the next call is on disk: merging drops it, which shows that a
        // merge ran.
        embedding.apply_gradients(&[100], &[0.25]).unwrap();
        storage.flush().unwrap();
        storage.set_clock_for_test(START + HOUR_MS + 1).unwrap();
        embedding.apply_gradients(&KEYS, &[0.25; 5]).unwrap();
        storage.flush().unwrap();
        storage.set_clock_for_test(START + 2 * HOUR_MS).unwrap();
        embedding.apply_gradients(&KEYS, &[0.5; 5]).unwrap();
        let expected = state(&embedding);
        assert!(expected.iter().all(|row| row.is_some_and(|row| row.0 == 2)));
        catch_unwind(AssertUnwindSafe(|| embedding.panic_for_test())).unwrap_err();
        storage.set_clock_for_test(START + 2 * HOUR_MS + 1000).unwrap();
        let (mut key, began) = (0, Instant::now());
        while storage.stat("expired_rows").unwrap() == 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing was merged");
            // The key ranges of these files span the rows, so merges include them.
            before.insert(&[key], &[1.0]).unwrap();
            behind.insert(&[key], &[1.0]).unwrap();
            failure(storage.flush(), Status::Poisoned);
            key += 1;
        }
        drop((before, embedding, behind, storage));
        let (storage, _before) = open(scratch.path(), HOUR_S, START + 2 * HOUR_MS, &options);
        assert_eq!(state(&embed(&storage, 1)), expected, "{durability}");
        assert_eq!(
            storage.row_count(None).unwrap(),
            KEYS.len() as u64 + 2 * key as u64,
            "{durability}"
        );
    }
}
