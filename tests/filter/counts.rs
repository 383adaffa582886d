//! add_counts leaves what adding one key after the other leaves.

use std::fs;
use std::path::Path;

use damo::error::Status;
use damo::filter::Filter;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{failure, int, params, text};

const COUNT: u32 = 7;

fn open(path: &Path) -> Filter {
    let list = [
        ("path", text(path.to_str().unwrap())),
        ("capacity", int(2000)),
        ("count", int(COUNT.into())),
    ];
    Filter::open(&params(&list)).unwrap()
}

/// Keys are repeated in a call; counts are 0 and far above the filter's maximum, too.
#[test]
fn random_counts_leave_the_file_that_single_additions_leave() {
    let scratch = tempfile::tempdir().unwrap();
    let [at_once, one_by_one] = ["at-once", "one-by-one"].map(|name| scratch.path().join(name));
    let (first, second) = (open(&at_once), open(&one_by_one));
    let mut random = ChaCha8Rng::seed_from_u64(9);
    for _ in 0..60 {
        let group = random.random_range(0..3);
        let keys: Vec<i64> =
            (0..random.random_range(0..50)).map(|_| random.random_range(-40..40)).collect();
        let nums: Vec<u32> =
            keys.iter().map(|_| [0, 1, 2, 3, 100, u32::MAX][random.random_range(0..6)]).collect();
        first.add_counts(group, &keys, &nums).unwrap();
        for (key, num) in keys.iter().zip(&nums) {
            second.add(group, *key, *num).unwrap();
        }
    }
    drop((first, second));
    // The header, which has times, is left out.
    let [at_once, one_by_one] = [at_once, one_by_one].map(|path| fs::read(path).unwrap());
    assert!(at_once[4096..] == one_by_one[4096..] && at_once[4096..].iter().any(|byte| *byte != 0));
}

#[test]
fn a_key_is_admitted_once_its_counts_add_up() {
    let scratch = tempfile::tempdir().unwrap();
    let filter = open(&scratch.path().join("f"));
    // The same key twice in one call, over two calls, with a batch and a single addition, and in
    // another group.
    filter.add_counts(0, &[1, 2, 1, 3, 4], &[4, COUNT, 3, 3, COUNT - 1]).unwrap();
    let admitted =
        |group| -> Vec<i64> { (0..=6).filter(|key| filter.check(group, *key).unwrap()).collect() };
    assert_eq!(admitted(0), [1, 2]);
    filter.add_counts(0, &[3, 4], &[4, 0]).unwrap();
    assert_eq!(admitted(0), [1, 2, 3]);
    filter.add_batch(0, &[4, 5], 1).unwrap();
    filter.add(0, 5, COUNT - 1).unwrap();
    filter.add_counts(0, &[], &[]).unwrap();
    assert_eq!(admitted(0), [1, 2, 3, 4, 5]);
    assert!(admitted(1).is_empty());
}

#[test]
fn counts_that_do_not_fit_the_keys_add_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("f");
    let filter = open(&path);
    filter.add(0, 1, 2).unwrap();
    for (keys, nums) in
        [(&[1, 2][..], &[COUNT][..]), (&[1], &[COUNT, COUNT]), (&[], &[1]), (&[1], &[])]
    {
        let error = failure(filter.add_counts(0, keys, nums), Status::InvalidArgument);
        assert!(error.message().contains("one a key is needed"), "{error}");
    }
    failure(filter.add_counts(65_536, &[1], &[COUNT]), Status::InvalidArgument);
    assert!(!filter.check(0, 1).unwrap());
    filter.add_counts(0, &[1], &[COUNT - 2]).unwrap();
    assert!(filter.check(0, 1).unwrap());
}
