//! Keys a second that a filter larger than the processor's caches adds and checks, in batches and
//! one by one.
//!
//! ```text
//! cargo bench --bench filter -- [name=value ...]
//! ```
//! Names: capacity (keys), dir, fpr. At first every key is new, as rare ids are, so that every
//! addition writes; then all are known ("again"), as frequent ids are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use damo::filter::Filter;
use damo::params::Params;

const BATCH: usize = 100_000;

fn main() {
    let words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let settings: HashMap<String, String> = words
        .map(|word| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .map(|pair| pair.expect("name=value"))
        .collect();
    let number = |name: &str, default: f64| {
        settings.get(name).map_or(default, |value| value.parse().expect("a number"))
    };
    let capacity = number("capacity", (1 << 26) as f64) as usize;
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = settings.get("dir").map_or_else(|| scratch.path().to_owned(), Into::into);
    let path = dir.join("bench.filter");
    let params = |count: i64| {
        Params::new()
            .with("path", path.to_str().expect("text"))
            .and_then(|params| params.with("capacity", capacity as i64))
            .and_then(|params| params.with("fpr", number("fpr", 1e-3)))
            .and_then(|params| params.with("count", count))
            .and_then(|params| params.with("reload", false))
            .expect("parameters")
    };
    let started = Instant::now();
    let filter = Filter::open(&params(2)).expect("a filter");
    let bytes = std::fs::metadata(&path).expect("a file").len();
    println!(
        "capacity {capacity}, {:.0} MB, {:.2} bytes a key, made in {:.3} s",
        bytes as f64 / 1e6,
        bytes as f64 / capacity as f64,
        started.elapsed().as_secs_f64()
    );
    for threads in [1, 2] {
        // Each number of threads has a group of its own, with keys that nobody has added.
        let group = threads as u32;
        let keys = capacity / 2;
        let mut admitted = vec![vec![0; BATCH]; threads];
        for name in ["add, first", "add, second", "add, again"] {
            measure(threads, keys, &mut admitted, name, |keys, _| {
                filter.add_batch(group, keys, 1).expect("added");
            });
        }
        for (name, group) in [("check, known", group), ("check, unknown", 99)] {
            measure(threads, keys, &mut admitted, name, |keys, admitted| {
                filter.check_batch(group, keys, &mut admitted[..keys.len()]).expect("checked");
            });
        }
        measure(threads, keys / 8, &mut admitted, "add, one a call", |keys, _| {
            keys.iter().for_each(|key| filter.add(group + 2, *key, 1).expect("added"));
        });
        measure(threads, keys / 8, &mut admitted, "check, one a call", |keys, _| {
            keys.iter().for_each(|key| drop(std::hint::black_box(filter.check(group, *key))));
        });
    }
}

fn measure(
    threads: usize,
    keys: usize,
    admitted: &mut [Vec<u8>],
    name: &str,
    work: impl Fn(&[i64], &mut [u8]) + Sync,
) {
    let next = AtomicUsize::new(0);
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    std::thread::scope(|scope| {
        for admitted in admitted {
            scope.spawn(|| {
                let mut batch = Vec::with_capacity(BATCH);
                loop {
                    let first = next.fetch_add(BATCH, Ordering::Relaxed);
                    if first >= keys {
                        break;
                    }
                    batch.clear();
                    batch.extend((first..(first + BATCH).min(keys)).map(|key| key as i64));
                    work(&batch, admitted);
                }
            });
        }
    });
    let rate = keys as f64 / started.elapsed().as_secs_f64() / 1e6;
    let cpu_rate = keys as f64 / (cpu_seconds() - cpu_before) / 1e6;
    println!(
        "{threads} thread(s)  {name:18} {rate:7.1} M keys/s  {cpu_rate:7.1} a second of a core"
    );
}

/// Processor time of this process; other processes do not count in it.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists everywhere, and writes to a variable of its type.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
