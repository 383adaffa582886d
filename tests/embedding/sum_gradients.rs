//! sum_gradients equals a loop that adds gradients one by one, and a step with the sums equals a
//! step with the gradients.

use std::thread;

use damo::embedding::{Embedding, Summed};
use damo::error::Status;
use damo::filter::Filter;
use damo::kernels::{Partitioned, Rows, RowsMut, gradients_sum, keys_partition};
use damo::params::Value;
use damo::storage::Storage;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{
    bytes_and_times, failure, float, initializer, int, open, optimizer, params, sgd, text,
};

const PADDING: i64 = 0;

/// The keys in ascending order, with the bits of their sums.
type Sums = Vec<(i64, Vec<u32>)>;

fn sums_of(embedding: &Embedding, keys: &[i64], gradients: &[f32]) -> (Sums, Summed) {
    let dim = embedding.dim();
    // The room behind the sums must stay as it is.
    let (mut summed_keys, mut sums) = (vec![-9; keys.len() + 3], vec![9.5; gradients.len() + 3]);
    let summed = embedding.sum_gradients(keys, gradients, &mut summed_keys, &mut sums).unwrap();
    assert!(summed_keys[summed.keys..].iter().all(|key| *key == -9));
    assert!(sums[summed.keys * dim..].iter().all(|sum| *sum == 9.5));
    let rows = sums.chunks_exact(dim).map(|sum| sum.iter().map(|float| float.to_bits()).collect());
    let mut found: Sums = summed_keys.into_iter().zip(rows).take(summed.keys).collect();
    found.sort();
    (found, summed)
}

/// What [`sums_of`] must return, computed by a plain loop.
fn model(keys: &[i64], gradients: &[f32], dim: usize, mode: &str, padding: Option<i64>) -> Sums {
    let mut entries: Vec<(i64, Vec<f32>, f32)> = Vec::new();
    for (key, gradient) in keys.iter().zip(gradients.chunks_exact(dim)) {
        if Some(*key) == padding {
            continue;
        }
        match entries.iter_mut().find(|entry| entry.0 == *key) {
            None => entries.push((*key, gradient.to_vec(), 1.0)),
            Some((_, sum, count)) => {
                sum.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += gradient);
                *count += 1.0;
            }
        }
    }
    entries.sort_by_key(|entry| entry.0);
    let divided = |sum: f32, count: f32| if mode == "mean" { sum / count } else { sum };
    let bits = |(key, sum, count): (i64, Vec<f32>, f32)| {
        (key, sum.iter().map(|float| divided(*float, count).to_bits()).collect())
    };
    entries.into_iter().map(bits).collect()
}

fn agrees(
    embedding: &Embedding,
    keys: &[i64],
    gradients: &[f32],
    mode: &str,
    padding: Option<i64>,
) {
    let (found, summed) = sums_of(embedding, keys, gradients);
    let expected = model(keys, gradients, embedding.dim(), mode, padding);
    assert!(found == expected, "{mode}, {} keys, dim {}", keys.len(), embedding.dim());
    let sums =
        || expected.iter().flat_map(|(_, sum)| sum).map(|bits| f64::from(f32::from_bits(*bits)));
    let norm = sums().map(|sum| sum * sum).sum::<f64>().sqrt();
    assert!((summed.norm - norm).abs() <= norm * 1e-12, "{} and not {norm}", summed.norm);
    assert_eq!(summed.largest, sums().map(f64::abs).fold(0.0, f64::max));
}

/// Keys of both signs, some of them repeated, and padding. Gradients of very different sizes give
/// other sums in another order of addition.
fn batch(random: &mut impl Rng, len: usize, dim: usize, kinds: i64) -> (Vec<i64>, Vec<f32>) {
    let keys = (0..len)
        .map(|_| random.random_range(-kinds..=kinds) * random.random_range(0..=1))
        .collect();
    let float = |random: &mut dyn Rng| {
        let size = 10f32.powi(random.random_range(-12..8));
        random.random_range(-1.0..1.0f32) * size
    };
    let gradients = (0..len * dim).map(|_| float(random)).collect();
    (keys, gradients)
}

#[test]
fn sums_are_those_of_a_loop() {
    let mut random = ChaCha8Rng::seed_from_u64(13);
    for threads in [1, 4] {
        for mode in ["sequential", "sum", "mean"] {
            for padding in [None, Some(PADDING)] {
                let dir = tempfile::tempdir().unwrap();
                let storage =
                    Storage::open(dir.path(), 0, &params(&[("threads", int(threads))])).unwrap();
                for (group, dim) in [1, 3, 8, 17, 512].into_iter().enumerate() {
                    let mut options = vec![("duplicates", text(mode))];
                    options.extend(padding.map(|key| ("padding_key", int(key))));
                    let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
                    let options = params(&options);
                    let embedding =
                        Embedding::new(storage.clone(), sgd, ones, dim, group as u32, &options)
                            .unwrap();
                    // From 4096 distinct keys on, threads share the work.
                    let lens =
                        if dim == 1 { vec![0, 1, 2, 5, 300, 9000] } else { vec![0, 1, 2, 5, 300] };
                    for len in lens {
                        for kinds in [1, 40, 20_000] {
                            let (keys, gradients) = batch(&mut random, len, dim, kinds);
                            agrees(&embedding, &keys, &gradients, mode, padding);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn stepping_with_the_sums_is_stepping_with_the_gradients() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let (dir, apart) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (group, mode) in ["sum", "mean"].into_iter().enumerate() {
        let embedding = |storage: Storage| {
            let adam = optimizer("adam", &[("gamma", float(0.01))]);
            let options = params(&[("duplicates", text(mode)), ("padding_key", int(PADDING))]);
            let start = initializer("random_uniform", &[]);
            Embedding::new(storage, adam, start, 4, group as u32, &options).unwrap()
        };
        let (summing, applying) = (embedding(open(dir.path())), embedding(open(apart.path())));
        for _ in 0..20 {
            let (keys, gradients) = batch(&mut random, 700, 4, 90);
            let (mut summed_keys, mut sums) = (keys.clone(), gradients.clone());
            let summed =
                summing.sum_gradients(&keys, &gradients, &mut summed_keys, &mut sums).unwrap();
            let keys_once = &summed_keys[..summed.keys];
            summing.apply_gradients(keys_once, &sums[..4 * summed.keys]).unwrap();
            applying.apply_gradients(&keys, &gradients).unwrap();
            for key in keys_once {
                let (one, other) = (summing.record(*key).unwrap(), applying.record(*key).unwrap());
                let bits =
                    |data: &[f32]| data.iter().map(|float| float.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&one.data), bits(&other.data), "{mode}, key {key}");
                assert_eq!(one.update_num, other.update_num);
            }
        }
    }
}

/// What a caller that makes keys distinct itself gets: keys_partition and gradients_sum.
#[test]
fn sums_of_the_kernels_are_the_sums_of_a_call() {
    let mut random = ChaCha8Rng::seed_from_u64(18);
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    for (group, dim) in [1, 4, 16, 17].into_iter().enumerate() {
        let sgd = optimizer("sgd", &[]);
        let options = params(&[("duplicates", text("sum"))]);
        let zeros = initializer("zeros", &[]);
        let embedding =
            Embedding::new(storage.clone(), sgd, zeros, dim, group as u32, &options).unwrap();
        for len in [0, 1, 300, 9000] {
            let (keys, gradients) = batch(&mut random, len, dim, 400);
            let (mut distinct_keys, mut starts) = (vec![0; len], [0; 9]);
            let (mut positions, mut occurrences) = (vec![0; len], vec![0; len]);
            let into = Partitioned {
                distinct_keys: &mut distinct_keys,
                starts: &mut starts,
                positions: &mut positions,
                occurrences: &mut occurrences,
            };
            keys_partition(&keys, 8, into).unwrap();
            let count = starts[8] as usize;
            let mut sums = vec![0.0; count * dim];
            let room = RowsMut::new(&mut sums, dim, dim).unwrap();
            gradients_sum(Rows::new(&gradients, dim, dim).unwrap(), &positions, room).unwrap();
            let rows = sums.chunks_exact(dim);
            let rows = rows.map(|sum| sum.iter().map(|float| float.to_bits()).collect());
            let mut found: Sums = distinct_keys.into_iter().zip(rows).take(count).collect();
            found.sort();
            assert!(found == sums_of(&embedding, &keys, &gradients).0, "{len} keys, dim {dim}");
        }
    }
}

#[test]
fn nothing_changes_in_a_storage_that_may_be_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let embedding = sgd(&open(dir.path()), 2, 0.5, &[]);
    embedding.apply_gradients(&[5], &[1.0, 1.0]).unwrap();
    let filter_dir = tempfile::tempdir().unwrap();
    let path = filter_dir.path().join("filter");
    let options = params(&[("path", text(path.to_str().unwrap())), ("count", int(3))]);
    embedding.set_filter(Some(Filter::open(&options).unwrap().into())).unwrap();
    // A key that the filter does not admit is summed, too.
    let summed = sums_of(&embedding, &[7, 5, 7], &[3.0, 0.0, 0.0, 0.0, 0.0, 4.0]);
    assert_eq!(summed.1, Summed { keys: 2, norm: 5.0, largest: 4.0 });
    assert_eq!((embedding.step().unwrap(), embedding.storage().row_count(None).unwrap()), (1, 1));
    drop(embedding);
    let before = bytes_and_times(dir.path());
    {
        let looking =
            Storage::open(dir.path(), 0, &params(&[("read_only", Value::from(true))])).unwrap();
        let embedding = sgd(&looking, 2, 0.5, &[]);
        let again = sums_of(&embedding, &[7, 5, 7], &[3.0, 0.0, 0.0, 0.0, 0.0, 4.0]);
        assert_eq!(again, summed);
        failure(embedding.record(7), Status::NotFound);
    }
    assert_eq!(bytes_and_times(dir.path()), before);
}

#[test]
fn what_is_no_gradient_is_named_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let padding = ("padding_key", int(PADDING));
    for mode in ["sequential", "sum", "mean"] {
        let embedding = sgd(&storage, 2, 0.5, &[("duplicates", text(mode)), padding.clone()]);
        let (mut keys, mut sums) = ([-9; 3], [9.5; 6]);
        let mut refused = |batch: &[i64], gradients: &[f32], words: &str| {
            let error = failure(
                embedding.sum_gradients(batch, gradients, &mut keys, &mut sums),
                Status::InvalidArgument,
            );
            assert!(error.message().contains(words), "{error}");
            assert_eq!((keys, sums), ([-9; 3], [9.5; 6]), "{mode}");
        };
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.1e18, -3e38] {
            refused(
                &[1, -77, 3],
                &[1.0, 1.0, 1.0, bad, 1.0, 1.0],
                "key -77 (position 1, column 1)",
            );
        }
        if mode != "mean" {
            let words = "gradients of key 1 add up to more than 1e18";
            refused(&[1, 1], &[0.0, 9e17, 0.0, 9e17], words);
        }
        refused(&[1, 2], &[0.0; 3], "gradients_len is 3");
        refused(&[1, 2, 3, 4], &[0.0; 8], "summed_keys_len is 3 and keys_len is 4");
        // Gradients of the padding key may be any floats.
        let (found, summed) =
            sums_of(&embedding, &[PADDING, 4], &[f32::NAN, f32::INFINITY, 1.0, 0.0]);
        assert_eq!((found.len(), summed), (1, Summed { keys: 1, norm: 1.0, largest: 1.0 }));
        let (found, summed) = sums_of(&embedding, &[PADDING; 9], &[1.0; 18]);
        assert_eq!((found.len(), summed), (0, Summed::default()));
        let error = failure(
            embedding.sum_gradients(&[1], &[0.0; 2], &mut [0], &mut [0.0]),
            Status::InvalidArgument,
        );
        assert!(
            error.message().contains("sums_len is 1 and keys_len is 1; room for 1 keys x dim 2"),
            "{error}"
        );
    }
}

#[test]
fn threads_sum_beside_threads_that_step() {
    let dir = tempfile::tempdir().unwrap();
    let embedding = sgd(&open(dir.path()), 3, 0.5, &[("duplicates", text("sum"))]);
    let mut random = ChaCha8Rng::seed_from_u64(99);
    let batches: Vec<_> = (0..6).map(|n| batch(&mut random, 100 + 2000 * n, 3, 3000)).collect();
    let expected: Vec<_> =
        batches.iter().map(|(keys, floats)| sums_of(&embedding, keys, floats)).collect();
    thread::scope(|scope| {
        for (batch, expected) in batches.iter().zip(&expected) {
            let embedding = &embedding;
            scope.spawn(move || {
                for _ in 0..20 {
                    // Equal to the last bit, whichever thread sums which part.
                    assert!(sums_of(embedding, &batch.0, &batch.1) == *expected);
                    embedding.apply_gradients(&batch.0, &vec![0.0; batch.1.len()]).unwrap();
                }
            });
        }
    });
    assert_eq!(embedding.step().unwrap(), 120);
}
