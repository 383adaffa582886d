//! Steps are whole: in checkpoints and iterators that are made beside them, and after a kill.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use damo::step::Step;
use damo::storage::Storage;

use crate::common::{copy_dir, int, params, text};
use crate::{GROUPS, Row, apply, content, embeddings};

fn open(dir: &std::path::Path, durability: &str) -> Storage {
    // A small cache writes back and evicts rows in between.
    let options = params(&[("durability", text(durability)), ("cache_bytes", int(256 << 10))]);
    Storage::open(dir, 0, &options).unwrap()
}

/// One key in each group gets one step a call, so its update count is the group's step.
fn step_all(step: &mut Step) {
    let gradients: Vec<_> = GROUPS.iter().map(|(dim, _)| vec![1.0; *dim * 300]).collect();
    apply(step, &gradients).unwrap();
}

fn step_of(storage: &Storage) -> Step {
    let all = embeddings(storage, &[]);
    let mut step = Step::new(storage.clone());
    let keys: Vec<i64> = (0..300).collect();
    all.iter().for_each(|embedding| step.add(embedding, &keys, None).unwrap());
    step
}

/// The step that all groups and all rows have.
fn whole_step(storage: &Storage) -> i64 {
    let (rows, steps) = content(storage);
    assert!(steps.iter().all(|step| *step == steps[0]), "{steps:?}");
    let is_whole = |row: &Row| row.3 == steps[0] as u64;
    assert!(rows.iter().all(is_whole), "rows of several steps");
    assert_eq!(rows.len(), 300 * GROUPS.len());
    steps[0]
}

#[test]
fn what_is_made_beside_steps_has_whole_ones() {
    for durability in ["process", "checkpoint"] {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path(), durability);
        let mut step = step_of(&storage);
        step_all(&mut step);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    step_all(&mut step);
                }
            });
            for number in 0..8 {
                // Rows of an iterator are of one moment. The groups' steps are read later.
                let mut rows = storage.rows(None).unwrap();
                let mut updates = Vec::new();
                while let Some(row) = rows.next_row().unwrap() {
                    updates.push(row.update_num);
                }
                assert!(updates.iter().all(|count| *count == updates[0]), "{durability}");
                let checkpoint = dir.path().join(format!("../whole-{durability}-{number}"));
                let _ = std::fs::remove_dir_all(&checkpoint);
                storage.checkpoint(&checkpoint).unwrap();
                let copy = Storage::open(&checkpoint, 0, &params(&[])).unwrap();
                assert!(whole_step(&copy) > 0);
                drop(copy);
                std::fs::remove_dir_all(&checkpoint).unwrap();
            }
            is_over.store(true, Ordering::SeqCst);
        });
    }
}

/// A copy of the directory is what a kill between two steps would leave. scripts/torture kills
/// processes in the middle of one.
#[test]
fn after_a_kill_all_groups_have_the_same_step() {
    for durability in ["process", "power"] {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("0");
        let storage = open(&dir, durability);
        let mut step = step_of(&storage);
        for made in 1..=12 {
            step_all(&mut step);
            if made % 5 == 0 {
                storage.flush().unwrap();
            }
            let copy = scratch.path().join(format!("copy-{made}"));
            copy_dir(&dir, &copy);
            let opened = open(&copy, durability);
            assert_eq!(whole_step(&opened), made, "{durability}");
            // It goes on from there.
            let mut step = step_of(&opened);
            step_all(&mut step);
            assert_eq!(whole_step(&opened), made + 1);
        }
    }
}
