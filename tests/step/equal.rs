//! A step gives bit for bit the rows that calls on its groups give.

use std::sync::Arc;

use damo::bags::Pooling;
use damo::filter::Filter;
use damo::kernels::{Rows, RowsMut};
use damo::step::Step;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{int, lookup, open, params, text};
use crate::{GROUPS, apply, bags, content, embeddings, look_up};

fn random_keys(random: &mut ChaCha8Rng, count: usize) -> Vec<i64> {
    (0..count).map(|_| random.random_range(-50..2_000)).collect()
}

fn random_floats(random: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Groups of few keys, of some hundred, and of more than one thread is worth.
#[test]
fn steps_are_what_calls_on_their_groups_are() {
    for (turn, counts) in [[1, 3, 0, 7, 40], [300, 2, 1_000, 0, 257], [9_000, 1, 300, 4_096, 20]]
        .into_iter()
        .enumerate()
    {
        let mut random = ChaCha8Rng::seed_from_u64(turn as u64);
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let storages = [open(dirs[0].path()), open(dirs[1].path())];
        let padding = [("padding_key", int(7))];
        let [together, apart] = storages.each_ref().map(|storage| embeddings(storage, &padding));
        let mut step = Step::new(storages[0].clone());
        for _ in 0..6 {
            let keys = counts.map(|count| random_keys(&mut random, count));
            step.clear();
            // The order in which parts are added does not matter.
            for group in [2, 0, 4, 1, 3] {
                step.add(&together[group], &keys[group], None).unwrap();
            }
            let rows = [2, 0, 4, 1, 3].map(|group: usize| keys[group].len());
            let found = look_up(&mut step, &rows).unwrap();
            let gradients = GROUPS.iter().zip(&keys);
            let gradients: Vec<_> = gradients
                .map(|((dim, _), keys)| random_floats(&mut random, dim * keys.len()))
                .collect();
            for (part, group) in [2, 0, 4, 1, 3].into_iter().enumerate() {
                assert_eq!(found[part], lookup(&apart[group], &keys[group]), "group {group}");
                apart[group].apply_gradients(&keys[group], &gradients[group]).unwrap();
            }
            let of_parts = [2, 0, 4, 1, 3].map(|group: usize| gradients[group].clone());
            apply(&mut step, &of_parts).unwrap();
        }
        let contents = storages.each_ref().map(content);
        assert_eq!(contents[0].1, [6; 5]);
        assert!(contents[0] == contents[1]);
    }
}

#[test]
fn parts_of_one_group_share_rows_and_their_gradients_are_added_up() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let mut step = Step::new(storage);
    step.add(&all[1], &[1, 2], None).unwrap();
    step.add(&all[0], &[1], None).unwrap();
    step.add(&all[1], &[2, 3, 2], Some(bags(&[0, 2, 2], Pooling::Mean))).unwrap();
    let before = look_up(&mut step, &[2, 1, 3]).unwrap();
    let row = |key: i64| lookup(&all[1], &[key]);
    let mean: Vec<f32> =
        row(2).iter().zip(row(3)).map(|(two, three)| (two + three) / 2.0).collect();
    assert_eq!(before[0], [row(1), row(2)].concat());
    assert_eq!(before[2], [mean, vec![0.0; 8], row(2)].concat());
    // sgd: w - .05 g. Key 2 gets 1 of the first part, half of 4 and 3 of the third.
    let old = [row(1), row(2), row(3)];
    let gradients = [vec![1.0; 16], vec![0.0; 4], [[4.0; 8], [9.0; 8], [3.0; 8]].concat()];
    apply(&mut step, &gradients).unwrap();
    for (key, (before, gradient)) in (1..).zip(old.iter().zip([1.0, 6.0, 2.0])) {
        for (before, after) in before.iter().zip(row(key)) {
            assert!((before - 0.05 * gradient - after).abs() < 1e-6, "key {key}");
        }
    }
    assert_eq!(all[1].step().unwrap(), 1);
    assert_eq!(all[1].record(2).unwrap().update_num, 1);
}

#[test]
fn outputs_and_gradients_may_be_columns_of_one_matrix() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let keys: [Vec<i64>; 2] = [(0..500).collect(), (0..500).rev().collect()];
    let mut step = Step::new(storage);
    step.add(&all[0], &keys[0], None).unwrap();
    step.add(&all[2], &keys[1], None).unwrap();
    let mut matrix = vec![-1.0f32; 500 * 21];
    // Safe Rust has no two mutable views of one matrix; C's are tested in tests/c.
    let (mut first, mut second) = (vec![-1.0f32; 500 * 6], vec![-1.0f32; 500 * 17]);
    step.lookup(vec![
        RowsMut::new(&mut first, 4, 6).unwrap(),
        RowsMut::new(&mut second, 16, 17).unwrap(),
    ])
    .unwrap();
    let expected = [lookup(&all[0], &keys[0]), lookup(&all[2], &keys[1])];
    for row in 0..500 {
        assert_eq!(first[row * 6..row * 6 + 4], expected[0][row * 4..row * 4 + 4]);
        assert_eq!(second[row * 17..row * 17 + 16], expected[1][row * 16..row * 16 + 16]);
        assert_eq!((first[row * 6 + 4], second[row * 17 + 16]), (-1.0, -1.0));
        matrix[row * 21..row * 21 + 20].fill(0.5);
        matrix[row * 21 + 20] = f32::NAN;
    }
    let gradients = [Rows::new(&matrix, 4, 21).unwrap(), Rows::new(&matrix[4..], 16, 21).unwrap()];
    step.apply_gradients(&gradients).unwrap();
    assert_eq!((all[0].step().unwrap(), all[2].step().unwrap()), (1, 1));
    assert_eq!(all[2].record(499).unwrap().update_num, 1);
}

#[test]
fn the_option_mean_is_that_of_all_occurrences() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[("duplicates", text("mean"))]);
    let before = lookup(&all[1], &[5]);
    let mut step = Step::new(storage);
    step.add(&all[1], &[5, 5], None).unwrap();
    step.add(&all[1], &[5], None).unwrap();
    apply(&mut step, &[[vec![1.0; 8], vec![2.0; 8]].concat(), vec![6.0; 8]]).unwrap();
    for (before, after) in before.iter().zip(lookup(&all[1], &[5])) {
        assert!((before - 0.05 * 3.0 - after).abs() < 1e-6);
    }
}

/// Of keys that are given once a step gets the sums of their gradients.
#[test]
fn counted_keys_are_stepped_as_all_of_their_occurrences() {
    let scratch = tempfile::tempdir().unwrap();
    let (numbers, keys) = ([3u32, 1, 2], [7i64, 8, 9]);
    // Sums of such floats are exact.
    let floats: Vec<f32> = (0..6 * 8).map(|at| (at % 11) as f32 - 4.0).collect();
    let more = vec![0.5; 8];
    for (duplicates, padding) in [("sum", false), ("mean", false), ("mean", true)] {
        let all = [0, 1].map(|at| {
            let storage = open(&scratch.path().join(format!("{duplicates}{padding}{at}")));
            let padding = padding.then(|| ("padding_key", int(9)));
            let options = [Some(("duplicates", text(duplicates))), padding];
            let options: Vec<_> = options.into_iter().flatten().collect();
            (embeddings(&storage, &options), storage)
        });
        let [mut expanded, mut counted] = all.each_ref().map(|(all, storage)| {
            let mut step = Step::new(storage.clone());
            step.add(&all[0], &[7], None).unwrap();
            (all, step)
        });
        expanded.1.add(&expanded.0[1], &[7, 7, 7, 8, 9, 9], None).unwrap();
        counted.1.add_counted(&counted.0[1], &keys, &numbers).unwrap();
        let mut sums = vec![0.0; 3 * 8];
        let positions = [0, 0, 0, 1, 2, 2];
        for (gradient, position) in floats.chunks(8).zip(positions) {
            let sum = &mut sums[position * 8..][..8];
            sum.iter_mut().zip(gradient).for_each(|(sum, float)| *sum += float);
        }
        for (all, step) in [&mut expanded, &mut counted] {
            // A part whose keys are not counted has each of them once.
            step.add(&all[1], &[7], None).unwrap();
        }
        let of_first = vec![1.0; 4];
        apply(&mut expanded.1, &[of_first.clone(), floats.clone(), more.clone()]).unwrap();
        apply(&mut counted.1, &[of_first, sums, more.clone()]).unwrap();
        assert!(content(&all[0].1) == content(&all[1].1), "{duplicates}, {padding}");
    }
}

#[test]
fn a_filter_leaves_the_mean_of_counted_keys_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[("duplicates", text("mean"))]);
    let before = lookup(&all[1], &[5, 6]);
    let path = dir.path().with_extension("filter");
    let options = params(&[("path", text(path.to_str().unwrap())), ("capacity", int(1_000))]);
    all[1].set_filter(Some(Arc::new(Filter::open(&options).unwrap()))).unwrap();
    let mut step = Step::new(storage);
    // Key 4 has no row, and is not admitted.
    step.add_counted(&all[1], &[4, 5, 6], &[9, 3, 1]).unwrap();
    apply(&mut step, &[[vec![1.0; 8], vec![6.0; 8], vec![2.0; 8]].concat()]).unwrap();
    // Both have the mean 2.
    for (before, after) in before.iter().zip(lookup(&all[1], &[5, 6])) {
        assert!((before - 0.05 * 2.0 - after).abs() < 1e-6);
    }
    all[1].set_filter(None).unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_step_without_parts_or_keys_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let all = embeddings(&storage, &[]);
    let mut step = Step::new(storage);
    apply(&mut step, &[]).unwrap();
    step.add(&all[0], &[], None).unwrap();
    step.add(&all[3], &[], Some(bags(&[], Pooling::Sum))).unwrap();
    assert_eq!(look_up(&mut step, &[0, 0]).unwrap(), [vec![], vec![]] as [Vec<f32>; 2]);
    apply(&mut step, &[vec![], vec![]]).unwrap();
    let steps: Vec<_> = all.iter().map(|embedding| embedding.step().unwrap()).collect();
    assert_eq!(steps, [1, 0, 0, 1, 0]);
}
