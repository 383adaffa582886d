//! A filter keeps its promises at capacity: no more false positives than `fpr`, no false negative.

use damo::filter::Filter;

use crate::common::{float, int, params, text};

fn filter(capacity: i64, count: i64, fpr: f64) -> (tempfile::TempDir, Filter) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let list = [
        ("capacity", int(capacity)),
        ("count", int(count)),
        ("fpr", float(fpr)),
        ("path", text(path.to_str().unwrap())),
    ];
    let filter = Filter::open(&params(&list)).unwrap();
    (dir, filter)
}

/// Calls `work` with batches of the keys `first..first + count`, times `stride`.
fn batches(first: i64, count: i64, stride: i64, mut work: impl FnMut(&[i64])) {
    const BATCH: i64 = 100_000;
    let mut start = first;
    while start < first + count {
        let end = (start + BATCH).min(first + count);
        let keys: Vec<i64> = (start..end).map(|key| key.wrapping_mul(stride)).collect();
        work(&keys);
        start = end;
    }
}

fn admitted(filter: &Filter, group: u32, first: i64, count: i64, stride: i64) -> i64 {
    let mut admitted = 0;
    let mut bytes = Vec::new();
    batches(first, count, stride, |keys| {
        bytes.resize(keys.len(), 9);
        filter.check_batch(group, keys, &mut bytes).unwrap();
        admitted += bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>();
    });
    admitted
}

/// The worst case: `capacity` keys, each added until it is admitted. Checked are keys that were
/// never added, and keys that were added once too little, which the counters of other keys must not
/// admit either.
#[test]
fn false_positives_at_capacity_are_no_more_than_promised() {
    println!("capacity    count  fpr        measured never added   one too little    asked");
    for (capacity, count, fpr, stride) in [
        (100_000, 1, 1e-2, 1),
        (100_000, 3, 1e-3, 1),
        (1_000_000, 15, 1e-3, 1),
        (1_000_000, 2, 1e-2, 0x9e37_79b9_7f4a_7c15u64 as i64),
        (1_000_000, 2, 1e-4, 1 << 20),
        (3_000_000, 5, 1e-3, -1),
        (300_000, 15, 1e-5, 64),
        (1_000_000, 7, 0.1, 3),
    ] {
        let (_dir, filter) = filter(capacity, count, fpr);
        // Half of the keys in one group, half in another.
        batches(0, capacity / 2, stride, |keys| filter.add_batch(0, keys, count as u32).unwrap());
        batches(0, capacity - capacity / 2, stride, |keys| {
            filter.add_batch(1, keys, count as u32).unwrap();
        });
        assert_eq!(admitted(&filter, 0, 0, capacity / 2, stride), capacity / 2);
        let asked = if fpr < 1e-4 { 8_000_000 } else { 2_000_000 };
        let never = (admitted(&filter, 0, capacity, asked, stride)
            + admitted(&filter, 2, 0, asked, stride)) as f64
            / (2 * asked) as f64;
        // Few keys, so the filter stays within its capacity.
        let few = capacity / 100;
        let first = 1i64 << 40;
        let before = admitted(&filter, 0, first, few, stride);
        batches(first, few, stride, |keys| filter.add_batch(0, keys, count as u32 - 1).unwrap());
        let one_too_little = admitted(&filter, 0, first, few, stride);
        println!(
            "{capacity:9} {count:6} {fpr:8.0e} {never:14.3e} {:20.3e} {asked:18}",
            one_too_little as f64 / few as f64
        );
        assert!(never <= fpr, "capacity {capacity}, count {count}, fpr {fpr}: {never}");
        // So few keys vary: four standard deviations are allowed.
        let most = few as f64 * fpr + 4.0 * (few as f64 * fpr).sqrt() + 1.0;
        assert!(
            before as f64 <= most && one_too_little as f64 <= most,
            "{one_too_little} of {few}"
        );
    }
}

/// Small filters have few blocks and vary: each of many keeps the promise.
#[test]
fn every_small_filter_keeps_the_promise() {
    for (capacity, fpr) in [(1, 1e-2), (10, 1e-2), (100, 1e-2), (1000, 1e-2), (1000, 1e-3)] {
        let (mut worst, mut sum) = (0.0f64, 0.0);
        let filters = 20;
        for number in 0..filters {
            let (_dir, filter) = filter(capacity, 2, fpr);
            batches(0, capacity, 1, |keys| filter.add_batch(number, keys, 2).unwrap());
            let asked = 100_000;
            let rate = admitted(&filter, number, 1 << 30, asked, 1) as f64 / asked as f64;
            worst = worst.max(rate);
            sum += rate;
        }
        println!(
            "capacity {capacity}, fpr {fpr}: mean {:.2e}, worst of {filters} {worst:.2e}",
            sum / f64::from(filters)
        );
        assert!(worst <= fpr, "capacity {capacity}: {worst}");
    }
}

/// Ten times the capacity fills the counters as much as possible; half of the keys come twice in a
/// batch.
#[test]
fn ten_million_keys_without_a_false_negative() {
    let (_dir, filter) = filter(1_000_000, 2, 1e-3);
    std::thread::scope(|scope| {
        for half in 0..2 {
            let filter = &filter;
            scope.spawn(move || {
                for _ in 0..2 {
                    batches(half * 5_000_000, 5_000_000, 1, |keys| {
                        filter.add_batch(3, keys, 1).unwrap()
                    });
                }
            });
        }
    });
    assert_eq!(admitted(&filter, 3, 0, 10_000_000, 1), 10_000_000);
}

/// Ids that come once do little harm, even ten times as many as the filter was made for.
#[test]
fn ten_times_the_capacity_of_ids_that_come_once() {
    let (_dir, filter) = filter(200_000, 4, 1e-3);
    batches(0, 2_000_000, 1, |keys| filter.add_batch(0, keys, 1).unwrap());
    let rate = admitted(&filter, 0, 0, 2_000_000, 1) as f64 / 2e6;
    println!(
        "of 2 M ids that came once, {rate:.1e} pass for having come 4 times, capacity 200 000"
    );
    assert!(rate < 0.2, "{rate}");
}
