//! A storage's time never goes back: over kills, checkpoints and increments, for readers of every
//! kind.

use std::path::Path;

use damo::embedding::Embedding;
use damo::params::Value;
use damo::storage::{DumpOptions, Storage};
use damo::table::{Table, merge};

use crate::common::{copy_dir, int, params, peek, sgd, text};

const START: u64 = 1_795_000_000_000;
const TTL_S: i64 = 3600;
/// At this time a row of START has expired.
const LATER: u64 = START + 3_700_000;
/// At this earlier time it has not.
const EARLIER: u64 = START + 3_000_000;

fn open(dir: &Path, clock: u64, durability: &str) -> (Storage, Embedding) {
    let options = [("durability", text(durability)), ("threads", int(1))];
    let storage = Storage::open(dir, TTL_S, &params(&options)).unwrap();
    storage.set_clock_for_test(clock).unwrap();
    let embedding = sgd(&storage, 1, 1.0, &[]);
    (storage, embedding)
}

fn found(embedding: &Embedding, key: i64) -> bool {
    peek(embedding, &[key]).1 == [1]
}

/// Update count and time of a row.
fn state(embedding: &Embedding, key: i64) -> (u64, u64) {
    let record = embedding.record(key).unwrap();
    (record.update_num, record.update_time)
}

/// The clock goes back, calls follow, merges drop expired rows, and a kill: every call that
/// returned is kept, and memory and disk agree.
#[test]
fn no_call_is_lost_that_was_made_after_the_clock_went_back() {
    for durability in ["process", "power"] {
        let scratch = tempfile::tempdir().unwrap();
        let (storage, embedding) = open(&scratch.path().join("t"), START, durability);
        embedding.apply_gradients(&[5], &[0.5]).unwrap();
        storage.compact().unwrap();
        storage.set_clock_for_test(LATER).unwrap();
        embedding.apply_gradients(&[6], &[0.5]).unwrap();
        storage.flush().unwrap();
        storage.set_clock_for_test(EARLIER).unwrap();
        embedding.apply_gradients(&[5], &[0.5]).unwrap();
        embedding.apply_gradients(&[5], &[0.25]).unwrap();
        assert_eq!(state(&embedding, 5), (2, LATER));
        // Killed before and after merging has dropped the row of START.
        for (turn, clock) in [EARLIER, START + 3_800_000].into_iter().enumerate() {
            storage.set_clock_for_test(clock).unwrap();
            if turn == 1 {
                for key in 100..110 {
                    embedding.apply_gradients(&[key - 105, key], &[0.5, 0.5]).unwrap();
                    storage.flush().unwrap();
                }
                storage.compact().unwrap();
            }
            let killed = scratch.path().join(format!("killed-{turn}"));
            copy_dir(&scratch.path().join("t"), &killed);
            for clock in [clock, EARLIER] {
                let (_storage, rows) = open(&killed, clock, durability);
                assert_eq!(state(&rows, 5), state(&embedding, 5), "{durability} {turn}");
                assert_eq!(peek(&rows, &[5]), peek(&embedding, &[5]));
            }
        }
    }
}

#[test]
fn a_checkpoint_takes_its_time_along() {
    for durability in ["process", "checkpoint"] {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let (storage, embedding) = open(&path("t"), START, durability);
        embedding.apply_gradients(&[5], &[0.5]).unwrap();
        storage.set_clock_for_test(LATER).unwrap();
        assert!(!found(&embedding, 5));
        storage.checkpoint(path("checkpoint")).unwrap();

        let (other, rows) = open(&path("other"), EARLIER, durability);
        rows.apply_gradients(&[7], &[0.5]).unwrap();
        other.load_from_checkpoint(path("checkpoint")).unwrap();
        let check = |rows: &Embedding, what: &str| {
            assert!(!found(rows, 5), "{durability}, {what}");
            rows.apply_gradients(&[5], &[0.5]).unwrap();
            assert_eq!(state(rows, 5), (1, LATER), "{durability}, {what}");
        };
        check(&rows, "loaded");
        // The next opening and a storage that the checkpoint becomes know the time, too.
        drop((other, rows));
        let (_other, rows) = open(&path("other"), EARLIER, durability);
        assert_eq!(state(&rows, 5), (1, LATER));
        let (_opened, rows) = open(&path("checkpoint"), EARLIER, durability);
        check(&rows, "opened");
        // A storage whose time is later than the checkpoint's keeps its own.
        let (third, rows) = open(&path("third"), LATER + 5000, durability);
        rows.apply_gradients(&[8], &[0.5]).unwrap();
        third.set_clock_for_test(EARLIER).unwrap();
        storage.checkpoint(path("again")).unwrap();
        third.load_from_checkpoint(path("again")).unwrap();
        rows.apply_gradients(&[9], &[0.5]).unwrap();
        assert_eq!(state(&rows, 9), (1, LATER + 5000), "{durability}");
    }
}

/// After an increment that removes a row no increment brings it back.
#[test]
fn increments_over_a_clock_that_goes_back_add_up_to_the_full_dump() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let dump = |storage: &Storage, name: &str, since: Option<u64>| {
        let since = since.map(|since| ("since", int(since as i64)));
        let list: Vec<(&str, Value)> =
            [("format", text("table"))].into_iter().chain(since).collect();
        storage.dump(path(name), DumpOptions::read(&params(&list)).unwrap(), |_, _| true).unwrap()
    };
    let (mut storage, mut rows) = open(&path("t"), START, "process");
    rows.apply_gradients(&[1, 2, 3, 4], &[0.5; 4]).unwrap();
    let mut since = dump(&storage, "base", None).number;
    let steps = [
        (LATER, vec![1], 3, "expiry"),
        (EARLIER, vec![2], 0, "the clock went back"),
        (START, vec![], 0, "further back"),
        (LATER + 3_500_000, vec![9], 0, "nothing has expired yet"),
        (LATER + 3_600_000, vec![9], 2, "from the time that was used"),
    ];
    for (turn, (clock, trained, removed, what)) in steps.into_iter().enumerate() {
        storage.set_clock_for_test(clock).unwrap();
        if !trained.is_empty() {
            rows.apply_gradients(&trained, &[0.25]).unwrap();
        }
        if turn % 2 == 1 {
            storage.compact().unwrap();
        }
        if turn == 2 {
            drop((storage, rows));
            (storage, rows) = open(&path("t"), clock, "process");
        }
        let increment = dump(&storage, "increment", Some(since));
        since = dump(&storage, "full", None).number;
        merge(&path("base"), &path("increment"), &path("base")).unwrap();
        let [merged, full] = ["base", "full"].map(|name| std::fs::read(path(name)).unwrap());
        assert!(merged == full, "{what}");
        // Each increment of a day lists the removals of that day again.
        assert!(increment.removed >= removed, "{what}: {}", increment.removed);
    }
    assert_eq!(Table::open(&path("base")).unwrap().rows(0).unwrap(), 1);
}

/// All readers agree on a row that had expired before the clock went back.
#[test]
fn every_reader_has_the_time_that_was_used() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("t");
    let (storage, embedding) = open(&dir, START, "process");
    embedding.apply_gradients(&[5], &[0.5]).unwrap();
    storage.flush().unwrap();
    storage.set_clock_for_test(LATER).unwrap();
    embedding.apply_gradients(&[6], &[0.5]).unwrap();
    let see = |storage: &Storage, embedding: &Embedding, what: &str| {
        let mut rows = storage.rows(None).unwrap();
        let keys: Vec<i64> =
            std::iter::from_fn(|| rows.next_row().unwrap()).map(|row| row.key).collect();
        assert_eq!(keys, [6], "{what}");
        assert_eq!(
            (storage.row_count(None).unwrap(), storage.verify().unwrap().rows),
            (1, 1),
            "{what}"
        );
        assert_eq!(peek(embedding, &[5, 6]).1, [0, 1], "{what}");
        assert!(embedding.record(5).is_err(), "{what}");
        let options = DumpOptions::read(&params(&[])).unwrap();
        let dumped = storage.dump(scratch.path().join("dump"), options, |_, _| true).unwrap();
        assert_eq!(dumped.rows, 1, "{what}");
    };
    for clock in [LATER, EARLIER, START, 1] {
        storage.set_clock_for_test(clock).unwrap();
        see(&storage, &embedding, "open");
        // A read-only opening begins with the stored time.
        let read_only = [("read_only", Value::Bool(true))];
        let looking = Storage::open(&dir, TTL_S, &params(&read_only)).unwrap();
        looking.set_clock_for_test(clock).unwrap();
        see(&looking, &sgd(&looking, 1, 1.0, &[]), "looking");
    }
    storage.compact().unwrap();
    see(&storage, &embedding, "merged");
}

/// At the last time that rows can hold, nothing expires; no clock goes beyond it.
#[test]
fn rows_of_the_last_time_there_is_live() {
    let last = (1 << 48) - 1;
    let scratch = tempfile::tempdir().unwrap();
    let (storage, embedding) = open(&scratch.path().join("t"), last, "process");
    assert!(storage.set_clock_for_test(last + 1).is_err());
    embedding.apply_gradients(&[5], &[0.5]).unwrap();
    assert_eq!(state(&embedding, 5), (1, last));
    storage.compact().unwrap();
    drop((embedding, storage));
    let (_storage, embedding) = open(&scratch.path().join("t"), START, "process");
    assert_eq!(state(&embedding, 5), (1, last));
}
