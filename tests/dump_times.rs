//! How long a dump is remembered for increments, and that no clock makes an increment wrong.
//!
//! A program of its own: it replaces the C library's clock in its whole process.

#![allow(unsafe_code)]

mod common;

use std::cell::Cell;
use std::path::Path;
use std::time::SystemTime;

use common::{copy_dir, int, params, sgd, text};
use damo::error::{Error, Status};
use damo::params::Value;
use damo::storage::{DumpOptions, Storage};
use damo::table::{Table, merge};

const START: u64 = 1_795_000_000_000;
const DAY: u64 = 86_400_000;

thread_local! {
    /// The machine's clock is this many days ahead on this thread.
    static DAYS_AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// Replaces the C library's function in this program. Opening reads the machine's clock, and
/// `set_clock_for_test` needs an open storage.
///
/// # Safety
/// As the C library's: `time` has room for one value.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    // SAFETY: the caller's promise.
    let outcome = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as libc::c_int;
    let days = DAYS_AHEAD.try_with(Cell::get).unwrap_or(0);
    if outcome == 0 && clock == libc::CLOCK_REALTIME && days != 0 {
        // SAFETY: the call above wrote it.
        unsafe { (*time).tv_sec += days * 86_400 };
    }
    outcome
}

fn machine_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Makes a dump as a table, and returns its number.
fn table_dump(
    storage: &Storage,
    path: &Path,
    condition: &[(&'static str, i64)],
) -> Result<i64, Error> {
    let condition = condition.iter().map(|(name, number)| (*name, int(*number)));
    let list: Vec<(&str, Value)> =
        [("format", text("table"))].into_iter().chain(condition).collect();
    let dumped = storage.dump(path, DumpOptions::read(&params(&list)).unwrap(), |_, _| true);
    dumped.map(|dumped| dumped.number as i64)
}

/// Opens a storage with the clocks of the machine and of the storage so many days ahead.
fn open_ahead(dir: &Path, days: i64, durability: &str) -> Storage {
    DAYS_AHEAD.set(days);
    let opened =
        Storage::open(dir, 0, &params(&[("durability", text(durability)), ("threads", int(1))]));
    let storage = opened.unwrap();
    // RocksDB's threads go by the storage's clock.
    storage.set_clock_for_test(machine_ms()).unwrap();
    DAYS_AHEAD.set(0);
    storage
}

/// An opening whose clock is ahead forgets a dump, and merging drops tombstones. The dump stays
/// forgotten once the clock is right again, even if the opening was killed.
#[test]
fn a_dump_that_was_forgotten_stays_forgotten() {
    for durability in ["process", "power", "checkpoint"] {
        for is_killed in [true, false] {
            let scratch = tempfile::tempdir().unwrap();
            let at = |name: &str| scratch.path().join(name);
            let what = format!("{durability}, killed: {is_killed}");
            let mut storage = open_ahead(&at("t"), 0, durability);
            let keys: Vec<i64> = (0..100).collect();
            let embedding = sgd(&storage, 1, 1.0, &[]);
            embedding.insert(&keys, &[1.0; 100]).unwrap();
            let first = table_dump(&storage, &at("first"), &[]).unwrap();
            embedding.delete(&keys[..50]).unwrap();
            embedding.insert(&[1000], &[1.0]).unwrap();
            let second = table_dump(&storage, &at("second"), &[]).unwrap();
            assert!(second > first);
            drop((embedding, storage));

            storage = open_ahead(&at("t"), 40, durability);
            if is_killed {
                copy_dir(&at("t"), &at("killed"));
            }
            storage.compact().unwrap();
            drop(storage);
            storage = open_ahead(&at(if is_killed { "killed" } else { "t" }), 0, durability);
            let error = table_dump(&storage, &at("increment"), &[("since", first)]).unwrap_err();
            assert_eq!(error.status(), Status::NotFound, "{what}: {error}");
            // The latest dump is remembered, and its increment is right.
            let embedding = sgd(&storage, 1, 1.0, &[]);
            embedding.delete(&[60]).unwrap();
            table_dump(&storage, &at("increment"), &[("since", second)]).unwrap();
            table_dump(&storage, &at("full"), &[]).unwrap();
            merge(&at("second"), &at("increment"), &at("merged")).unwrap();
            let [merged, full] = ["merged", "full"].map(|name| std::fs::read(at(name)).unwrap());
            assert!(merged == full, "{what}");
            assert_eq!(Table::open(&at("merged")).unwrap().rows(0).unwrap(), 50, "{what}");
        }
    }
}

/// An opening begins with the stored time: an earlier clock of the machine does not bring back a
/// forgotten dump.
#[test]
fn a_dump_is_forgotten_by_the_storages_time() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let storage = open_ahead(&at("t"), 0, "process");
    let embedding = sgd(&storage, 1, 1.0, &[]);
    embedding.insert(&[1], &[1.0]).unwrap();
    let first = table_dump(&storage, &at("first"), &[]).unwrap();
    embedding.insert(&[2], &[1.0]).unwrap();
    table_dump(&storage, &at("second"), &[]).unwrap();
    storage.set_clock_for_test(machine_ms() + 40 * DAY).unwrap();
    embedding.insert(&[3], &[1.0]).unwrap();
    // Only the journal has that time.
    copy_dir(&at("t"), &at("killed"));
    drop((embedding, storage));
    for name in ["t", "killed"] {
        let storage = open_ahead(&at(name), 0, "process");
        let error = table_dump(&storage, &at("increment"), &[("since", first)]).unwrap_err();
        assert_eq!(error.status(), Status::NotFound, "{name}: {error}");
    }
}

/// Two dumps of the same calls have one number, and an increment fits both. So the first is
/// remembered as long as the second: thirty days.
#[test]
fn dumps_that_share_a_number_are_remembered_together() {
    let scratch = tempfile::tempdir().unwrap();
    let (path, dir) = (scratch.path().join("table"), scratch.path().join("storage"));
    let options = params(&[("threads", int(1))]);
    let mut storage = Storage::open(&dir, 0, &options).unwrap();
    storage.set_clock_for_test(START).unwrap();
    sgd(&storage, 1, 1.0, &[]).apply_gradients(&[1], &[1.0]).unwrap();
    let dump = |storage: &Storage, day: u64, condition: &[(&'static str, i64)]| {
        storage.set_clock_for_test(START + day * DAY).unwrap();
        table_dump(storage, &path, condition)
    };
    let number = dump(&storage, 0, &[]).unwrap();
    for day in [20, 45, 90] {
        assert_eq!(dump(&storage, day, &[]).unwrap(), number);
        // Other dumps make the storage forget the oldest.
        dump(&storage, day + 30, &[("min_count", 1)]).unwrap();
        drop(storage);
        storage = Storage::open(&dir, 0, &options).unwrap();
        assert_eq!(dump(&storage, day + 30, &[("since", number)]).unwrap(), number);
    }
    sgd(&storage, 1, 1.0, &[]).apply_gradients(&[1], &[1.0]).unwrap();
    assert!(dump(&storage, 120, &[("min_count", 1)]).unwrap() > number);
    assert!(dump(&storage, 121, &[("since", number)]).unwrap() > number);
    dump(&storage, 160, &[("min_count", 1)]).unwrap();
    let error = dump(&storage, 160, &[("since", number)]).unwrap_err();
    assert_eq!(error.status(), Status::NotFound, "{error}");
}

/// An increment fits an earlier dump of the same number, too, whose rows had not expired yet,
/// however old it is.
#[test]
fn an_increment_fits_every_dump_of_its_number() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let options = params(&[("threads", int(1))]);
    let storage = Storage::open(at("storage"), 40 * 86_400, &options).unwrap();
    let dump = |name: &str, day: u64, condition: &[(&'static str, i64)]| {
        storage.set_clock_for_test(START + day * DAY).unwrap();
        table_dump(&storage, &at(name), condition).unwrap()
    };
    storage.set_clock_for_test(START).unwrap();
    let embedding = sgd(&storage, 1, 1.0, &[]);
    embedding.apply_gradients(&[1, 2], &[1.0, 1.0]).unwrap();
    let number = dump("first", 0, &[]);
    // Other dumps are forgotten by then, this one is not.
    dump("of one group", 35, &[("group", 0)]);
    storage.set_clock_for_test(START + 41 * DAY).unwrap();
    storage.flush().unwrap();
    storage.compact().unwrap();
    assert_eq!(dump("second", 41, &[]), number);
    embedding.apply_gradients(&[3], &[1.0]).unwrap();
    dump("increment", 42, &[("since", number)]);
    dump("full", 42, &[]);
    for base in ["first", "second"] {
        merge(&at(base), &at("increment"), &at("merged")).unwrap();
        assert!(
            std::fs::read(at("merged")).unwrap() == std::fs::read(at("full")).unwrap(),
            "{base}"
        );
    }
    // Loading a checkpoint between two dumps gives the second another number.
    let last = dump("before loading", 43, &[]);
    storage.checkpoint(at("checkpoint")).unwrap();
    storage.load_from_checkpoint(at("checkpoint")).unwrap();
    assert_ne!(dump("after loading", 43, &[]), last);
}

/// A process is killed after it deleted rows of the dump. Replayed calls leave tombstones, as the
/// first time.
#[test]
fn an_increment_has_what_a_replay_deletes() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let options = params(&[("durability", text("process")), ("threads", int(1))]);
    let (before, number) = {
        let storage = Storage::open(at("storage"), 0, &options).unwrap();
        let embedding = sgd(&storage, 1, 1.0, &[]);
        embedding.apply_gradients(&[1, 2, 3], &[1.0; 3]).unwrap();
        let number = table_dump(&storage, &at("table"), &[]).unwrap();
        storage.flush().unwrap();
        embedding.delete(&[1, 3]).unwrap();
        copy_dir(&at("storage"), &at("killed"));
        (storage, number)
    };
    let storage = Storage::open(at("killed"), 0, &options).unwrap();
    storage.compact().unwrap();
    table_dump(&storage, &at("increment"), &[("since", number)]).unwrap();
    table_dump(&storage, &at("full"), &[]).unwrap();
    merge(&at("table"), &at("increment"), &at("merged")).unwrap();
    assert!(std::fs::read(at("merged")).unwrap() == std::fs::read(at("full")).unwrap());
    assert_eq!(Table::open(&at("merged")).unwrap().rows(0).unwrap(), 1);
    drop(before);
}

/// A storage that remembers an increment may forget its base dump, which is more than thirty days
/// old here. Merging must not drop what the increment has still to read.
#[test]
fn merging_amid_an_increment_takes_nothing_from_it() {
    // A scan reads only a part of the wide rows ahead.
    const DIM: usize = 256;
    const KEPT: i64 = 36_000;
    const GONE: i64 = 4000;
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let options = params(&[("durability", text("checkpoint")), ("threads", int(1))]);
    let storage = Storage::open(at("storage"), 0, &options).unwrap();
    storage.set_clock_for_test(START).unwrap();
    let embedding = sgd(&storage, DIM, 1.0, &[]);
    let insert = |keys: &[i64]| embedding.insert(keys, &vec![1.0; keys.len() * DIM]).unwrap();
    let keys: Vec<i64> = (0..KEPT + GONE).collect();
    keys.chunks(4000).for_each(insert);
    let number = table_dump(&storage, &at("base"), &[]).unwrap();
    keys[..KEPT as usize].chunks(4000).for_each(insert);
    embedding.delete(&keys[KEPT as usize..]).unwrap();
    storage.flush().unwrap();
    storage.set_clock_for_test(START + 31 * DAY).unwrap();
    embedding.insert(&[0], &[1.0; DIM]).unwrap();
    let condition = [("format", text("table")), ("since", int(number))];
    let mut pages = 0;
    let dumped =
        storage.dump(at("increment"), DumpOptions::read(&params(&condition)).unwrap(), |_, _| {
            if pages == 0 {
                storage.compact().unwrap();
            }
            pages += 1;
            true
        });
    let dumped = dumped.unwrap();
    assert!(pages > 1, "it is read in parts");
    assert_eq!((dumped.rows, dumped.removed), (KEPT as u64, GONE as u64));
}
