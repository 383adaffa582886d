//! The reference workload and its variants, without a statistics harness: for profilers, and for
//! looking at a change. `benches/compare` measures the same through the C ABI, beside other
//! systems.
//!
//! ```text
//! cargo bench --bench workload -- [reference|lookup|adam|uniform|zipf|lifecycle] [name=value ...]
//! ```
//! Names: durability, seconds, cache_bytes, threads, mapped_reads, io_uring, rows (of the table),
//! ids, batch (keys), dim, dir, seed (of the keys of uniform and zipf), prefetch and compact (0 or
//! 1).

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use damo::embedding::Embedding;
use damo::initializer::Initializer;
use damo::optimizer::Optimizer;
use damo::params::Params;
use damo::storage::{DumpOptions, Storage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Zipf};

struct Settings(HashMap<String, String>);

impl Settings {
    fn text(&self, name: &str, default: &str) -> String {
        self.0.get(name).cloned().unwrap_or_else(|| default.to_owned())
    }

    fn number(&self, name: &str, default: usize) -> usize {
        self.0.get(name).map_or(default, |value| value.parse().expect("a number"))
    }
}

fn main() {
    let mut words: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let what = if words.first().is_some_and(|word| !word.contains('=')) {
        words.remove(0)
    } else {
        "reference".to_owned()
    };
    let pairs = words.iter().map(|word| word.split_once('=').expect("name=value"));
    let settings =
        Settings(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
    match what.as_str() {
        "reference" => reference(&settings),
        "lookup" => resident(&settings, false),
        "adam" => resident(&settings, true),
        "lifecycle" => lifecycle(&settings),
        "uniform" | "zipf" => larger_than_memory(&settings, what == "zipf"),
        _ => panic!("{what} is none of reference, lookup, adam, uniform, zipf, lifecycle"),
    }
}

struct Opened {
    storage: Storage,
    embedding: Arc<Embedding>,
    _dir: Option<tempfile::TempDir>,
}

fn open(settings: &Settings, cache_bytes: usize) -> Opened {
    let scratch =
        (!settings.0.contains_key("dir")).then(|| tempfile::tempdir().expect("a directory"));
    let dir = settings
        .0
        .get("dir")
        .map_or_else(|| scratch.as_ref().expect("made").path().to_owned(), Into::into);
    let options = Params::new()
        .with("cache_bytes", settings.number("cache_bytes", cache_bytes) as i64)
        .and_then(|params| {
            params.with("durability", settings.text("durability", "process").as_str())
        })
        .and_then(|params| params.with("threads", settings.number("threads", 2) as i64))
        .and_then(|params| params.with("io_uring", settings.text("io_uring", "auto").as_str()))
        .and_then(|params| {
            params.with("mapped_reads", settings.text("mapped_reads", "auto").as_str())
        })
        .expect("options");
    let storage = Storage::open(dir, 0, &options).expect("a storage");
    let adam = Optimizer::new("adam", &Params::new(), None).expect("adam");
    let normal =
        Initializer::new("random_normal", &Params::new().with("stddev", 0.01).expect("a bag"))
            .expect("normal");
    let options = Params::new().with("duplicates", "sum").expect("a bag");
    let dim = settings.number("dim", 16);
    let embedding = Embedding::new(storage.clone(), adam.into(), normal.into(), dim, 0, &options)
        .expect("an embedding");
    Opened { storage, embedding: Arc::new(embedding), _dir: scratch }
}

fn zipf_batch(random: &mut ChaCha8Rng, ids: usize, len: usize) -> Vec<i64> {
    let zipf = Zipf::new(ids as f64, 1.05).expect("zipf");
    (0..len).map(|_| scattered(zipf.sample(random) as u64)).collect()
}

/// Ids as they come: anywhere in 64 bits.
fn scattered(id: u64) -> i64 {
    (id.wrapping_mul(0x9e37_79b9_7f4a_7c15)) as i64
}

fn gradients(len: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    (0..len).map(|_| random.random_range(-0.01..0.01)).collect()
}

#[derive(Default)]
struct Calls {
    longest: Duration,
    total: Duration,
    lookups: Duration,
    count: u32,
}

impl Calls {
    fn time(&mut self, is_lookup: bool, call: impl FnOnce()) {
        let started = Instant::now();
        call();
        let took = started.elapsed();
        self.longest = self.longest.max(took);
        self.total += took;
        self.lookups += if is_lookup { took } else { Duration::ZERO };
        self.count += 1;
    }

    /// Prints what lookups and apply_gradients in pairs do a second.
    fn print_pace(&self, batch: usize) {
        println!(
            "{:.1} steps/s, {:.0} k rows/s (lookup {:.1} ms of {:.1}), longest call {:.1} ms",
            f64::from(self.count / 2) / self.total.as_secs_f64(),
            f64::from(self.count / 2) * batch as f64 / self.total.as_secs_f64() / 1e3,
            self.lookups.as_secs_f64() * 2e3 / f64::from(self.count),
            self.total.as_secs_f64() * 2e3 / f64::from(self.count),
            self.longest.as_secs_f64() * 1e3
        );
    }
}

fn peak_rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("0");
    line.chars().filter(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap_or(0) / 1024
}

/// Processor time of all threads so far: steadier than the clock where others use the machine.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> =
        stat.split(' ').skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    fields.iter().sum::<f64>() / 100.0
}

fn stats(opened: &Opened) {
    let stat = |name: &str| opened.storage.stat(name).expect("a stat");
    let names = [
        "rows_in_memory",
        "dirty_rows",
        "rows_created",
        "rows_loaded",
        "rows_loaded_by_rocksdb",
        "blocks_read_mapped",
        "blocks_read_by_io_uring",
        "blocks_read_by_pread",
        "rows_written",
        "cache_hits",
        "cache_misses",
        "evictions",
        "waited_us",
        "waited_for_room_us",
        "waited_for_cut_us",
        "slowed_us",
        "writer_waited_us",
        "rows_merged",
        "sorted_runs",
        "index_bytes",
        "bytes_in_memory",
        "bytes_on_disk",
        "journal_bytes",
    ];
    println!("  {}", names.map(|name| format!("{name} {}", stat(name))).join(", "));
    println!("  peak RSS {} MiB", peak_rss_mb());
}

fn reference(settings: &Settings) {
    let (batch, dim) = (settings.number("batch", 4096 * 26), settings.number("dim", 16));
    let opened = open(settings, 4 << 30);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let ids = settings.number("ids", 10_000_000);
    let batches: Vec<_> = (0..40).map(|_| zipf_batch(&mut random, ids, batch)).collect();
    let gradients = gradients(batch * dim);
    let mut weights = vec![0.0; batch * dim];
    let until = Instant::now() + Duration::from_secs(settings.number("seconds", 0) as u64);
    for pass in 0.. {
        let mut calls = Calls::default();
        for keys in &batches {
            calls.time(true, || opened.embedding.lookup(keys, &mut weights).expect("lookup"));
            calls
                .time(false, || opened.embedding.apply_gradients(keys, &gradients).expect("apply"));
        }
        println!(
            "pass {pass}: {:.1} steps/s (lookup {:.1} ms, apply {:.1} ms), longest call {:.1} ms",
            40.0 / calls.total.as_secs_f64(),
            calls.lookups.as_secs_f64() * 25.0,
            (calls.total - calls.lookups).as_secs_f64() * 25.0,
            calls.longest.as_secs_f64() * 1e3
        );
        if Instant::now() > until && pass > 0 {
            break;
        }
    }
    stats(&opened);
}

fn resident(settings: &Settings, apply: bool) {
    let (batch, dim) = (settings.number("batch", 100_000), settings.number("dim", 16));
    let rows = settings.number("rows", 1_000_000);
    let opened = open(settings, 4 << 30);
    let all: Vec<i64> = (0..rows as u64).map(scattered).collect();
    let mut weights = vec![0.0; batch * dim];
    for keys in all.chunks(batch) {
        opened.embedding.lookup(keys, &mut weights[..keys.len() * dim]).expect("lookup");
    }
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let batches: Vec<Vec<i64>> =
        (0..10).map(|_| (0..batch).map(|_| all[random.random_range(0..rows)]).collect()).collect();
    let gradients = gradients(batch * dim);
    let seconds = Duration::from_secs(settings.number("seconds", 5) as u64);
    let mut calls = Calls::default();
    while calls.total < seconds {
        for keys in &batches {
            calls.time(!apply, || match apply {
                true => opened.embedding.apply_gradients(keys, &gradients).expect("apply"),
                false => opened.embedding.lookup(keys, &mut weights).expect("lookup"),
            });
        }
    }
    println!(
        "{:.2} M rows/s, longest call {:.1} ms",
        calls.count as f64 * batch as f64 / calls.total.as_secs_f64() / 1e6,
        calls.longest.as_secs_f64() * 1e3
    );
    stats(&opened);
}

/// Times checkpoints and dumps of an idle table, and dumps beside a plain write of as many bytes.
fn lifecycle(settings: &Settings) {
    let (batch, dim) = (settings.number("batch", 4096 * 26), settings.number("dim", 16));
    let rows = settings.number("rows", 10_000_000);
    let opened = open(settings, 1 << 30);
    let dir = opened.storage.dir().with_extension("lifecycle");
    std::fs::create_dir_all(&dir).expect("a directory");
    let gradients = gradients(batch * dim);
    let all: Vec<i64> = (1..=rows as u64).map(scattered).collect();
    if opened.embedding.record(scattered(rows as u64)).is_err() {
        for keys in all.chunks(batch) {
            opened.embedding.apply_gradients(keys, &gradients[..keys.len() * dim]).expect("apply");
        }
    }
    let checkpoint = dir.join("checkpoint");
    for what in ["checkpoint with what is dirty", "checkpoint"] {
        let _ = std::fs::remove_dir_all(&checkpoint);
        time(what, &mut || opened.storage.checkpoint(&checkpoint).expect("checkpoint"));
    }
    time("load_from_checkpoint", &mut || {
        opened.storage.load_from_checkpoint(&checkpoint).expect("load")
    });
    if settings.number("compact", 1) == 1 {
        time("compact", &mut || opened.storage.compact().expect("compact"));
    }
    println!("  peak RSS before the dumps {} MiB", peak_rss_mb());
    for _ in 0..3 {
        for format in ["classic", "table"] {
            dump_beside_a_plain_write(&opened, &dir, format, rows);
        }
    }
    stats(&opened);
    std::fs::remove_dir_all(&dir).expect("removed");
}

/// Times `work`, in seconds.
fn time(what: &str, work: &mut dyn FnMut()) -> f64 {
    let started = Instant::now();
    work();
    let took = started.elapsed().as_secs_f64();
    println!("{what}: {took:.2} s");
    took
}

fn dump_beside_a_plain_write(opened: &Opened, dir: &Path, format: &str, rows: usize) {
    let condition = Params::new().with("format", format).expect("a bag");
    let options = DumpOptions::read(&condition).expect("a condition");
    let (path, plain) = (dir.join("dump"), dir.join("plain"));
    let mut bytes = 0;
    let cpu = cpu_seconds();
    let took = time(&format!("dump, {format}"), &mut || {
        bytes = opened.storage.dump(&path, options, |_, _| true).expect("dump").bytes;
    });
    println!("  {:.2} us of processor a row", (cpu_seconds() - cpu) * 1e6 / rows as f64);
    let wrote = time("plain write of as many bytes, with fsync", &mut || {
        let mut file = std::fs::File::create(&plain).expect("a file");
        let piece = vec![1_u8; 1 << 20];
        let mut left = bytes as usize;
        while left > 0 {
            let len = left.min(piece.len());
            file.write_all(&piece[..len]).expect("a write");
            left -= len;
        }
        file.sync_all().expect("fsync");
    });
    println!(
        "  {} MB: {:.0} MB/s, plain {:.0} MB/s: {:.0} %",
        bytes / 1_000_000,
        bytes as f64 / took / 1e6,
        bytes as f64 / wrote / 1e6,
        wrote / took * 100.0
    );
    std::fs::remove_file(&plain).expect("removed");
}

fn larger_than_memory(settings: &Settings, zipf: bool) {
    let (batch, dim) = (settings.number("batch", 4096 * 26), settings.number("dim", 16));
    let rows = settings.number("rows", 10_000_000);
    let cache_bytes = settings.number("cache_bytes", rows * (12 * dim + 32) / 10);
    let opened = open(settings, cache_bytes);
    let gradients = gradients(batch * dim);
    let mut weights = vec![0.0; batch * dim];
    if opened.embedding.record(scattered(rows as u64)).is_err() {
        make_rows(&opened, rows, batch, &gradients);
    }
    if settings.number("compact", 0) == 1 {
        opened.storage.compact().expect("compact");
        stats(&opened);
    }
    let mut random = ChaCha8Rng::seed_from_u64(settings.number("seed", 11) as u64);
    let seconds = settings.number("seconds", 20);
    let prefetch = settings.number("prefetch", 0) == 1;
    let mut make = || -> Vec<i64> {
        match zipf {
            true => zipf_batch(&mut random, rows, batch),
            false => (0..batch).map(|_| scattered(random.random_range(1..=rows as u64))).collect(),
        }
    };
    // Made before the clock starts: making Zipf's keys takes as long as finding them. Between two
    // uses of a batch more rows are used than the cache has room for: an eighth of a batch's keys
    // have rows that few other batches have.
    let most = (2 * cache_bytes / (batch / 8 * (12 * dim + 65)).max(1)).max(200);
    let batches: Vec<_> = (0..(4 * rows).div_ceil(batch).clamp(2, most)).map(|_| make()).collect();
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let mut second = 0;
    let (mut all, mut calls) = (Calls::default(), Calls::default());
    for (keys, following) in batches.iter().zip(batches.iter().cycle().skip(1)).cycle() {
        if started.elapsed().as_secs_f64() >= seconds as f64 {
            break;
        }
        if prefetch {
            opened.embedding.prefetch(following).expect("prefetch");
        }
        let before = calls.total;
        calls.time(true, || opened.embedding.lookup(keys, &mut weights).expect("lookup"));
        if zipf {
            calls
                .time(false, || opened.embedding.apply_gradients(keys, &gradients).expect("apply"));
        } else {
            calls.count += 1;
        }
        all.total += calls.total - before;
        all.longest = all.longest.max(calls.longest);
        all.count += 2;
        if started.elapsed().as_secs() / 2 != second {
            second = started.elapsed().as_secs() / 2;
            calls.print_pace(batch);
            calls = Calls::default();
        }
    }
    println!(
        "sustained: {:.1} steps/s, {:.0} k rows/s, {:.2} us of processor a row, longest call {:.1} \
         ms",
        f64::from(all.count / 2) / all.total.as_secs_f64(),
        f64::from(all.count / 2) * batch as f64 / all.total.as_secs_f64() / 1e3,
        (cpu_seconds() - cpu) * 1e6 / (f64::from(all.count / 2) * batch as f64),
        all.longest.as_secs_f64() * 1e3
    );
    stats(&opened);
}

fn make_rows(opened: &Opened, rows: usize, batch: usize, gradients: &[f32]) {
    let started = Instant::now();
    let dim = opened.embedding.dim();
    let all: Vec<i64> = (1..=rows as u64).map(scattered).collect();
    let mut calls = Calls::default();
    for keys in all.chunks(batch) {
        let gradients = &gradients[..keys.len() * dim];
        calls.time(false, || opened.embedding.apply_gradients(keys, gradients).expect("apply"));
    }
    opened.storage.flush().expect("flush");
    println!(
        "made {rows} rows in {:.1} s, {:.1} us of processor a row, longest call {:.1} ms",
        started.elapsed().as_secs_f64(),
        cpu_seconds() * 1e6 / rows as f64,
        calls.longest.as_secs_f64() * 1e3
    );
    stats(opened);
}
