//! Many callers at once: steps over groups that overlap, calls on single groups, and calls that
//! have a group alone. Nothing is lost, and nobody waits for ever.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use damo::params::Value;
use damo::step::Step;
use damo::storage::Storage;

use crate::common::filters::filter_of;
use crate::common::{int, open, params, text};
use crate::{GROUPS, apply, content, embeddings};

const CALLS: usize = 60;

fn open_with(dir: &std::path::Path, options: &[(&str, Value)]) -> Storage {
    Storage::open(dir, 0, &params(options)).unwrap()
}

/// Which groups each caller steps together.
const CALLERS: [&[usize]; 6] = [&[0, 1], &[1, 2, 3], &[4, 0], &[3, 1, 0, 2, 4], &[2], &[1, 4]];

#[test]
fn callers_of_overlapping_groups_lose_nothing() {
    for (durability, keys) in [
        ("process", 12),
        ("checkpoint", 200),
        ("process", 250),
        ("checkpoint", 700),
        ("process", 5_000),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let options = [("durability", text(durability)), ("threads", int(4))];
        let storage = open_with(dir.path(), &options);
        let all = embeddings(&storage, &[]);
        let ready = Barrier::new(CALLERS.len() + 2);
        let is_over = AtomicBool::new(false);
        let singles = AtomicU64::new(0);
        thread::scope(|scope| {
            let (storage, all, ready) = (&storage, &all, &ready);
            let callers = CALLERS.map(|groups| {
                scope.spawn(move || {
                    let mut step = Step::new(storage.clone());
                    ready.wait();
                    for call in 0..CALLS {
                        step.clear();
                        let keys: Vec<i64> =
                            (0..keys).map(|key| key * (1 + call as i64 % 3)).collect();
                        groups
                            .iter()
                            .for_each(|group| step.add(&all[*group], &keys, None).unwrap());
                        let gradients = groups.iter().map(|group| GROUPS[*group].0);
                        let gradients: Vec<_> =
                            gradients.map(|dim| vec![1.0; dim * keys.len()]).collect();
                        apply(&mut step, &gradients).unwrap();
                    }
                })
            });
            let (is_over, singles) = (&is_over, &singles);
            // Small calls, and calls that have a group alone.
            scope.spawn(move || {
                ready.wait();
                while !is_over.load(Ordering::SeqCst) {
                    all[1].apply_gradients(&[3, 9], &[1.0; 16]).unwrap();
                    singles.fetch_add(1, Ordering::SeqCst);
                }
            });
            scope.spawn(move || {
                ready.wait();
                while !is_over.load(Ordering::SeqCst) {
                    all[4].insert(&[-1], &[1.0; 32]).unwrap();
                    all[0].delete(&[-1]).unwrap();
                    storage.flush().unwrap();
                }
            });
            callers.into_iter().for_each(|caller| caller.join().unwrap());
            is_over.store(true, Ordering::SeqCst);
        });
        let mut steps = [0; GROUPS.len()];
        CALLERS.iter().flat_map(|groups| *groups).for_each(|group| steps[*group] += CALLS as i64);
        steps[1] += singles.into_inner() as i64;
        assert_eq!(content(&storage).1, steps);
        // Key 0 is in every call of every caller.
        for (group, embedding) in all.iter().enumerate() {
            let of_steps = CALLERS.iter().filter(|groups| groups.contains(&group)).count();
            let updates = embedding.record(0).unwrap().update_num;
            assert_eq!(updates, (of_steps * CALLS) as u64, "group {group}");
        }
        let before = content(&storage);
        drop((all, storage));
        assert!(content(&open_with(dir.path(), &options)) == before);
    }
}

/// Rows of keys that are not admitted come and go beside steps; their gradients are applied if
/// there is a row, and dropped if not.
#[test]
fn filtered_steps_go_on_beside_inserts_and_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let filters = tempfile::tempdir().unwrap();
    let filter = filter_of(&filters.path().join("filter"), 1_000);
    all[2].set_filter(Some(filter)).unwrap();
    let is_over = AtomicBool::new(false);
    let keys: Vec<i64> = (0..600).collect();
    thread::scope(|scope| {
        let (all, is_over, keys) = (&all, &is_over, &keys);
        scope.spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                all[2].insert(&keys[..300], &[1.0; 300 * 16]).unwrap();
                all[2].delete(&keys[..100]).unwrap();
            }
        });
        let steppers = [0, 1].map(|other| {
            let storage = storage.clone();
            scope.spawn(move || {
                let mut step = Step::new(storage);
                step.add(&all[other], keys, None).unwrap();
                step.add(&all[2], keys, None).unwrap();
                for _ in 0..CALLS {
                    let dim = GROUPS[other].0;
                    apply(&mut step, &[vec![1.0; dim * 600], vec![1.0; 16 * 600]]).unwrap();
                }
            })
        });
        steppers.into_iter().for_each(|stepper| stepper.join().unwrap());
        is_over.store(true, Ordering::SeqCst);
    });
    let steps: Vec<_> = all.iter().map(|embedding| embedding.step().unwrap()).collect();
    assert_eq!(steps, [CALLS as i64, CALLS as i64, 2 * CALLS as i64, 0, 0]);
    // A key that nobody inserted and no filter admitted has no row.
    assert!(all[2].record(450).is_err());
    assert_eq!(all[0].record(450).unwrap().update_num, CALLS as u64);
}
