//! Bags against PyTorch's embedding_bag (tests/golden/embedding_bags.py), and against plain loops
//! where PyTorch says nothing: strides, winners, and what is refused.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use super::*;
use crate::kernels::{Rows, RowsMut};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    pooling: String,
    has_last: bool,
    padding: Option<i64>,
    dim: usize,
    /// Indexes of rows in the table.
    keys: Vec<i64>,
    offsets: Vec<i64>,
    weights: Option<Vec<f32>>,
    table: Vec<f32>,
    gradients: Vec<f32>,
    outputs: Vec<f32>,
    table_gradients: Vec<f32>,
    weight_gradients: Option<Vec<f32>>,
}

/// What is computed of a case.
struct Found {
    outputs: Vec<f32>,
    of_entries: Vec<f32>,
    of_weights: Vec<f32>,
}

const POOLINGS: [Pooling; 3] = [Pooling::Sum, Pooling::Mean, Pooling::Max];

fn pooling(name: &str) -> Pooling {
    POOLINGS.into_iter().find(|pooling| pooling.name() == name).unwrap()
}

fn rows(floats: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(floats, dim, dim).unwrap()
}

fn rows_mut(floats: &mut [f32], dim: usize) -> RowsMut<'_> {
    RowsMut::new(floats, dim, dim).unwrap()
}

impl Case {
    fn bags(&self) -> Bags<'_> {
        let offsets = Offsets { offsets: &self.offsets, has_last: self.has_last };
        let weights = self.weights.as_deref();
        Bags::new(&self.keys, offsets, pooling(&self.pooling), weights, self.padding).unwrap()
    }

    fn compute(&self) -> Found {
        let (bags, dim, entries) = (self.bags(), self.dim, self.keys.len());
        let positions: Vec<u32> = self.keys.iter().map(|key| *key as u32).collect();
        let of_keys = Positioned::new(rows(&self.table, dim), &positions).unwrap();
        let mut outputs = vec![9.5; bags.len() * dim];
        let mut winners = vec![7; bags.len() * dim];
        bags.forward(&of_keys, rows_mut(&mut outputs, dim), Some(&mut winners)).unwrap();
        let mut of_entries = vec![9.5; entries * dim];
        let (gradients, room) = (rows(&self.gradients, dim), rows_mut(&mut of_entries, dim));
        bags.backward(gradients, Some(&winners), room).unwrap();
        let mut of_weights = vec![9.5; self.weights.as_ref().map_or(0, Vec::len)];
        if self.weights.is_some() {
            bags.weight_gradients(&of_keys, gradients, &mut of_weights).unwrap();
        }
        Found { outputs, of_entries, of_weights }
    }
}

fn near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let scale = expected.abs().max(1.0);
        assert!((found - expected).abs() <= 1e-6 * scale, "{what}: {found} and not {expected}");
    }
}

#[test]
fn bags_are_those_of_pytorch() {
    let text = include_str!("../../tests/golden/embedding_bags.json");
    let fixture: Fixture = serde_json::from_str(text).unwrap();
    assert!(fixture.cases.len() >= 72);
    for (number, case) in fixture.cases.iter().enumerate() {
        let found = case.compute();
        near(&found.outputs, &case.outputs, &format!("outputs of case {number}"));
        // PyTorch adds up the gradients of entries that have one row.
        let mut sums = vec![0.0; case.table.len()];
        for (key, gradient) in case.keys.iter().zip(found.of_entries.chunks_exact(case.dim)) {
            let sum = &mut sums[*key as usize * case.dim..][..case.dim];
            sum.iter_mut().zip(gradient).for_each(|(sum, float)| *sum += float);
        }
        near(&sums, &case.table_gradients, &format!("gradients of case {number}"));
        let of_weights = case.weight_gradients.as_deref().unwrap_or_default();
        near(&found.of_weights, of_weights, &format!("gradients of weights of case {number}"));
    }
}

/// The order of additions is that of a plain loop, for every number of columns, and nothing between
/// strided rows is written.
#[test]
fn every_dim_is_pooled_as_by_a_loop() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for dim in (1..24).chain([31, 32, 33, 64]) {
        let keys = [4, 9, 4, 0, 9, 7, 7];
        let bags_of = |pooling| {
            let offsets = Offsets { offsets: &[0, 3, 3, 6], has_last: false };
            Bags::new(&keys, offsets, pooling, None, Some(9)).unwrap()
        };
        let floats: Vec<f32> =
            (0..keys.len() * dim).map(|_| random.random_range(-1.0..1.0)).collect();
        let row = |entry: usize| &floats[entry * dim..(entry + 1) * dim];
        let (stride, given) = (dim + 2, [vec![0, 2], vec![], vec![3, 5], vec![6]]);
        for pooling in POOLINGS {
            let bags = bags_of(pooling);
            let mut outputs = vec![9.5; 4 * stride];
            let room = RowsMut::new(&mut outputs, dim, stride).unwrap();
            bags.forward(&rows(&floats, dim), room, None).unwrap();
            for (output, entries) in outputs.chunks_exact(stride).zip(&given) {
                for (column, &found) in output[..dim].iter().enumerate() {
                    let values: Vec<f32> =
                        entries.iter().map(|entry| row(*entry)[column]).collect();
                    let sum: f32 = values.iter().fold(0.0, |sum, value| sum + value);
                    let expected = match (pooling, values.len()) {
                        (_, 0) => 0.0,
                        (Pooling::Sum, _) => sum,
                        (Pooling::Mean, len) => sum / len as f32,
                        (Pooling::Max, _) => values.into_iter().fold(f32::MIN, f32::max),
                    };
                    assert_eq!(found, expected, "{pooling:?} {dim} {column}");
                }
                assert_eq!(output[dim..], [9.5; 2]);
            }
        }
    }
}

#[test]
fn the_first_of_equal_values_wins() {
    let keys = [1, 2, 3, 4, 5];
    let offsets = Offsets { offsets: &[0, 4, 5, 5], has_last: true };
    let bags = Bags::new(&keys, offsets, Pooling::Max, None, Some(1)).unwrap();
    let floats = [9.0, 9.0, 1.0, -2.0, 1.0, -1.0, 0.0, -1.0, -5.0, -6.0];
    let (mut outputs, mut winners) = ([9.5; 6], [7; 6]);
    bags.forward(&rows(&floats, 2), rows_mut(&mut outputs, 2), Some(&mut winners)).unwrap();
    assert_eq!(outputs, [1.0, -1.0, -5.0, -6.0, 0.0, 0.0]);
    assert_eq!(winners, [1, 2, 4, 4, NO_WINNER, NO_WINNER]);
    let mut of_entries = [9.5; 10];
    let gradients = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
    let room = rows_mut(&mut of_entries, 2);
    bags.backward(rows(&gradients, 2), Some(&winners), room).unwrap();
    assert_eq!(of_entries, [0.0, 0.0, 10.0, 0.0, 0.0, 20.0, 0.0, 0.0, 30.0, 40.0]);
}

#[test]
fn offsets_that_are_no_bags_are_named() {
    let keys = [1, 2, 3];
    let refused = |offsets: &[i64], has_last: bool, words: &str| {
        let offsets = Offsets { offsets, has_last };
        let error = Bags::new(&keys, offsets, Pooling::Sum, None, None).unwrap_err();
        assert!(error.message().contains(words), "{error}");
    };
    refused(&[1, 2], false, "offsets[0] is 1; 0 to 0");
    refused(&[-1], false, "offsets[0] is -1");
    refused(&[0, 2, 1], false, "offsets[2] is 1; 2 to 3");
    refused(&[0, 4], false, "offsets[1] is 4; 0 to 3");
    refused(&[0, i64::MAX], true, "offsets[1] is 9223372036854775807");
    refused(&[0, 2], true, "the last of offsets is 2 and keys_len is 3");
    refused(&[], true, "offsets_len is 0; at least one");
    refused(&[], false, "offsets_len is 0 and keys_len is 3");
    let none = |has_last: bool, offsets| Offsets { offsets, has_last };
    for (offsets, bags) in [(none(false, &[]), 0), (none(true, &[0]), 0), (none(false, &[0]), 1)] {
        assert_eq!(Bags::new(&[], offsets, Pooling::Max, None, None).unwrap().len(), bags);
    }
    let weighted = |pooling, weights: &[f32]| {
        let offsets = Offsets { offsets: &[0], has_last: false };
        Bags::new(&keys, offsets, pooling, Some(weights), None).unwrap_err().message().to_owned()
    };
    assert!(weighted(Pooling::Mean, &[1.0; 3]).contains("weights, and pooling is 'mean'"));
    assert!(weighted(Pooling::Max, &[1.0; 3]).contains("pooling is 'max'"));
    assert!(weighted(Pooling::Sum, &[1.0; 2]).contains("weights_len is 2 and keys_len is 3"));
}

#[test]
fn buffers_that_do_not_fit_are_named_and_nothing_is_written() {
    let keys = [1, 2, 3];
    let of = |pooling, weights| {
        let offsets = Offsets { offsets: &[0, 1], has_last: false };
        Bags::new(&keys, offsets, pooling, weights, Some(3)).unwrap()
    };
    let (max, weighted) = (of(Pooling::Max, None), of(Pooling::Sum, Some(&[1.0; 3])));
    let (given, mut room, mut winners) = ([1.0; 6], [9.5; 6], [7; 4]);
    let refused = |outcome: Result<()>, words: &str| {
        let error = outcome.unwrap_err();
        assert!(error.message().contains(words), "{error}");
    };
    let (one, two, three) = (rows(&given[..2], 2), rows(&given[..4], 2), rows(&given, 2));
    refused(max.forward(&two, rows_mut(&mut room[..4], 2), None), "rows are 2 and keys_len is 3");
    refused(max.forward(&three, rows_mut(&mut room, 2), None), "outputs has 3 rows");
    refused(max.forward(&three, rows_mut(&mut room[..2], 1), None), "rows have dim 2");
    let short = Some(&mut winners[..3]);
    refused(max.forward(&three, rows_mut(&mut room[..4], 2), short), "winners_len is 3; 2 bags");
    refused(max.backward(one, None, rows_mut(&mut room, 2)), "gradients has 1 rows");
    refused(max.backward(two, None, rows_mut(&mut room[..4], 2)), "are 2 and keys_len is 3");
    refused(max.backward(two, None, rows_mut(&mut room, 2)), "there are no winners");
    refused(max.backward(two, Some(&[0; 3]), rows_mut(&mut room, 2)), "winners_len is 3");
    refused(max.backward(two, Some(&[0, 0, 1, 0]), rows_mut(&mut room, 2)), "bag 1, column 1");
    refused(max.backward(two, Some(&[0, 0, 2, 1]), rows_mut(&mut room, 2)), "bag 1, column 0");
    let none = [NO_WINNER, 0, 1, 1];
    refused(max.backward(two, Some(&none), rows_mut(&mut room, 2)), "bag 0, column 0");
    refused(max.weight_gradients(&three, two, &mut room[..3]), "no weights");
    refused(weighted.weight_gradients(&three, two, &mut room), "weights are 6 and keys_len is 3");
    refused(weighted.weight_gradients(&three, one, &mut room[..3]), "gradients has 1 rows");
    assert_eq!((room, winners), ([9.5; 6], [7; 4]));
    assert!(Positioned::new(three, &[0, 3]).is_err());
}
