//! The parts of the engine, each by itself: through the C ABI where possible, the rest from its
//! source file.
//!
//! ```text
//! benches/parts/run [--quick] [NAME]
//! ```
//! The journal's share is the difference between apply_gradients with durability "process" and with
//! "checkpoint": a call of 72,000 keys is an entry of 5 MB.

use std::hint::black_box;
use std::time::Duration;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Zipf};

mod abi;
use abi::{Optimizer, Table};

#[allow(dead_code, unused_imports)]
#[path = "../../src/error.rs"]
mod error;
#[allow(dead_code, unused_imports)]
#[path = "../../src/cache/hash.rs"]
mod hash;
#[allow(dead_code, unused_imports)]
#[path = "../../src/limits.rs"]
mod limits;
#[allow(dead_code, unused_imports)]
#[path = "../../src/memory.rs"]
mod memory;
#[allow(dead_code, unused_imports)]
#[path = "../../src/cache/partition.rs"]
mod partition;
/// What the files here need of src/locks.
mod locks {
    pub(crate) use parking_lot::Mutex;
}
#[allow(dead_code, unused_imports)]
#[path = "../../src/prefetch.rs"]
mod prefetch;
#[allow(dead_code, unused_imports)]
#[path = "../../src/rocks/row.rs"]
mod row;
#[allow(dead_code, unused_imports)]
#[path = "../../src/seqno.rs"]
mod seqno;

const DIM: usize = 16;
const ROWS: usize = 1_000_000;

fn scattered(id: u64) -> i64 {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64
}

fn uniform_keys(random: &mut ChaCha8Rng, rows: usize, count: usize) -> Vec<i64> {
    (0..count).map(|_| scattered(random.random_range(0..rows as u64))).collect()
}

fn floats(count: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    (0..count).map(|_| random.random_range(-0.01..0.01)).collect()
}

fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
    keys: usize,
) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(keys as u64));
    group
}

/// A table with rows for the first ids, and its folder.
fn table(rows: usize, cache_bytes: usize, durability: &str) -> (tempfile::TempDir, Table) {
    let dir = tempfile::tempdir().expect("a directory");
    let table = Table::open(dir.path(), cache_bytes, durability);
    let keys: Vec<i64> = (0..rows as u64).map(scattered).collect();
    let gradients = floats(50_000 * DIM);
    keys.chunks(50_000).for_each(|keys| table.apply(keys, &gradients[..keys.len() * DIM]));
    (dir, table)
}

fn partition(criterion: &mut Criterion) {
    let keys = uniform_keys(&mut ChaCha8Rng::seed_from_u64(2), ROWS, 100_000);
    let mut group = group(criterion, "partition", keys.len());
    for shards in [1, 64] {
        group.bench_function(format!("{shards} shards"), |bencher| {
            bencher.iter(|| partition::Partition::new(black_box(&keys), shards).is_ok());
        });
    }
}

fn optimizers(criterion: &mut Criterion) {
    const STEPS: usize = 1000;
    let gradients = floats(STEPS * DIM);
    let mut group = group(criterion, "optimizer", STEPS);
    for name in ["sgd", "ftrl", "adagrad", "rowwise_adagrad", "adam", "amsgrad", "adamw", "lion"] {
        let optimizer = Optimizer::new(name);
        let row_len = optimizer.row_len(DIM);
        let mut rows = floats(STEPS * row_len);
        // State that is a square is not negative.
        rows.iter_mut().for_each(|float| *float = float.abs());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for (row, gradient) in
                    rows.chunks_exact_mut(row_len).zip(gradients.chunks_exact(DIM))
                {
                    optimizer.step(row, gradient);
                }
            });
        });
    }
}

fn rows(criterion: &mut Criterion) {
    const ENCODED: usize = 1000;
    let (floats, mut value) = (floats(3 * DIM), Vec::new());
    let seqno = seqno::Seqno::new(100_000);
    let header = row::RowHeader { update_time: 1_795_000_000_000, update_num: 300, seqno };
    let mut group = group(criterion, "row", ENCODED);
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            (0..ENCODED)
                .for_each(|_| row::encode(&mut value, black_box(header), black_box(&floats)))
        });
    });
    let mut decoded = floats.clone();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            (0..ENCODED)
                .filter(|_| {
                    row::decode(black_box(&value), 3 * DIM, black_box(&mut decoded)).is_ok()
                })
                .count()
        });
    });
}

fn resident(criterion: &mut Criterion) {
    const KEYS: usize = 72_000;
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let uniform = uniform_keys(&mut random, ROWS, KEYS);
    let distinct: Vec<i64> = (0..KEYS as u64).map(|id| scattered(id * 13)).collect();
    let zipf = Zipf::new(ROWS as f64, 1.05).expect("zipf");
    let zipf: Vec<i64> =
        (0..KEYS).map(|_| scattered(zipf.sample(&mut random) as u64 - 1)).collect();
    let (gradients, mut weights) = (floats(KEYS * DIM), floats(KEYS * DIM));
    for durability in ["checkpoint", "process"] {
        let (_dir, table) = table(ROWS, 1 << 30, durability);
        if durability == "checkpoint" {
            let mut group = group(criterion, "lookup resident", KEYS);
            for (name, keys) in [("uniform", &uniform), ("zipf", &zipf)] {
                group.bench_function(name, |bencher| {
                    bencher.iter(|| table.lookup(keys, &mut weights));
                });
            }
        }
        let mut group = group(criterion, &format!("apply adam sum, {durability}"), KEYS);
        for (name, keys) in [("distinct", &distinct), ("uniform", &uniform), ("zipf", &zipf)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| table.apply(keys, &gradients));
            });
        }
    }
}

fn misses(criterion: &mut Criterion) {
    const CACHE_BYTES: usize = 16 << 20;
    const KEYS: usize = 10_000;
    let rows = 10 * CACHE_BYTES / (4 * 3 * DIM + 32);
    let (_dir, table) = table(rows, CACHE_BYTES, "process");
    table.compact();
    let (mut random, mut weights) = (ChaCha8Rng::seed_from_u64(4), floats(KEYS * DIM));
    let gradients = floats(KEYS * DIM);
    let mut group = group(criterion, "table 10 x the cache", KEYS);
    group.bench_function("lookup uniform", |bencher| {
        bencher.iter_batched(
            || uniform_keys(&mut random, rows, KEYS),
            |keys| table.lookup(&keys, &mut weights),
            criterion::BatchSize::PerIteration,
        );
    });
    group.bench_function("apply uniform", |bencher| {
        bencher.iter_batched(
            || uniform_keys(&mut random, rows, KEYS),
            |keys| table.apply(&keys, &gradients),
            criterion::BatchSize::PerIteration,
        );
    });
}

criterion_group! {
    name = parts;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = partition, optimizers, rows, resident, misses
}
criterion_main!(parts);
