//! A process is killed at any moment: its filter has every addition that returned, and none that
//! was never made.
//!
//! The test runs itself again as the process to be killed, which prints a line for each batch that
//! it added.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use damo::filter::Filter;

use crate::common::{float, int, params, rerun, text};

const CHILD: &str = "DAMO_FILTER_CRASH_DIR";
const FIRST: &str = "DAMO_FILTER_CRASH_FIRST";
const BATCH: i64 = 100;
const SESSIONS: i64 = 6;
/// The most batches of a child: far below the capacity, so there are no false positives.
const BATCHES: i64 = 300;

fn open(dir: &Path) -> Filter {
    let path = dir.join("filter");
    let list = [
        ("path", text(path.to_str().unwrap())),
        ("capacity", int(1_000_000)),
        ("count", int(3)),
        ("fpr", float(1e-6)),
    ];
    Filter::open(&params(&list)).unwrap()
}

fn batch(number: i64) -> Vec<i64> {
    (number * BATCH..(number + 1) * BATCH).collect()
}

/// The number of admitted keys of a batch.
fn admitted(filter: &Filter, group: u32, number: i64) -> usize {
    let mut admitted = vec![9; BATCH as usize];
    filter.check_batch(group, &batch(number), &mut admitted).unwrap();
    admitted.iter().filter(|byte| **byte == 1).count()
}

fn add_until_killed(dir: &Path) {
    let filter = open(dir);
    let first: i64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let mut out = std::io::stdout();
    for number in first..first + BATCHES {
        filter.add_batch(0, &batch(number), 3).unwrap();
        filter.add_batch(1, &batch(number), 2).unwrap();
        writeln!(out, "ack {number}").unwrap();
    }
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn every_addition_that_returned_survives_sigkill() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return add_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    let mut first = 0;
    for session in 0..SESSIONS {
        let mut child = rerun(every_addition_that_returned_survives_sigkill)
            .env(CHILD, dir.path())
            .env(FIRST, first.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ack =
            |line: &str| line.strip_prefix("ack ").and_then(|number| number.parse::<i64>().ok());
        acknowledged.push(lines.by_ref().find_map(|line| ack(&line.unwrap())).unwrap());
        std::thread::sleep(Duration::from_micros(700 * session as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines.map_while(Result::ok).filter_map(|line| ack(&line)));
        // The lock of the file ends with the process.
        let filter = open(dir.path());
        for &number in &acknowledged {
            assert_eq!(admitted(&filter, 0, number), BATCH as usize, "batch {number} lost a key");
            assert_eq!(admitted(&filter, 1, number), 0, "batch {number} was added too often");
        }
        // One batch may have been under way, and is not checked; those after it were not made.
        first = acknowledged.last().unwrap() + 2;
        assert_eq!(admitted(&filter, 0, first), 0, "a batch that was not made");
    }
    let filter = open(dir.path());
    for &number in &acknowledged {
        filter.add_batch(1, &batch(number), 1).unwrap();
        assert_eq!(
            admitted(&filter, 1, number),
            BATCH as usize,
            "batch {number} of group 1 lost a key"
        );
    }
    println!("{SESSIONS} kills, {} batches", acknowledged.len());
    assert!(acknowledged.len() >= 6);
}
