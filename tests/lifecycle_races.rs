//! What a review of checkpoints, expiry and increments found, each as a test that failed then. DAMO_RACES makes those that
//! depend on luck try so many times as often.
mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{int, lookup, open, params, sgd, text};
use damo::storage::{DumpOptions, Storage};
use damo::table::merge;

/// How often what depends on luck is tried.
fn races() -> u64 {
    std::env::var("DAMO_RACES").map_or(1, |value| value.parse().unwrap())
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.metadata().unwrap().is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else {
            let _ = fs::copy(entry.path(), to.join(entry.file_name()));
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A merge drops the disk's version of a row that lives on in memory and the journal; a kill then loses its past.
#[test]
fn merging_drops_the_base_of_calls_that_are_in_the_journal_only() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, copy) = (scratch.path().join("a"), scratch.path().join("copy"));
    let start = now();
    let storage = Storage::open(&dir, 3600, &params(&[("cache_bytes", int(1 << 30))])).unwrap();
    storage.set_clock_for_test(start).unwrap();
    let embedding = sgd(&storage, 8, 1.0, &[]);
    const KEY: i64 = 10_000_000;
    for _ in 0..10 {
        embedding.apply_gradients(&[KEY], &[1.0; 8]).unwrap();
    }
    let keys: Vec<i64> = (0..300_000).collect();
    for keys in keys.chunks(100_000) {
        embedding.insert(keys, &vec![1.0; keys.len() * 8]).unwrap();
    }
    storage.flush().unwrap();
    storage.set_clock_for_test(start + 3_000_000).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            storage.compact().unwrap();
            done.store(true, Ordering::SeqCst);
        });
        std::thread::sleep(Duration::from_millis(120));
        // Alive: 3000 s old of 3600.
        embedding.apply_gradients(&[KEY], &[1.0; 8]).unwrap();
        if done.load(Ordering::SeqCst) {
            println!("the compaction was too fast for this test; tests/model has the same by chance");
        }
        storage.set_clock_for_test(start + 3_700_000).unwrap();
    });
    let before = embedding.record(KEY).unwrap();
    assert_eq!(before.update_num, 11);
    // Killed here.
    copy_dir(&dir, &copy);
    let opened = Storage::open(&copy, 3600, &params(&[])).unwrap();
    let record = sgd(&opened, 8, 1.0, &[]).record(KEY).unwrap();
    assert_eq!((record.update_num, record.data[0]), (before.update_num, before.data[0]));
}

/// Staging has one folder and no lock.
#[test]
fn two_loads_at_once_are_the_one_or_the_other() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = |name: &str| scratch.path().join(name);
    let storage = open(&dir("a"));
    let embedding = sgd(&storage, 4, 1.0, &[]);
    for number in 0..2i64 {
        // Several files, so that staging takes a while.
        for file in 0..6 {
            let keys: Vec<i64> = (file * 2000..(file + 1) * 2000).collect();
            embedding.insert(&keys, &vec![number as f32; keys.len() * 4]).unwrap();
            storage.flush().unwrap();
        }
        storage.checkpoint(dir(&format!("cp{number}"))).unwrap();
    }
    for round in 0..8 * races() {
        std::thread::scope(|scope| {
            for number in 0..2 {
                let (storage, path) = (&storage, dir(&format!("cp{number}")));
                scope.spawn(move || {
                    if let Err(error) = storage.load_from_checkpoint(path) {
                        println!("round {round} load {number}: {error}");
                    }
                });
            }
        });
        let rows = storage.row_count(None);
        assert!(rows.as_ref().is_ok_and(|rows| *rows == 12_000), "round {round}: {rows:?}");
    }
}

/// After a load that failed beyond the point of no return.
fn fail_to_load(dir: &Path, checkpoint: &Path, storage: &Storage) {
    // What may not be deleted: a folder with the name of a table.
    fs::create_dir_all(dir.join("999999.sst").join("x")).unwrap();
    println!("{}", storage.load_from_checkpoint(checkpoint).unwrap_err());
}

#[test]
fn loading_again_after_a_failed_load_returns() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("a");
    let storage = open(&dir);
    sgd(&storage, 1, 1.0, &[]).apply_gradients(&[1], &[1.0]).unwrap();
    let checkpoint = scratch.path().join("cp");
    storage.checkpoint(&checkpoint).unwrap();
    fail_to_load(&dir, &checkpoint, &storage);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let outcome = storage.load_from_checkpoint(&checkpoint);
        let _ = sender.send(outcome.is_err());
        std::mem::forget(storage);
    });
    receiver.recv_timeout(Duration::from_secs(10)).expect("it hangs");
}

#[test]
fn nothing_is_acknowledged_after_a_failed_load() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("a");
    let storage = open(&dir);
    let embedding = sgd(&storage, 1, 1.0, &[]);
    embedding.apply_gradients(&[1], &[1.0]).unwrap();
    let checkpoint = scratch.path().join("cp");
    storage.checkpoint(&checkpoint).unwrap();
    fail_to_load(&dir, &checkpoint, &storage);
    assert!(embedding.apply_gradients(&[1], &[1.0]).is_err(), "acknowledged into a journal that is deleted");
}

/// Two dumps at the same number that differ in expire_days.
#[test]
fn an_increment_fits_each_dump_of_its_number() {
    const DAY: u64 = 86_400_000;
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let storage = Storage::open(path("a"), 10 * 86_400, &params(&[])).unwrap();
    let start = 1_795_000_000_000;
    storage.set_clock_for_test(start).unwrap();
    let embedding = sgd(&storage, 2, 1.0, &[]);
    embedding.apply_gradients(&[1], &[1.0; 2]).unwrap();
    storage.set_clock_for_test(start + 5 * DAY).unwrap();
    embedding.apply_gradients(&[2], &[1.0; 2]).unwrap();
    let dump = |name: &str, extra: &[(&'static str, damo::params::Value)]| {
        let list = [&[("format", text("table"))], extra].concat();
        storage.dump(path(name), DumpOptions::read(&params(&list)).unwrap(), |_, _| true).unwrap()
    };
    let fresh = dump("fresh", &[("expire_days", int(1))]);
    let all = dump("all", &[]);
    assert_eq!((fresh.number, fresh.rows, all.number, all.rows), (all.number, 1, fresh.number, 2));
    storage.set_clock_for_test(start + 11 * DAY).unwrap();
    let full = dump("full", &[]);
    assert_eq!(full.rows, 1);
    dump("increment", &[("since", int(all.number as i64))]);
    merge(&path("all"), &path("increment"), &path("merged")).unwrap();
    assert_eq!(
        fs::read(path("merged")).unwrap(),
        fs::read(path("full")).unwrap(),
        "an expired row is served"
    );
}

/// Killed while it opens after having been killed.
#[test]
fn killed_while_opening_it_opens_again() {
    if let Some(dir) = std::env::var_os("DAMO_REVIEW_OPEN") {
        let storage = Storage::open(dir, 0, &params(&[])).unwrap();
        std::mem::forget(storage);
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("image");
    {
        let storage = open(&scratch.path().join("a"));
        let embedding = sgd(&storage, 4, 1.0, &[]);
        let keys: Vec<i64> = (0..100).collect();
        embedding.apply_gradients(&keys, &[1.0; 400]).unwrap();
        // The journal goes on in a second file.
        storage.flush().unwrap();
        embedding.apply_gradients(&keys, &[1.0; 400]).unwrap();
        copy_dir(&scratch.path().join("a"), &image);
    }
    let mut seen = std::collections::BTreeMap::new();
    let mut failures = Vec::new();
    for trial in 0..25 * races() {
        let dir = scratch.path().join(format!("t{trial}"));
        copy_dir(&image, &dir);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_while_opening_it_opens_again", "--nocapture"])
            .env("DAMO_REVIEW_OPEN", &dir)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(5_000 + trial * 100));
        child.kill().unwrap();
        child.wait().unwrap();
        match Storage::open(&dir, 0, &params(&[])) {
            Ok(storage) => {
                let record = sgd(&storage, 4, 1.0, &[]).record(5).unwrap();
                *seen.entry(record.update_num).or_insert(0) += 1;
            }
            Err(error) => {
                println!("trial {trial}: {error}");
                failures.push(trial);
            }
        }
        fs::remove_dir_all(&dir).unwrap();
    }
    println!("{seen:?}");
    assert!(failures.is_empty(), "{failures:?}");
}

/// Two checkpoints of one path share their temporary folder.
#[test]
fn two_checkpoints_of_one_path_are_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(&scratch.path().join("a"));
    let embedding = sgd(&storage, 4, 1.0, &[]);
    for file in 0..30 {
        let keys: Vec<i64> = (file * 100..(file + 1) * 100).collect();
        embedding.insert(&keys, &vec![1.0; keys.len() * 4]).unwrap();
        if file % 5 == 0 {
            storage.flush().unwrap();
        }
    }
    for round in 0..12 * races() {
        let path = scratch.path().join(format!("cp{round}"));
        let good = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4u64)
                .map(|number| {
                    let (storage, path) = (&storage, &path);
                    scope.spawn(move || {
                        std::thread::sleep(Duration::from_micros(number * (round % 50) * 100));
                        storage.checkpoint(path).is_ok()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|good| *good).count()
        });
        if good > 0 {
            let other = Storage::open(scratch.path().join("b"), 0, &params(&[])).unwrap();
            let loaded = other.load_from_checkpoint(&path);
            assert!(loaded.is_ok(), "round {round}: acknowledged, and {loaded:?}");
        }
        let _ = fs::remove_dir_all(&path);
    }
}

/// Merging that begins with opening, before the dumps that are remembered have been read.
#[test]
fn graves_survive_opening() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let dump = |storage: &Storage, name: &str, extra: &[(&'static str, damo::params::Value)]| {
        let list = [&[("format", text("table"))], extra].concat();
        storage.dump(path(name), DumpOptions::read(&params(&list)).unwrap(), |_, _| true).unwrap()
    };
    let mut lost = Vec::new();
    for round in 0..races() {
        let dir = path(&format!("a{round}"));
        let storage = open(&dir);
        let embedding = sgd(&storage, 4, 1.0, &[]);
        let keys: Vec<i64> = (0..200_000).collect();
        for keys in keys.chunks(250_000) {
            embedding.insert(keys, &vec![1.0; keys.len() * 4]).unwrap();
        }
        let since = dump(&storage, "base", &[]).number;
        for chunk in keys[..100_000].chunks(25_000) {
            embedding.delete(chunk).unwrap();
            storage.flush().unwrap();
        }
        for key in 0..2 {
            embedding.insert(&[5_000_000 + key], &[1.0; 4]).unwrap();
            storage.flush().unwrap();
        }
        drop((storage, embedding));
        let storage = open(&dir);
        std::thread::sleep(Duration::from_secs(3));
        let increment = dump(&storage, "increment", &[("since", int(since as i64))]);
        println!("removed {}", increment.removed);
        if increment.removed != 100_000 {
            lost.push(100_000 - increment.removed);
        }
    }
    assert!(lost.is_empty(), "keys that stay in served tables: {lost:?}");
}

/// The filters are restored last; when that fails the rows are the checkpoint's already.
#[test]
fn a_load_that_fails_at_a_filter_leaves_all_as_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let storage = open(&path("a"));
    let embedding = sgd(&storage, 1, 1.0, &[]);
    let filter_path = path("f");
    let list = [("capacity", int(1000)), ("path", common::text(filter_path.to_str().unwrap()))];
    let filter = std::sync::Arc::new(damo::filter::Filter::open(&params(&list)).unwrap());
    embedding.set_filter(Some(filter)).unwrap();
    embedding.insert(&[1], &[5.0]).unwrap();
    storage.checkpoint(path("cp")).unwrap();
    embedding.insert(&[1], &[7.0]).unwrap();
    fs::create_dir(path("f.damo-new")).unwrap();
    println!("{}", storage.load_from_checkpoint(path("cp")).unwrap_err());
    assert_eq!(lookup(&embedding, &[1]), [7.0], "an error, and the rows are the checkpoint's");
}

/// While a checkpoint is put in place RocksDB's lock is not held.
#[test]
fn nobody_opens_a_storage_that_is_loading_a_checkpoint() {
    if let Some(dir) = std::env::var_os("DAMO_REVIEW_STEAL") {
        for _ in 0..200_000 {
            if let Ok(storage) = Storage::open(&dir, 0, &params(&[])) {
                println!("stolen");
                std::mem::forget(storage);
                std::process::exit(7);
            }
        }
        std::process::exit(0);
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let storage = open(&path("a"));
    let embedding = sgd(&storage, 1, 1.0, &[]);
    for key in 0..20 {
        embedding.insert(&[key], &[5.0]).unwrap();
        storage.flush().unwrap();
    }
    storage.checkpoint(path("cp")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nobody_opens_a_storage_that_is_loading_a_checkpoint", "--nocapture"])
        .env("DAMO_REVIEW_STEAL", path("a"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let mut outcomes = Vec::new();
    for _ in 0..60 {
        if let Err(error) = storage.load_from_checkpoint(path("cp")) {
            outcomes.push(error.to_string());
            break;
        }
    }
    let stolen = child.try_wait().unwrap().map(|status| status.code());
    let _ = child.kill();
    let _ = child.wait();
    assert!(outcomes.is_empty() && stolen.is_none(), "{stolen:?} {outcomes:?}");
}

/// As above, and what is left of the data.
#[test]
fn a_second_opener_does_not_destroy_what_is_loaded() {
    if let Some(dir) = std::env::var_os("DAMO_REVIEW_STEAL2") {
        loop {
            drop(Storage::open(&dir, 0, &params(&[("threads", int(1))])));
        }
    }
    let mut bad = Vec::new();
    for trial in 0..4 * races() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let storage = open(&path("a"));
        let embedding = sgd(&storage, 1, 1.0, &[]);
        for key in 0..7 {
            embedding.insert(&[key], &[5.0]).unwrap();
            storage.flush().unwrap();
        }
        storage.checkpoint(path("cp")).unwrap();
        let mut children: Vec<_> = (0..2)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "a_second_opener_does_not_destroy_what_is_loaded", "--nocapture"])
                    .env("DAMO_REVIEW_STEAL2", path("a"))
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        let mut error = None;
        for _ in 0..40 {
            error = storage.load_from_checkpoint(path("cp")).err();
            if error.is_some() {
                break;
            }
        }
        for child in &mut children {
            let _ = child.kill();
            let _ = child.wait();
        }
        drop((storage, embedding));
        match Storage::open(path("a"), 0, &params(&[])) {
            Ok(storage) => {
                let rows = storage.row_count(None).unwrap();
                if rows != 7 {
                    bad.push(format!("trial {trial}: {rows} rows after {error:?}"));
                }
            }
            Err(failure) => bad.push(format!("trial {trial}: {failure} after {error:?}")),
        }
    }
    for line in &bad {
        println!("{line}");
    }
    assert!(bad.is_empty());
}

/// Everything at once; nothing may hang or fail but for BUSY.
#[test]
fn everything_at_once_neither_hangs_nor_fails() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    for durability in ["process", "checkpoint"] {
        let options = params(&[("cache_bytes", int(128 << 10)), ("durability", text(durability))]);
        let storage = Storage::open(path(durability), 1, &options).unwrap();
        let embedding = sgd(&storage, 16, 1.0, &[]);
        embedding.insert(&[1], &[5.0; 16]).unwrap();
        let cp0 = path(&format!("cp0{durability}"));
        storage.checkpoint(&cp0).unwrap();
        let stop = AtomicBool::new(false);
        let counts = [const { std::sync::atomic::AtomicU64::new(0) }; 6];
        std::thread::scope(|scope| {
            let (stop, counts, storage, embedding, cp0) = (&stop, &counts, &storage, &embedding, &cp0);
            let run = |index: usize, mut work: Box<dyn FnMut(u64) -> damo::error::Result<()> + Send>| {
                scope.spawn(move || {
                    for turn in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        match work(turn) {
                            Err(error) if error.status() != damo::error::Status::Busy => {
                                panic!("{index}: {error}")
                            }
                            Err(_) => {}
                            Ok(()) => drop(counts[index].fetch_add(1, Ordering::Relaxed)),
                        }
                    }
                });
            };
            for thread in 0..2u64 {
                run(
                    0,
                    Box::new(move |turn| {
                        let keys: Vec<i64> =
                            (0..300).map(|i| ((i * 7919 + turn * 31 + thread) % 20_000) as i64).collect();
                        let mut weights = vec![0.0; 16 * 300];
                        embedding.lookup(&keys, &mut weights)?;
                        embedding.apply_gradients(&keys, &weights.iter().map(|_| 0.5).collect::<Vec<_>>())?;
                        if turn % 7 == 0 {
                            embedding.delete(&keys[..20])?;
                        }
                        Ok(())
                    }),
                );
            }
            run(
                1,
                Box::new(move |turn| {
                    let path = cp0.with_extension(format!("{turn}"));
                    storage.checkpoint(&path)?;
                    fs::remove_dir_all(path).unwrap();
                    Ok(())
                }),
            );
            run(
                2,
                Box::new(move |turn| {
                    let path = cp0.with_extension(format!("dump{}", turn % 2));
                    let list = params(&[("format", text("table"))]);
                    storage.dump(path, DumpOptions::read(&list)?, |_, _| true).map(drop)
                }),
            );
            run(
                3,
                Box::new(move |_| {
                    std::thread::sleep(Duration::from_millis(50));
                    storage.load_from_checkpoint(cp0)
                }),
            );
            run(4, Box::new(move |_| storage.flush()));
            run(
                5,
                Box::new(move |turn| {
                    embedding.prefetch(&[turn as i64, 5, 6])?;
                    storage.row_count(None).map(drop)
                }),
            );
            for _ in 0..2 * races() {
                std::thread::sleep(Duration::from_secs(1));
                println!("{counts:?}");
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
