//! A process is killed at any moment: the storage opens by itself, and holds every acknowledged
//! call exactly once.
//!
//! A test runs itself again as the process to be killed, which prints a line for each call that
//! returned.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use damo::params::Params;
use damo::storage::Storage;

use crate::common::{copy_dir, open, params, peek, races, rerun, sgd, text};

const CHILD: &str = "DAMO_CRASH_TEST_DIR";
const KEYS: i64 = 300;

/// Trains until killed. Every call steps every row once, so rows, count and step must agree.
fn train_until_killed(dir: &Path) {
    let durability = std::env::var("DAMO_CRASH_TEST_DURABILITY").unwrap();
    let storage = Storage::open(dir, 0, &params(&[("durability", text(&durability))])).unwrap();
    let embedding = sgd(&storage, 2, 0.5, &[]);
    let keys: Vec<i64> = (0..KEYS).collect();
    let gradients = vec![1.0; 2 * keys.len()];
    let mut out = std::io::stdout();
    loop {
        embedding.apply_gradients(&keys, &gradients).unwrap();
        writeln!(out, "ack {}", embedding.step().unwrap()).unwrap();
    }
}

#[test]
fn acknowledged_calls_survive_sigkill_exactly_once() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return train_until_killed(Path::new(&dir));
    }
    for durability in ["process", "power"] {
        let dir = tempfile::tempdir().unwrap();
        let mut acknowledged = 0;
        for round in 0..5 {
            let mut child = rerun(acknowledged_calls_survive_sigkill_exactly_once)
                .env(CHILD, dir.path())
                .env("DAMO_CRASH_TEST_DURABILITY", durability)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            // Each round waits for the first acknowledgement, and a little longer than the last.
            let acks =
                |line: &str| line.strip_prefix("ack ").map(|step| step.parse::<i64>().unwrap());
            acknowledged = lines.by_ref().find_map(|line| acks(&line.unwrap())).unwrap();
            std::thread::sleep(Duration::from_millis(7 * round));
            child.kill().unwrap();
            child.wait().unwrap();
            for line in lines.map_while(Result::ok) {
                // A last line that is cut off acknowledges nothing.
                if let Some(step) = line.strip_prefix("ack ").and_then(|step| step.parse().ok()) {
                    acknowledged = acknowledged.max(step);
                }
            }
            let storage = open(dir.path());
            let embedding = sgd(&storage, 2, 0.5, &[]);
            let step = embedding.step().unwrap();
            // One call may be stored and not acknowledged.
            assert!(
                (acknowledged..=acknowledged + 1).contains(&step),
                "{acknowledged} acknowledged, step {step}"
            );
            let keys: Vec<i64> = (0..KEYS).collect();
            let (weights, found) = peek(&embedding, &keys);
            assert_eq!(found, vec![1; keys.len()]);
            assert_eq!(
                weights,
                vec![1.0 - 0.5 * step as f32; weights.len()],
                "a row has another number of steps"
            );
            assert_eq!(embedding.record(17).unwrap().update_num, step as u64);
        }
        assert!(acknowledged >= 5);
    }
}

#[test]
fn durability_checkpoint_keeps_what_was_flushed_and_never_half_a_call() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return flush_then_abort(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let status = rerun(durability_checkpoint_keeps_what_was_flushed_and_never_half_a_call)
        .env(CHILD, dir.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    let storage = Storage::open(dir.path(), 0, &Params::new()).unwrap();
    let embedding = sgd(&storage, 1, 0.5, &[]);
    let step = embedding.step().unwrap();
    assert!((10..=20).contains(&step), "{step}");
    assert_eq!(peek(&embedding, &[1, 2]).0, [1.0 - 0.5 * step as f32; 2]);
}

fn flush_then_abort(dir: &Path) {
    let storage = Storage::open(dir, 0, &params(&[("durability", text("checkpoint"))])).unwrap();
    let embedding = sgd(&storage, 1, 0.5, &[]);
    for call in 0..20 {
        if call == 10 {
            storage.flush().unwrap();
        }
        embedding.apply_gradients(&[1, 2], &[1.0, 1.0]).unwrap();
    }
    // No destructor runs, as when the system kills for want of memory.
    // SAFETY: raise takes a number and touches no memory.
    unsafe { libc::raise(libc::SIGKILL) };
}

/// The process is killed while it opens a storage whose process was killed.
#[test]
fn killed_while_opening_it_opens_again() {
    if let Some(dir) = std::env::var_os(CHILD) {
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
    let mut seen = BTreeMap::new();
    let mut failures = Vec::new();
    for trial in 0..25 * races() {
        let dir = scratch.path().join(format!("t{trial}"));
        copy_dir(&image, &dir);
        let mut child = rerun(killed_while_opening_it_opens_again)
            .env(CHILD, &dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
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
