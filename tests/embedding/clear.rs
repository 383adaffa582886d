//! clear removes all rows of a group at once, and none of other groups. Iterators, dumps and
//! checkpoints of an earlier moment keep its rows.

use std::path::Path;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Value;
use damo::storage::{DumpOptions, Dumped, Storage};
use damo::table::{Contents, Table, merge};

use crate::common::filters::filter;
use crate::common::{
    embed, failure, float, initializer, int, lookup, open, optimizer, params, peek, sgd, text,
};

const DURABILITIES: [&str; 3] = ["process", "power", "checkpoint"];
const KEYS: [i64; 6] = [i64::MIN, -1, 0, 1, 77, i64::MAX];

fn open_with(dir: &Path, list: &[(&str, Value)]) -> Storage {
    Storage::open(dir, 0, &params(list)).unwrap()
}

fn step(embedding: &Embedding, keys: &[i64]) {
    embedding.apply_gradients(keys, &vec![1.0; keys.len() * embedding.dim()]).unwrap();
}

fn dump(storage: &Storage, path: &Path, since: Option<u64>) -> damo::error::Result<Dumped> {
    let mut list = vec![("format", text("table"))];
    list.extend(since.map(|since| ("since", int(since as i64))));
    storage.dump(path, DumpOptions::read(&params(&list)).unwrap(), |_, _| true)
}

fn assert_empty(storage: &Storage, embedding: &Embedding) {
    let group = embedding.group().id();
    assert_eq!(peek(embedding, &KEYS), (vec![0.0; KEYS.len()], vec![0; KEYS.len()]));
    for key in KEYS {
        failure(embedding.record(key), Status::NotFound);
    }
    assert_eq!(storage.row_count(Some(group)).unwrap(), 0);
    assert_eq!(storage.rows(Some(group)).unwrap().next_row().unwrap(), None);
    assert_eq!(embedding.step().unwrap(), 0);
}

#[test]
fn a_cleared_group_is_as_new_and_others_are_as_they_were() {
    for durability in DURABILITIES {
        let dir = tempfile::tempdir().unwrap();
        let options = [("durability", text(durability))];
        let storage = open_with(dir.path(), &options);
        // Adjacent groups, and the last possible one.
        let groups = [3, 4, 5, 65_535].map(|group| embed(&storage, group));
        let second = embed(&storage, 4);
        groups.iter().for_each(|embedding| step(embedding, &KEYS));
        storage.flush().unwrap();
        // Some rows are on disk and in memory, some in memory only, and one is a tombstone.
        groups.iter().for_each(|embedding| step(embedding, &[1, 2]));
        groups.iter().for_each(|embedding| embedding.delete(&[77]).unwrap());
        [&groups[1], &groups[3]].iter().for_each(|embedding| embedding.clear().unwrap());
        let check = |storage: &Storage, groups: &[Embedding; 4]| {
            for embedding in [&groups[1], &groups[3]] {
                assert_empty(storage, embedding);
            }
            for embedding in [&groups[0], &groups[2]] {
                assert_eq!(embedding.step().unwrap(), 2);
                assert_eq!(embedding.record(1).unwrap().update_num, 2, "{durability}");
                assert_eq!(storage.row_count(Some(embedding.group().id())).unwrap(), 6);
            }
            assert_eq!(
                (storage.row_count(None).unwrap(), storage.verify().unwrap().rows),
                (12, 12)
            );
        };
        assert_empty(&storage, &second);
        check(&storage, &groups);
        storage.compact().unwrap();
        check(&storage, &groups);
        drop((groups, second, storage));
        let storage = open_with(dir.path(), &options);
        let groups = [3, 4, 5, 65_535].map(|group| embed(&storage, group));
        check(&storage, &groups);
        // New rows have initial weights, and steps count from 0.
        assert_eq!(lookup(&groups[1], &KEYS), [1.0; 6]);
        step(&groups[1], &KEYS);
        let record = groups[1].record(0).unwrap();
        assert_eq!((groups[1].step().unwrap(), record.update_num), (1, 1));
        assert_eq!(storage.row_count(Some(4)).unwrap(), 6, "{durability}");
    }
}

/// Rows on disk are neither found nor counted, even before the DeleteRange is written.
#[test]
fn rows_that_were_evicted_are_gone_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open_with(dir.path(), &[("cache_bytes", int(64 << 10))]);
    let embedding = sgd(&storage, 16, 0.5, &[]);
    let keys: Vec<i64> = (0..20_000).collect();
    for turn in 1..4 {
        for some in keys.chunks(500) {
            step(&embedding, some);
        }
        assert!(storage.stat("evictions").unwrap() > 10_000);
        embedding.clear().unwrap();
        let (_, found) = peek(&embedding, &keys);
        assert!(found.iter().all(|found| *found == 0), "turn {turn}");
        // More rows than memory holds, so that evicted ones are read from disk.
        let weights: Vec<f32> =
            keys.chunks(500).flat_map(|some| lookup(&embedding, some)).collect();
        assert!(weights.iter().all(|weight| *weight == 1.0), "turn {turn}");
        step(&embedding, &keys[..10]);
        assert_eq!(embedding.record(3).unwrap().update_num, 1);
        assert_eq!((embedding.step().unwrap(), storage.row_count(None).unwrap()), (1, 20_000));
        embedding.clear().unwrap();
    }
}

#[test]
fn what_began_before_has_the_rows_of_its_moment() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let storage = open_with(&path("t"), &[]);
    let embedding = sgd(&storage, 64, 0.5, &[]);
    // More rows than an iterator and its thread read ahead.
    let keys: Vec<i64> = (0..100_000).collect();
    step(&embedding, &keys);
    storage.compact().unwrap();
    let mut rows = storage.rows(None).unwrap();
    assert_eq!(rows.next_row().unwrap().unwrap().key, 0);
    storage.checkpoint(path("before")).unwrap();
    let mut cleared = false;
    let dumped = storage.dump(
        path("dump"),
        DumpOptions::read(&params(&[("format", text("table"))])).unwrap(),
        |_, _| {
            if !std::mem::replace(&mut cleared, true) {
                embedding.clear().unwrap();
                storage.compact().unwrap();
                step(&embedding, &[5]);
                storage.compact().unwrap();
            }
            true
        },
    );
    assert_eq!(dumped.unwrap().rows, 100_000);
    assert_eq!(Table::open(&path("dump")).unwrap().rows(0).unwrap(), 100_000);
    let mut count = 1;
    while let Some(row) = rows.next_row().unwrap() {
        assert_eq!((row.key, row.data[63]), (count, 0.5));
        count += 1;
    }
    assert_eq!((count, storage.row_count(None).unwrap()), (100_000, 1));
    // Loading a checkpoint from before the clear brings its rows back; a clear removes them again.
    drop(rows);
    storage.load_from_checkpoint(path("before")).unwrap();
    assert_eq!((storage.row_count(None).unwrap(), embedding.step().unwrap()), (100_000, 1));
    embedding.clear().unwrap();
    storage.checkpoint(path("after")).unwrap();
    step(&embedding, &[1, 2]);
    storage.load_from_checkpoint(path("after")).unwrap();
    assert_eq!((storage.row_count(None).unwrap(), embedding.step().unwrap()), (0, 0));
    step(&embedding, &[1, 2]);
    assert_eq!(storage.row_count(None).unwrap(), 2);
    let opened = open(&path("after"));
    assert_eq!(
        (opened.row_count(None).unwrap(), sgd(&opened, 64, 0.5, &[]).step().unwrap()),
        (0, 0)
    );
}

#[test]
fn an_increment_follows_no_dump_from_before_and_every_dump_from_after() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let storage = open_with(&path("t"), &[]);
    let (first, other) = (embed(&storage, 0), embed(&storage, 1));
    step(&first, &KEYS);
    step(&other, &KEYS);
    let before = dump(&storage, &path("before"), None).unwrap().number;
    first.clear().unwrap();
    for turn in 0..2 {
        let error = failure(dump(&storage, &path("refused"), Some(before)), Status::NotFound);
        assert!(error.message().contains("group 0 was cleared"), "{error}");
        assert!(
            error.message().contains("make a full dump") && !path("refused").exists(),
            "{error}"
        );
        if turn == 0 {
            storage.flush().unwrap();
        }
    }
    // Right after the clear, so the dump has the clear's sequence number. All kinds of calls make
    // rows afterwards.
    let base = dump(&storage, &path("base"), None).unwrap();
    assert_eq!((base.rows, base.number), (6, before + 1));
    lookup(&first, &[7]);
    step(&first, &[8]);
    first.insert(&[9], &[4.0]).unwrap();
    other.delete(&[0]).unwrap();
    let increment = dump(&storage, &path("increment"), Some(base.number)).unwrap();
    assert_eq!((increment.rows, increment.removed), (3, 1));
    dump(&storage, &path("full"), None).unwrap();
    merge(&path("base"), &path("increment"), &path("merged")).unwrap();
    assert_eq!(std::fs::read(path("merged")).unwrap(), std::fs::read(path("full")).unwrap());
    assert_eq!(Contents::open(&path("full")).unwrap().number(), increment.number);
    // The clear does not invalidate the dump of another group alone, also after reopening.
    let of = |group: i64, since: Option<u64>| {
        let mut list = vec![("format", text("table")), ("group", int(group))];
        list.extend(since.map(|since| ("since", int(since as i64))));
        DumpOptions::read(&params(&list)).unwrap()
    };
    let numbers =
        [0, 1].map(|group| storage.dump(path("one"), of(group, None), |_, _| true).unwrap().number);
    first.clear().unwrap();
    drop((first, other, storage));
    let storage = open(&path("t"));
    failure(storage.dump(path("one"), of(0, Some(numbers[0])), |_, _| true), Status::NotFound);
    storage.dump(path("one"), of(1, Some(numbers[1])), |_, _| true).unwrap();
}

/// A clear writes as much for any number of rows.
#[test]
fn a_million_rows_cost_as_much_as_ten() {
    let written = [10, 1_000_000].map(|count| {
        let dir = tempfile::tempdir().unwrap();
        let storage = open_with(dir.path(), &[]);
        let embedding = embed(&storage, 0);
        let keys: Vec<i64> = (0..count).collect();
        embedding.insert(&keys, &vec![2.0; keys.len()]).unwrap();
        let stat = |name| storage.stat(name).unwrap();
        let memory = stat("rows_in_memory");
        assert_eq!((memory, stat("dirty_rows")), (count as u64, count as u64));
        storage.flush().unwrap();
        embedding.insert(&keys, &vec![3.0; keys.len()]).unwrap();
        let (rows, journal) = (stat("rows_written"), stat("journal_bytes"));
        embedding.clear().unwrap();
        let journal = stat("journal_bytes") - journal;
        assert_eq!((stat("rows_in_memory"), stat("dirty_rows")), (0, 0));
        storage.flush().unwrap();
        assert_eq!(storage.row_count(None).unwrap(), 0);
        (stat("rows_written") - rows, journal)
    });
    // A journal entry of 64 bytes, and no row.
    assert_eq!(written, [(0, 64); 2]);
}

/// The next flush removes files that hold rows of this group only.
#[test]
fn the_disk_gets_the_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open_with(dir.path(), &[]);
    let normal = initializer("random_normal", &[]);
    let sgd = optimizer("sgd", &[("gamma", float(0.5))]);
    let embedding = Embedding::new(storage.clone(), sgd, normal, 256, 4, &params(&[])).unwrap();
    let others = embed(&storage, 3);
    step(&others, &KEYS);
    lookup(&embedding, &(0..20_000).collect::<Vec<i64>>());
    storage.compact().unwrap();
    let bytes = || storage.stat("bytes_on_disk").unwrap();
    assert!(bytes() > 20 << 20, "{}", bytes());
    embedding.clear().unwrap();
    storage.compact().unwrap();
    assert!(bytes() < 4 << 20, "{}", bytes());
    assert_eq!((storage.row_count(None).unwrap(), peek(&others, &KEYS).0), (6, vec![0.999; 6]));
}

#[test]
fn what_a_filter_has_counted_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(&scratch.path().join("t"));
    let embedding = embed(&storage, 0);
    embedding.set_filter(Some(filter(&scratch.path().join("filter")))).unwrap();
    lookup(&embedding, &[1, 1, 1, 2, 2]);
    assert_eq!(storage.row_count(None).unwrap(), 1);
    embedding.clear().unwrap();
    assert_eq!(storage.row_count(None).unwrap(), 0);
    lookup(&embedding, &[1, 2, 3]);
    assert_eq!(peek(&embedding, &[1, 2, 3]).1, [1, 1, 0]);
}

#[test]
fn refusals_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    step(&embed(&storage, 0), &KEYS);
    drop(storage);
    let looking = open_with(dir.path(), &[("read_only", Value::Bool(true))]);
    let embedding = embed(&looking, 0);
    let refused = embedding.delete(&[1]).unwrap_err();
    let error = failure(embedding.clear(), refused.status());
    assert_eq!(error.message(), refused.message());
    assert_eq!(looking.row_count(None).unwrap(), 6);
    drop((embedding, looking));
    let storage = open(dir.path());
    let embedding = embed(&storage, 0);
    let poisoned =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| embedding.panic_for_test()));
    assert!(poisoned.is_err());
    failure(embedding.clear(), Status::Poisoned);
    assert_eq!((peek(&embedding, &KEYS).1, embedding.step().unwrap()), (vec![1; 6], 1));
}
