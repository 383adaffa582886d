//! Races of checkpoints, loads, dumps, merges and training. DAMO_RACES multiplies how often each is
//! tried.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use damo::storage::{DumpOptions, Storage};

use crate::common::{copy_dir, int, open, params, races, sgd, text};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A merge must not drop a row on disk that lives on in memory and the journal: after a kill the
/// replay needs it.
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
        // The row lives: it is 3000 s old, of 3600.
        embedding.apply_gradients(&[KEY], &[1.0; 8]).unwrap();
        if done.load(Ordering::SeqCst) {
            println!(
                "the compaction was too fast for this test; tests/model has the same by chance"
            );
        }
        storage.set_clock_for_test(start + 3_700_000).unwrap();
    });
    let before = embedding.record(KEY).unwrap();
    assert_eq!(before.update_num, 11);
    // A kill would leave this copy.
    copy_dir(&dir, &copy);
    let opened = Storage::open(&copy, 3600, &params(&[])).unwrap();
    let record = sgd(&opened, 8, 1.0, &[]).record(KEY).unwrap();
    assert_eq!((record.update_num, record.data[0]), (before.update_num, before.data[0]));
}

/// Two checkpoints at one path share their temporary folder.
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

/// Everything at once: no call hangs, or fails with anything but BUSY.
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
            let (stop, counts, storage, embedding, cp0) =
                (&stop, &counts, &storage, &embedding, &cp0);
            let run =
                |index: usize, mut work: Box<dyn FnMut(u64) -> damo::error::Result<()> + Send>| {
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
                        let keys: Vec<i64> = (0..300)
                            .map(|i| ((i * 7919 + turn * 31 + thread) % 20_000) as i64)
                            .collect();
                        let mut weights = vec![0.0; 16 * 300];
                        embedding.lookup(&keys, &mut weights)?;
                        embedding.apply_gradients(
                            &keys,
                            &weights.iter().map(|_| 0.5).collect::<Vec<_>>(),
                        )?;
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
