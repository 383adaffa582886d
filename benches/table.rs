//! Serving tables: rows looked up a second on one thread; and bytes written a second, beside a
//! plain sequential write of as many bytes in the same run.
//!
//! ```text
//! cargo bench --bench table -- [name=value ...]
//! ```
//! Names: rows (of the table), dim, type (float32, float16, int8), batch (keys a call), seconds (of
//! lookups), dir, plain (0 leaves the plain write out).

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use damo::table::{Options, Table, ValueType, Writer};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Rows handed to the writer at once.
const CALL: usize = 4096;

fn main() {
    let words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let settings: HashMap<String, String> = words
        .map(|word| {
            word.split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .expect("name=value")
        })
        .collect();
    let number = |name: &str, default: usize| -> usize {
        settings.get(name).map_or(default, |value| value.parse().expect("a number"))
    };
    let value_type = ValueType::from_name(settings.get("type").map_or("float32", String::as_str))
        .expect("a type");
    let (rows, dim) = (number("rows", 1_000_000), number("dim", 16));
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = settings.get("dir").map_or(scratch.path(), Path::new);
    let path = dir.join("bench.table");
    println!("{rows} rows, dim {dim}, {}", value_type.name());

    let (started, cpu) = (Instant::now(), cpu_seconds());
    let bytes = write(&path, rows, dim, value_type);
    let took = started.elapsed();
    println!(
        "write    {:8.1} MB/s, {:.2} M rows/s, {bytes} bytes in {took:.2?} and {:.2} s of \
         processors, {} MB of memory at most",
        rate(bytes, took),
        rows as f64 / took.as_secs_f64() / 1e6,
        cpu_seconds() - cpu,
        peak_rss_mb()
    );
    if number("plain", 1) == 1 {
        let plain = dir.join("bench.plain");
        let (started, cpu) = (Instant::now(), cpu_seconds());
        plain_write(&plain, bytes);
        let plain_took = started.elapsed();
        let cpu = cpu_seconds() - cpu;
        std::fs::remove_file(plain).expect("removed");
        println!(
            "plain    {:8.1} MB/s in {plain_took:.2?} and {cpu:.2} s of processors; the table was \
             written at {:.0} % of that",
            rate(bytes, plain_took),
            100.0 * plain_took.as_secs_f64() / took.as_secs_f64()
        );
    }

    let started = Instant::now();
    let table = Table::open(&path).expect("a table");
    println!(
        "open     {:8.1} MB/s verified in {:.2?}",
        rate(bytes, started.elapsed()),
        started.elapsed()
    );
    lookups(&table, rows, dim, number("batch", 4096), number("seconds", 3));
    std::fs::remove_file(&path).expect("removed");
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e6
}

/// Keys as they come: anywhere in 64 bits, ascending with the row.
fn key(row: usize, rows: usize) -> i64 {
    let step = u64::MAX / rows as u64;
    let place = row as u64 * step + (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % step.max(1);
    place.wrapping_add(1 << 63) as i64
}

fn write(path: &Path, rows: usize, dim: usize, value_type: ValueType) -> u64 {
    let options = Options { value_type, number: 1, since: None, groups: &[(0, dim)] };
    let mut writer = Writer::create(path, &options).expect("a writer");
    let weights: Vec<f32> = (0..CALL * dim).map(|at| (at as f32).sin()).collect();
    for start in (0..rows).step_by(CALL) {
        let keys: Vec<i64> = (start..rows.min(start + CALL)).map(|row| key(row, rows)).collect();
        writer.add_rows(0, &keys, &weights[..keys.len() * dim]).expect("added");
    }
    writer.finish().expect("written").bytes
}

/// Writes as `dd bs=1M conv=fsync` does.
fn plain_write(path: &Path, bytes: u64) {
    let mut file = File::create(path).expect("a file");
    let piece: Vec<u8> = (0..1 << 20).map(|at: usize| (at * 31) as u8).collect();
    let mut left = bytes as usize;
    while left > 0 {
        let len = left.min(piece.len());
        file.write_all(&piece[..len]).expect("written");
        left -= len;
    }
    file.sync_all().expect("synchronised");
}

fn lookups(table: &Table, rows: usize, dim: usize, batch: usize, seconds: usize) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let batches: Vec<Vec<i64>> = (0..(8 << 20) / batch)
        .map(|_| (0..batch).map(|_| key(random.random_range(0..rows), rows)).collect())
        .collect();
    let (mut weights, mut found) = (vec![0.0; batch * dim], vec![0; batch]);
    let (mut done, mut missing, started, cpu) = (0, 0, Instant::now(), cpu_seconds());
    'time: loop {
        for keys in &batches {
            table.lookup(0, keys, &mut weights, Some(&mut found)).expect("looked up");
            missing += found.iter().filter(|found| **found == 0).count();
            done += keys.len();
            if started.elapsed() > Duration::from_secs(seconds as u64) {
                break 'time;
            }
        }
    }
    assert_eq!(missing, 0, "every key has a row");
    let per_second = |seconds: f64| done as f64 / seconds / 1e6;
    println!(
        "lookup   {:8.2} M rows/s on one thread, {:.2} M a second of processor time",
        per_second(started.elapsed().as_secs_f64()),
        per_second(cpu_seconds() - cpu)
    );
}

/// Processor time of all threads so far: steadier than the clock where others use the machine.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> =
        stat.split(' ').skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    fields.iter().sum::<f64>() / 100.0
}

fn peak_rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("0");
    line.chars().filter(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap_or(0) / 1024
}
