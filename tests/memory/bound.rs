//! A table ten times the cache is trained and read within `cache_bytes` and a constant.
//!
//! DAMO_BOUND_ROWS and DAMO_BOUND_CACHE_BYTES run larger tables.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use damo::embedding::Embedding;
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{initializer, int, optimizer, params, rerun, text};

const CHILD: &str = "DAMO_BOUND_DIR";
const DIM: usize = 16;
/// Weights, two moments, and 32 bytes more.
const ROW_BYTES: u64 = 4 * 3 * DIM as u64 + 32;
const BATCH: usize = 10_000;

/// The most anonymous memory beside `cache_bytes` and what the process had before it opened the
/// storage. Mapped files also count as its memory, but are the page cache's.
/// Measured 35 to 45 MiB with a cache of 16 MiB. 8 MiB of that are any storage's: RocksDB, threads,
/// buffers of calls. The rest is for merging tables. While a table is written, its filter takes
/// eight bytes a row, and the indexes and filters of inputs and outputs are in memory. The
/// allocator keeps some for each thread.
const CONSTANT: u64 = 64 << 20;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn cache_bytes() -> u64 {
    setting("DAMO_BOUND_CACHE_BYTES", 16 << 20)
}

/// The process's anonymous memory, in bytes.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The most anonymous memory so far. The system knows only the peak of all memory, so a thread
/// looks all the time.
fn peak() -> u64 {
    static PEAK: AtomicU64 = AtomicU64::new(0);
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        thread::spawn(|| {
            loop {
                PEAK.fetch_max(anonymous(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        });
    });
    let now = anonymous();
    PEAK.fetch_max(now, Ordering::Relaxed).max(now)
}

fn train(dir: &Path, durability: &str) {
    let rows = setting("DAMO_BOUND_ROWS", 10 * cache_bytes() / ROW_BYTES);
    let options = [
        ("cache_bytes", int(cache_bytes() as i64)),
        ("durability", text(durability)),
        ("threads", int(2)),
    ];
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let gradients: Vec<f32> = (0..DIM * BATCH).map(|_| random.random_range(-1.0..1.0)).collect();
    let mut weights = vec![1.0; DIM * BATCH];
    let keys =
        |first: u64| (first..rows.min(first + BATCH as u64)).map(|id| id as i64 * 7919).collect();
    let before = peak();
    let storage = Storage::open(dir, 0, &params(&options)).unwrap();
    let (adam, normal) = (optimizer("adam", &[]), initializer("random_normal", &[]));
    let embedding = Embedding::new(
        storage.clone(),
        adam,
        normal,
        DIM,
        0,
        &params(&[("duplicates", text("sum"))]),
    )
    .unwrap();
    let stat = |name: &str| storage.stat(name).unwrap();
    let mut largest_count = 0;
    let mut report = |what: &str| {
        largest_count = largest_count.max(stat("bytes_in_memory"));
        let (peak, dirty) = ((peak() - before) >> 10, stat("dirty_rows"));
        println!(
            "{durability}: {what}: {peak} KiB more than before, bytes_in_memory {largest_count}, \
             dirty {dirty}"
        );
    };
    for first in (0..rows).step_by(BATCH) {
        let keys: Vec<i64> = keys(first);
        embedding.apply_gradients(&keys, &gradients[..DIM * keys.len()]).unwrap();
    }
    report("made");
    for _ in 0..15 {
        let keys: Vec<i64> =
            (0..BATCH).map(|_| random.random_range(0..rows) as i64 * 7919).collect();
        embedding.lookup(&keys, &mut weights).unwrap();
        embedding.apply_gradients(&keys, &gradients).unwrap();
    }
    report("trained");
    storage.compact().unwrap();
    report("compacted");
    for _ in 0..5 {
        let keys: Vec<i64> =
            (0..BATCH).map(|_| random.random_range(0..rows) as i64 * 7919).collect();
        embedding.prefetch(&keys).unwrap();
        embedding.peek(&keys, &mut weights, None).unwrap();
    }
    report("read");
    check_statistics(&storage, rows, largest_count);
    let more = peak() - before;
    assert!(more <= cache_bytes() + CONSTANT, "{more} bytes more than before opening");
}

fn check_statistics(storage: &Storage, rows: u64, bytes_in_memory: u64) {
    let stat = |name: &str| storage.stat(name).unwrap();
    let batch = BATCH as u64;
    assert_eq!(stat("groups"), 1);
    assert_eq!(stat("rows_created"), rows);
    assert_eq!(stat("rows_read"), 20 * batch);
    assert_eq!(stat("cache_hits") + stat("cache_misses"), stat("rows_read"));
    // Few keys are repeated within a batch; their gradients are summed.
    let updated = stat("rows_updated") - rows;
    assert!((14 * batch..=15 * batch).contains(&updated), "{updated} rows updated");
    // Nine tenths of uniform keys are on disk; a lookup loads what the step after it finds.
    let misses = stat("cache_misses");
    assert!((10 * batch..=20 * batch).contains(&misses), "{misses} misses");
    assert!(stat("rows_loaded") >= misses * 9 / 10);
    assert!(stat("rows_in_memory") * ROW_BYTES <= cache_bytes());
    assert!(stat("evictions") >= rows - cache_bytes() / ROW_BYTES);
    assert!(stat("rows_written") >= rows);
    assert!(stat("dirty_rows") <= stat("rows_in_memory"));
    let estimate = stat("rows_estimate");
    assert!(
        (rows * 9 / 10..=rows * 12 / 10).contains(&estimate),
        "{estimate} of {rows} rows estimated"
    );
    assert!(bytes_in_memory <= cache_bytes() + (4 << 20), "bytes_in_memory {bytes_in_memory}");
    let on_disk = stat("bytes_on_disk");
    assert!(
        (rows * 4 * 3 * DIM as u64 / 2..rows * ROW_BYTES * 2).contains(&on_disk),
        "{on_disk} bytes on disk"
    );
}

#[test]
fn a_table_ten_times_the_cache_stays_within_its_memory() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return train(Path::new(&dir), &std::env::var("DAMO_BOUND_DURABILITY").unwrap());
    }
    for durability in ["process", "checkpoint"] {
        let dir = tempfile::tempdir().unwrap();
        let output = rerun(a_table_ten_times_the_cache_stays_within_its_memory)
            .env(CHILD, dir.path())
            .env("DAMO_BOUND_DURABILITY", durability)
            .output()
            .unwrap();
        let (out, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        out.lines().filter(|line| line.starts_with(durability)).for_each(|line| println!("{line}"));
        assert!(output.status.success(), "{out}{error}");
    }
}
