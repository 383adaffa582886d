//! What a cache of a tenth of the table misses: for changes of the eviction policy. It counts
//! misses and written rows. The writer's rounds come at other moments in each run, which changes
//! the counts by one in 200.
//!
//! ```text
//! cargo bench --bench eviction -- [only=WORKLOAD,...] [name=value ...]
//! ```
//! Workloads, by default all. With "-steps" each lookup is followed by apply_gradients:
//! * zipf, zipf-steps: Zipf(1.05);
//! * scan, scan-steps: Zipf(1.05), and every ten batches lookups of five batches of ids in their
//!   order. Misses are those of the Zipf batches;
//! * epoch-steps: Zipf(1.05), and each id once just before the counted batches. Misses of that pass
//!   are not counted, and rows written during it are;
//! * shift, shift-steps: Zipf(1.05), where a tenth of the ids exchange their ranks every 20
//!   batches;
//! * drift-steps: Zipf(1.05), where with every batch each id moves to a more frequent rank, by one
//!   rank for 100,000 rows of the table. Past the most frequent rank it becomes the rarest;
//! * new-steps: Zipf(1.05), where a twentieth of the keys of each batch has never been seen;
//! * uniform, uniform-steps: uniform ids;
//! * loop: ids in their order, in a circle that is a fifth longer than the cache.
//!
//! A miss is a key that was looked for on disk. The share of misses is that of the distinct keys of
//! the batches. Rows written and merged, waits and processor time are those of all batches from the
//! first counted one on.
//! Other names: rows (of the table), cache_bytes, batch (keys), batches (counted ones; half as many
//! come before them), zipf (the exponent), seed, threads, dir (of the storage).

use std::collections::{HashMap, HashSet};

use damo::embedding::Embedding;
use damo::initializer::Initializer;
use damo::optimizer::Optimizer;
use damo::params::Params;
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Zipf};

const DIM: usize = 16;
const WORKLOADS: &str = "zipf,zipf-steps,scan,scan-steps,epoch-steps,shift,shift-steps,drift-steps,\
                         new-steps,uniform,uniform-steps,loop";

/// A batch, how many distinct keys it has, whether apply_gradients follows its lookup, and whether
/// its misses are counted.
struct Batch {
    keys: Vec<i64>,
    distinct: usize,
    is_step: bool,
    counts: bool,
}

/// Makes the batches of a workload.
struct Trace {
    random: ChaCha8Rng,
    zipf: Zipf<f64>,
    /// The id of each rank.
    ids: Vec<u64>,
    batch: usize,
    resident: usize,
    /// The next id of a scan, and the next one that has never been seen.
    next: usize,
    new: u64,
}

impl Trace {
    fn zipf(&mut self, shift: usize) -> Vec<i64> {
        let mut keys = Vec::with_capacity(self.batch);
        while keys.len() < self.batch {
            let rank = self.zipf.sample(&mut self.random) as usize - 1;
            keys.push(scattered(self.ids[(rank + shift) % self.ids.len()]));
        }
        keys
    }

    fn in_order(&mut self, circle: usize) -> Vec<i64> {
        let next = self.next;
        self.next += self.batch;
        (next..self.next).map(|id| scattered((id % circle) as u64)).collect()
    }

    /// Exchanges the ranks of a tenth of the ids.
    fn shift(&mut self) {
        for _ in 0..self.ids.len() / 20 {
            let mut rank = || self.random.random_range(0..self.ids.len());
            let (one, other) = (rank(), rank());
            self.ids.swap(one, other);
        }
    }

    /// Batch number `number` of a workload, with those that come before it.
    fn batches(&mut self, workload: &str, number: usize, counted_from: usize) -> Vec<Batch> {
        let (kind, is_step) =
            workload.strip_suffix("-steps").map_or((workload, false), |kind| (kind, true));
        let rows = self.ids.len();
        let counts = number >= counted_from;
        let mut batches = Vec::new();
        let mut add = |keys: Vec<i64>, is_step, counts| {
            let distinct = keys.iter().collect::<HashSet<_>>().len();
            batches.push(Batch { keys, distinct, is_step, counts });
        };
        match kind {
            "scan" if number.is_multiple_of(10) => {
                (0..5).for_each(|_| add(self.in_order(rows), false, false));
            }
            "epoch" if number == counted_from => {
                (0..rows / self.batch).for_each(|_| add(self.in_order(rows), is_step, false));
            }
            "shift" if number.is_multiple_of(20) => self.shift(),
            _ => {}
        }
        let mut keys = match kind {
            "uniform" => (0..self.batch)
                .map(|_| scattered(self.random.random_range(0..rows as u64)))
                .collect(),
            "loop" => self.in_order(self.resident * 6 / 5),
            "drift" => self.zipf(number * rows / 100_000),
            _ => self.zipf(0),
        };
        if kind == "new" {
            for key in keys.iter_mut().step_by(20) {
                *key = scattered(self.new);
                self.new += 1;
            }
        }
        add(keys, is_step, counts);
        batches
    }
}

/// Ids as they come: anywhere in 64 bits.
fn scattered(id: u64) -> i64 {
    (id.wrapping_mul(0x9e37_79b9_7f4a_7c15)) as i64
}

fn main() {
    let words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let settings: HashMap<String, String> = words
        .map(|word| {
            let (name, value) = word.split_once('=').expect("name=value");
            (name.to_owned(), value.to_owned())
        })
        .collect();
    let number = |name: &str, default: usize| -> usize {
        settings.get(name).map_or(default, |value| value.parse().expect("a number"))
    };
    let rows = number("rows", 1_000_000);
    let cache_bytes = number("cache_bytes", rows * (12 * DIM + 32) / 10);
    let (batch, batches) = (number("batch", 16_384), number("batches", 200));
    let exponent = settings.get("zipf").map_or(1.05, |value| value.parse().expect("a number"));

    let scratch = tempfile::tempdir().expect("a directory");
    let dir = settings.get("dir").map_or(scratch.path(), std::path::Path::new);
    let options = Params::new()
        .with("cache_bytes", cache_bytes as i64)
        .and_then(|options| options.with("durability", "checkpoint"))
        .and_then(|options| options.with("threads", number("threads", 2) as i64))
        .expect("options");
    let storage = Storage::open(dir, 0, &options).expect("a storage");
    let adam = Optimizer::new("adam", &Params::new(), None).expect("adam");
    let normal = Initializer::new("random_normal", &Params::new()).expect("an initializer");
    let duplicates = Params::new().with("duplicates", "sum").expect("a bag");
    let embedding =
        Embedding::new(storage.clone(), adam.into(), normal.into(), DIM, 0, &duplicates)
            .expect("an embedding");
    let gradients: Vec<f32> = (0..batch * DIM).map(|at| (at as f32).sin() / 100.0).collect();
    let mut weights = vec![0.0; batch * DIM];
    let all: Vec<i64> = (0..rows as u64).map(scattered).collect();
    for keys in all.chunks(batch) {
        embedding.apply_gradients(keys, &gradients[..keys.len() * DIM]).expect("a step");
    }
    storage.compact().expect("compacted");
    let stat = |name: &str| storage.stat(name).expect("a stat");
    let resident = stat("rows_in_memory") as usize;
    println!("{rows} rows, {resident} in memory, batches of {batch} keys");

    let only = settings.get("only").map_or(WORKLOADS, String::as_str);
    let mut new = rows as u64;
    for workload in only.split(',') {
        assert!(WORKLOADS.split(',').any(|known| known == workload), "{workload} is none");
        let random = ChaCha8Rng::seed_from_u64(number("seed", 7) as u64);
        let zipf = Zipf::new(rows as f64, exponent).expect("zipf");
        let ids = (0..rows as u64).collect();
        let mut trace = Trace { random, zipf, ids, batch, resident, next: 0, new };
        let made = (0..batches + batches / 2)
            .map(|number| trace.batches(workload, number, batches / 2))
            .collect::<Vec<_>>();
        new = trace.new;
        storage.flush().expect("flushed");
        let (mut keys, mut misses, mut again) = (0, 0, 0);
        let mut before = Vec::new();
        let totals = || {
            let counts = ["rows_written", "rows_merged", "waited_for_room_us"];
            let [written, merged, waited] = counts.map(|name| stat(name) as f64);
            [written, merged, waited / 1e6, cpu_seconds()]
        };
        for (number, made) in made.iter().enumerate() {
            if number == batches / 2 {
                before = totals().to_vec();
            }
            for batch in made {
                let loaded = stat("rows_loaded");
                embedding.lookup(&batch.keys, &mut weights).expect("a lookup");
                let loaded_by_lookup = stat("rows_loaded");
                if batch.is_step {
                    embedding.apply_gradients(&batch.keys, &gradients).expect("a step");
                }
                if batch.counts {
                    again += stat("rows_loaded") - loaded_by_lookup;
                    misses += stat("rows_loaded") - loaded;
                    keys += batch.distinct as u64;
                }
            }
        }
        let now = totals();
        let [written, merged, waited, cpu] =
            std::array::from_fn(|which| now[which] - before[which]);
        println!(
            "{workload:14} misses {:6.2} % ({misses}, {again} in steps), written {written}, \
             merged {merged}, waited {waited:.2} s for room, {cpu:.2} s of processor, {:.2} us a \
             miss",
            misses as f64 * 100.0 / keys as f64,
            cpu * 1e6 / misses.max(1) as f64
        );
    }
}

/// Processor time of all threads so far. It is steadier than time on the clock where others use the
/// machine.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> =
        stat.split(' ').skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    fields.iter().sum::<f64>() / 100.0
}
