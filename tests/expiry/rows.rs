//! A row that was not updated for its TTL is gone, at once and for every call.

use damo::embedding::Embedding;
use damo::params::{Params, Value};
use damo::storage::Storage;

use crate::common::{
    bytes_below, float, initializer, int, lookup, optimizer, params, peek, sgd, text,
};

const START: u64 = 1_795_000_000_000;

fn open(dir: &std::path::Path, ttl_seconds: i64, options: &[(&str, Value)]) -> Storage {
    let storage = Storage::open(dir, ttl_seconds, &params(options)).unwrap();
    storage.set_clock_for_test(START).unwrap();
    storage
}

#[test]
fn a_row_in_memory_is_gone_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path(), 10, &[]);
    let embedding = sgd(&storage, 1, 1.0, &[]);
    embedding.apply_gradients(&[1], &[0.5]).unwrap();
    storage.set_clock_for_test(START + 4_000).unwrap();
    embedding.apply_gradients(&[2], &[0.5]).unwrap();

    storage.set_clock_for_test(START + 9_999).unwrap();
    assert_eq!(peek(&embedding, &[1, 2]), (vec![0.5, 0.5], vec![1, 1]));
    storage.set_clock_for_test(START + 10_000).unwrap();
    assert_eq!(peek(&embedding, &[1, 2]), (vec![0.0, 0.5], vec![0, 1]));
    assert!(embedding.record(1).is_err());
    assert_eq!(storage.row_count(None).unwrap(), 1);
    assert_eq!(storage.stat("expired_rows").unwrap(), 0, "nobody has wanted it back");
    // lookup makes a fresh row, whose TTL begins now.
    assert_eq!(lookup(&embedding, &[1]), [1.0]);
    assert_eq!(storage.stat("expired_rows").unwrap(), 1);
    let record = embedding.record(1).unwrap();
    assert_eq!((record.update_time, record.update_num), (START + 10_000, 0));
    storage.set_clock_for_test(START + 19_999).unwrap();
    assert_eq!(peek(&embedding, &[1, 2]), (vec![1.0, 0.0], vec![1, 0]));
}

#[test]
fn a_gradient_for_an_expired_row_steps_a_fresh_one() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path(), 10, &[]);
    let adam = optimizer("adam", &[("gamma", float(0.1))]);
    let embedding =
        Embedding::new(storage.clone(), adam, initializer("ones", &[]), 2, 0, &Params::new())
            .unwrap();
    embedding.apply_gradients(&[7], &[1.0, 2.0]).unwrap();
    let first = embedding.record(7).unwrap();
    embedding.apply_gradients(&[7], &[1.0, 2.0]).unwrap();
    storage.set_clock_for_test(START + 10_000).unwrap();
    embedding.apply_gradients(&[7], &[1.0, 2.0]).unwrap();
    let record = embedding.record(7).unwrap();
    assert_eq!((record.update_num, &record.data), (1, &first.data), "state is fresh, too");
}

#[test]
fn rows_on_disk_expire_for_lookup_peek_apply_and_prefetch() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path(), 10, &[("cache_bytes", int(64 << 10))]);
    let embedding = sgd(&storage, 4, 1.0, &[]);
    let keys: Vec<i64> = (0..5000).collect();
    embedding.apply_gradients(&keys, &vec![0.5; 4 * keys.len()]).unwrap();
    storage.flush().unwrap();
    assert!(
        storage.stat("evictions").unwrap() > 0 || storage.stat("rows_in_memory").unwrap() < 5000
    );
    storage.set_clock_for_test(START + 10_000).unwrap();
    assert_eq!(peek(&embedding, &keys), (vec![0.0; 4 * keys.len()], vec![0; keys.len()]));
    assert_eq!(storage.row_count(None).unwrap(), 0);
    assert_eq!(lookup(&embedding, &keys[..100]), [1.0; 400]);
    embedding.apply_gradients(&keys[4900..], &[0.25; 400]).unwrap();
    assert_eq!(lookup(&embedding, &keys[4900..]), [0.75; 400]);
    assert_eq!(storage.row_count(None).unwrap(), 200);
    assert_eq!(storage.stat("expired_rows").unwrap(), 200);
}

#[test]
fn merging_gives_the_space_back_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path(), 60, &[]);
    let embedding = sgd(&storage, 16, 1.0, &[]);
    let keys: Vec<i64> = (0..20_000).collect();
    // Floats that do not compress.
    let gradients: Vec<f32> = (0..16 * keys.len()).map(|index| (index as f32).sin()).collect();
    embedding.apply_gradients(&keys, &gradients).unwrap();
    storage.compact().unwrap();
    // The journal has no calls left, but room for some.
    let bytes_on_disk =
        || storage.stat("bytes_on_disk").unwrap() - bytes_below(&dir.path().join("journal"));
    let full = bytes_on_disk();
    storage.set_clock_for_test(START + 30_000).unwrap();
    embedding.apply_gradients(&keys[..1000], &vec![0.5; 16 * 1000]).unwrap();
    storage.set_clock_for_test(START + 60_000).unwrap();
    storage.compact().unwrap();
    assert_eq!(storage.stat("expired_rows").unwrap(), 19_000);
    assert_eq!(storage.stat("rows_estimate").unwrap(), 1000);
    let left = bytes_on_disk();
    assert!(left < full / 5, "{left} of {full} bytes");
    assert_eq!(peek(&embedding, &[999, 1000]).1, [1, 0]);
}

#[test]
fn the_time_to_live_is_that_of_the_opening() {
    let dir = tempfile::tempdir().unwrap();
    {
        let storage = open(dir.path(), 0, &[]);
        sgd(&storage, 1, 1.0, &[]).apply_gradients(&[1], &[0.5]).unwrap();
    }
    for (ttl_seconds, age_ms, found) in [
        (0, 99_999, 1),
        (100, 99_999, 1),
        (50, 99_999, 0),
        (100, 99_999, 1),
        (99, 99_999, 0),
        (0, 1_000_000_000, 1),
    ] {
        let storage = open(dir.path(), ttl_seconds, &[]);
        storage.set_clock_for_test(START + age_ms).unwrap();
        let (_, was_found) = peek(&sgd(&storage, 1, 1.0, &[]), &[1]);
        assert_eq!(was_found, [found], "ttl {ttl_seconds} s after {age_ms} ms");
    }
    for ttl_seconds in [-1, i64::MAX] {
        let error = Storage::open(dir.path(), ttl_seconds, &Params::new()).unwrap_err();
        assert!(error.message().contains(&ttl_seconds.to_string()), "{error}");
    }
}

#[test]
fn deleted_and_expired_rows_do_not_come_back_under_a_longer_time_to_live() {
    let dir = tempfile::tempdir().unwrap();
    {
        let storage = open(dir.path(), 10, &[]);
        let embedding = sgd(&storage, 1, 1.0, &[]);
        embedding.apply_gradients(&[1, 2], &[0.5, 0.5]).unwrap();
        storage.flush().unwrap();
        storage.set_clock_for_test(START + 20_000).unwrap();
        embedding.delete(&[1]).unwrap();
        assert_eq!(lookup(&embedding, &[2]), [1.0]);
    }
    let storage = open(dir.path(), 0, &[]);
    assert_eq!(peek(&sgd(&storage, 1, 1.0, &[]), &[1, 2]), (vec![0.0, 1.0], vec![0, 1]));
}

#[test]
fn a_clock_that_goes_back_brings_no_row_back() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path(), 3600, &[]);
    let embedding = sgd(&storage, 1, 1.0, &[]);
    embedding.apply_gradients(&[5], &[0.5]).unwrap();
    storage.flush().unwrap();
    storage.set_clock_for_test(START + 3_600_500).unwrap();
    storage.compact().unwrap();
    storage.set_clock_for_test(START + 3_599_500).unwrap();
    assert_eq!(peek(&embedding, &[5]).1, [0]);
    assert_eq!(storage.row_count(None).unwrap(), 0);
    embedding.apply_gradients(&[6], &[0.5]).unwrap();
    assert_eq!(embedding.record(6).unwrap().update_time, START + 3_600_500);
}

/// Not even after an opening: the latest time that was used is stored, and in the journal.
#[test]
fn an_earlier_clock_at_the_next_opening_brings_no_row_back() {
    for durability in ["process", "checkpoint"] {
        let dir = tempfile::tempdir().unwrap();
        {
            let storage = open(dir.path(), 3600, &[("durability", text(durability))]);
            let embedding = sgd(&storage, 1, 1.0, &[]);
            embedding.apply_gradients(&[5], &[0.5]).unwrap();
            storage.set_clock_for_test(START + 3_700_000).unwrap();
            assert_eq!(peek(&embedding, &[5]).1, [0]);
        }
        let storage = open(dir.path(), 3600, &[]);
        storage.set_clock_for_test(START + 3_000_000).unwrap();
        let embedding = sgd(&storage, 1, 1.0, &[]);
        assert_eq!(peek(&embedding, &[5]).1, [0], "{durability}");
        embedding.apply_gradients(&[5], &[0.5]).unwrap();
        let record = embedding.record(5).unwrap();
        assert_eq!((record.update_time, record.update_num), (START + 3_700_000, 1), "{durability}");
    }
}
