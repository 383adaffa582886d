//! Dumps: the weights of one moment, filtered by conditions, in both formats; increments that add
//! up to a full dump.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Value;
use damo::storage::{DumpOptions, Dumped, Storage};
use damo::table::{Table, merge};

use crate::common::{
    failure, float, initializer, int, lookup, open, optimizer, params, peek, sgd, text,
};

const START: u64 = 1_795_000_000_000;

fn dump(storage: &Storage, path: &Path, condition: &[(&str, Value)]) -> Dumped {
    storage.dump(path, DumpOptions::read(&params(condition)).unwrap(), |_, _| true).unwrap()
}

fn table(list: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
    [vec![("format", text("table"))], list.to_vec()].concat()
}

/// Dims and counts of a classic dump's header, and weights by group and key.
type Classic = (Vec<i32>, Vec<u64>, BTreeMap<(i32, i64), Vec<f32>>);

fn read_classic(path: &Path, groups: usize) -> Classic {
    let bytes = std::fs::read(path).unwrap();
    let dims: Vec<i32> = bytes[..4 * groups]
        .chunks(4)
        .map(|dim| i32::from_le_bytes(dim.try_into().unwrap()))
        .collect();
    let counts: Vec<u64> = bytes[4 * groups..12 * groups]
        .chunks(8)
        .map(|count| u64::from_le_bytes(count.try_into().unwrap()))
        .collect();
    let (mut rows, mut rest) = (BTreeMap::new(), &bytes[12 * groups..]);
    while !rest.is_empty() {
        let key = i64::from_le_bytes(rest[..8].try_into().unwrap());
        let group = i32::from_le_bytes(rest[8..12].try_into().unwrap());
        let end = 12 + 4 * dims[group as usize] as usize;
        let weights =
            rest[12..end].chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        assert!(rows.insert((group, key), weights.collect()).is_none(), "key {key} comes once");
        rest = &rest[end..];
    }
    (dims, counts, rows)
}

fn embed(storage: &Storage, group: u32, dim: usize) -> Embedding {
    let normal = initializer("random_normal", &[("seed", int(i64::from(group)))]);
    let adam = optimizer("adam", &[("gamma", float(0.05))]);
    Embedding::new(storage.clone(), adam, normal, dim, group, &params(&[])).unwrap()
}

fn train(embedding: &Embedding, keys: impl Iterator<Item = i64>) {
    let keys: Vec<i64> = keys.collect();
    let gradients: Vec<f32> =
        (0..keys.len() * embedding.dim()).map(|index| (index % 17) as f32 / 8.0 - 1.0).collect();
    embedding.apply_gradients(&keys, &gradients).unwrap();
}

#[test]
fn train_dump_serve_gives_the_weights_of_peek_for_every_key() {
    let scratch = tempfile::tempdir().unwrap();
    let options = params(&[("cache_bytes", int(256 << 10))]);
    let storage = Storage::open(scratch.path().join("a"), 0, &options).unwrap();
    let (user, item) = (embed(&storage, 3, 5), embed(&storage, 255, 16));
    let keys: Vec<i64> = (-4000..4000).map(|key| key * 1_000_003).collect();
    train(&user, keys.iter().copied());
    train(&item, keys[..3000].iter().copied());
    lookup(&item, &keys[3000..3100]);
    item.delete(&keys[..10]).unwrap();
    let (table_path, classic_path) = (scratch.path().join("t"), scratch.path().join("c"));
    let dumped = dump(&storage, &table_path, &table(&[]));
    assert_eq!((dumped.rows, dumped.removed), (8000 + 3100 - 10, 0));
    let classic = dump(&storage, &classic_path, &[]);
    assert_eq!(
        (classic.rows, classic.bytes),
        (dumped.rows, std::fs::metadata(&classic_path).unwrap().len())
    );

    let served = Table::open(&table_path).unwrap();
    let (dims, counts, rows) = read_classic(&classic_path, 256);
    assert_eq!((dims[3], dims[255], counts[3], counts[255]), (5, 16, 8000, 3090));
    assert_eq!(counts.iter().sum::<u64>(), rows.len() as u64);
    for embedding in [&user, &item] {
        let group = embedding.group().id();
        let (weights, found) = peek(embedding, &keys);
        let (mut table_weights, mut table_found) =
            (vec![f32::NAN; weights.len()], vec![7; found.len()]);
        served.lookup(u32::from(group), &keys, &mut table_weights, Some(&mut table_found)).unwrap();
        assert_eq!((&weights, &found), (&table_weights, &table_found));
        for (index, key) in keys.iter().enumerate() {
            let row = rows.get(&(i32::from(group), *key)).map(Vec::as_slice);
            let expected = &weights[index * embedding.dim()..(index + 1) * embedding.dim()];
            assert_eq!(row, (found[index] == 1).then_some(expected), "group {group} key {key}");
        }
    }
}

#[test]
fn conditions_leave_rows_out() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(&scratch.path().join("a"));
    storage.set_clock_for_test(START).unwrap();
    let (first, second) = (embed(&storage, 0, 2), embed(&storage, 1, 3));
    train(&first, [1, 2, 2, 3].into_iter());
    lookup(&first, &[4]);
    train(&second, [2].into_iter());
    storage.set_clock_for_test(START + 2 * 86_400_000).unwrap();
    train(&first, [3, 5].into_iter());
    let path = scratch.path().join("dump");
    for (condition, expected) in [
        (vec![], vec![(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 2)]),
        (vec![("min_count", int(1))], vec![(0, 1), (0, 2), (0, 3), (0, 5), (1, 2)]),
        (vec![("min_count", int(2))], vec![(0, 2), (0, 3)]),
        (vec![("expire_days", int(2))], vec![(0, 3), (0, 5)]),
        (vec![("expire_days", float(2.001))], vec![(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 2)]),
        (vec![("expire_days", int(1)), ("min_count", int(2))], vec![(0, 3)]),
        (vec![("group", int(1))], vec![(1, 2)]),
        (vec![("header_groups", int(2))], vec![(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 2)]),
    ] {
        let groups =
            if condition.iter().any(|(name, _)| *name == "header_groups") { 2 } else { 256 };
        dump(&storage, &path, &condition);
        let (_, _, rows) = read_classic(&path, groups);
        assert_eq!(rows.into_keys().collect::<Vec<_>>(), expected, "{condition:?}");
    }
    for (condition, words) in [
        (vec![("min_cout", int(1))], "min_cout"),
        (vec![("expire_days", int(-1))], "-1"),
        (vec![("format", text("csv"))], "csv"),
        (vec![("value_type", text("int8"))], "value_type"),
        (vec![("since", int(1))], "since"),
        (table(&[("header_groups", int(2))]), "header_groups"),
        (table(&[("value_type", text("int4"))]), "int4"),
        (vec![("group", int(70_000))], "70000"),
    ] {
        let error = DumpOptions::read(&params(&condition)).unwrap_err();
        assert!(error.message().contains(words), "{error}");
    }
    let read = |condition: &[(&str, Value)]| DumpOptions::read(&params(condition)).unwrap();
    let error =
        failure(storage.dump(&path, read(&[("group", int(9))]), |_, _| true), Status::NotFound);
    assert!(error.message().contains("group 9") && error.message().contains("0, 1"), "{error}");
    let one = read(&[("header_groups", int(1))]);
    failure(storage.dump(&path, one, |_, _| true), Status::InvalidArgument);
    let before = std::fs::read(&path).unwrap();
    failure(storage.dump(&path, read(&[]), |_, _| false), Status::Cancelled);
    failure(storage.dump(scratch.path().join("no/dir"), read(&[]), |_, _| true), Status::Io);
    assert_eq!(std::fs::read(&path).unwrap(), before, "what was there is there");
    let names: Vec<_> = std::fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "nothing is left: {names:?}");
}

#[test]
fn a_dump_in_the_midst_of_training_is_one_moment() {
    let scratch = tempfile::tempdir().unwrap();
    let options = params(&[("cache_bytes", int(1 << 20))]);
    let storage = Storage::open(scratch.path().join("a"), 0, &options).unwrap();
    let zeros = initializer("zeros", &[]);
    let one = optimizer("sgd", &[("gamma", float(1.0))]);
    let embedding = Embedding::new(storage.clone(), one, zeros, 4, 0, &params(&[])).unwrap();
    const PAIRS: i64 = 5000;
    let stop = AtomicBool::new(false);
    struct Stops<'a>(&'a AtomicBool);
    impl Drop for Stops<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        scope.spawn(|| {
            for call in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let first = (call * 577) % PAIRS;
                let keys: Vec<i64> =
                    (first..(first + 64).min(PAIRS)).flat_map(|key| [key, -1 - key]).collect();
                let gradients: Vec<f32> =
                    keys.iter().flat_map(|key| [if *key < 0 { 1.0 } else { -1.0 }; 4]).collect();
                embedding.apply_gradients(&keys, &gradients).unwrap();
            }
        });
        while embedding.step().unwrap() == 0 {
            std::thread::yield_now();
        }
        for _ in 0..10 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let path = scratch.path().join("table");
            dump(&storage, &path, &table(&[]));
            let served = Table::open(&path).unwrap();
            let keys: Vec<i64> = (0..PAIRS).flat_map(|key| [key, -1 - key]).collect();
            let mut weights = vec![0.0; 4 * keys.len()];
            served.lookup(0, &keys, &mut weights, None).unwrap();
            for (pair, weights) in weights.chunks(8).enumerate() {
                assert_eq!(weights[0], -weights[4], "pair {pair}");
            }
            assert!(weights.iter().any(|weight| *weight > 0.0));
        }
    });
}

/// A base dump and its increments, merged one after the other, are byte for byte the full dump of
/// that time.
#[test]
fn base_and_increments_are_the_full_dump() {
    for (durability, value_type, min_count) in
        [("process", "float32", 0), ("checkpoint", "int8", 0), ("process", "float16", 2)]
    {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let open = |ttl| {
            let options =
                params(&[("cache_bytes", int(128 << 10)), ("durability", text(durability))]);
            Storage::open(scratch.path().join("a"), ttl, &options).unwrap()
        };
        let mut ttl = 3000;
        let mut storage = open(ttl);
        let mut now = START;
        storage.set_clock_for_test(now).unwrap();
        let mut embeddings = vec![embed(&storage, 0, 4)];
        train(&embeddings[0], 0..3000);
        let condition = |extra: &[(&'static str, Value)]| {
            table(
                &[&[("value_type", text(value_type)), ("min_count", int(min_count))], extra]
                    .concat(),
            )
        };
        let mut since = dump(&storage, &path("current"), &condition(&[])).number;
        let mut removed = 0;
        for round in 0..12i64 {
            now += 400_000;
            storage.set_clock_for_test(now).unwrap();
            // Rows are changed, made by lookups, deleted, deleted and made again, inserted.
            train(&embeddings[0], (round * 211..round * 211 + 400).map(|key| key % 5000));
            lookup(
                &embeddings[0],
                &(10_000 + round * 50..10_000 + round * 50 + 40).collect::<Vec<_>>(),
            );
            embeddings[0].delete(&(round * 97..round * 97 + 60).collect::<Vec<_>>()).unwrap();
            lookup(&embeddings[0], &(round * 97..round * 97 + 20).collect::<Vec<_>>());
            embeddings[0].insert(&[-round, 77], &[round as f32; 8]).unwrap();
            match round {
                2 => storage.flush().unwrap(),
                3 => embeddings.push(embed(&storage, 9, 3)),
                4 => train(&embeddings[1], 0..100),
                5 => storage.compact().unwrap(),
                6 | 8 => {
                    // Another process, another time to live.
                    ttl = if round == 6 { 2000 } else { 100_000 };
                    embeddings.clear();
                    drop(storage);
                    storage = open(ttl);
                    storage.set_clock_for_test(now).unwrap();
                    embeddings = vec![embed(&storage, 0, 4), embed(&storage, 9, 3)];
                }
                10 => {
                    now += 5_000_000;
                    storage.set_clock_for_test(now).unwrap();
                    storage.compact().unwrap();
                }
                _ => {}
            }
            let increment =
                dump(&storage, &path("increment"), &condition(&[("since", int(since as i64))]));
            let full = dump(&storage, &path("full"), &condition(&[]));
            assert_eq!(increment.number, full.number);
            // A table that is not the base is refused; the message names both numbers.
            if round > 0 {
                let error = merge(&path("older"), &path("increment"), &path("no")).unwrap_err();
                assert!(error.message().contains(&since.to_string()), "{error}");
                assert!(!path("no").exists());
            }
            merge(&path("current"), &path("increment"), &path("next")).unwrap();
            assert_eq!(
                std::fs::read(path("next")).unwrap(),
                std::fs::read(path("full")).unwrap(),
                "{durability} {value_type} round {round}"
            );
            std::fs::rename(path("current"), path("older")).unwrap();
            std::fs::rename(path("next"), path("current")).unwrap();
            since = full.number;
            removed += increment.removed;
        }
        assert!(removed > 500, "{removed}");
    }
}

#[test]
fn an_increment_needs_the_dump_that_it_follows() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(&scratch.path().join("a"));
    let embedding = sgd(&storage, 1, 1.0, &[]);
    embedding.apply_gradients(&[1], &[1.0]).unwrap();
    let path = scratch.path().join("t");
    let read = |list: &[(&'static str, Value)]| DumpOptions::read(&params(&table(list))).unwrap();
    failure(storage.dump(&path, read(&[("since", int(1))]), |_, _| true), Status::NotFound);
    let number = dump(&storage, &path, &table(&[])).number;
    let since = ("since", int(number as i64));
    dump(&storage, &path, &table(std::slice::from_ref(&since)));
    // A dump with another condition is another base.
    for other in [("group", int(0)), ("min_count", int(1))] {
        let error = failure(
            storage.dump(&path, read(&[since.clone(), other]), |_, _| true),
            Status::NotFound,
        );
        assert!(error.message().contains(&number.to_string()), "{error}");
    }
    // Rows of a loaded checkpoint did not come from those that were dumped.
    storage.checkpoint(scratch.path().join("cp")).unwrap();
    storage.load_from_checkpoint(scratch.path().join("cp")).unwrap();
    failure(storage.dump(&path, read(&[since]), |_, _| true), Status::NotFound);
}

/// More than 100 MB on disk, so several threads read: every row comes once and in order.
#[test]
fn a_table_that_is_read_in_parts_is_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let options = params(&[
        ("cache_bytes", int(32 << 20)),
        ("durability", text("checkpoint")),
        ("threads", int(3)),
    ]);
    let storage = Storage::open(scratch.path().join("a"), 0, &options).unwrap();
    // Ids without gaps, sparse ids, and a small group between them.
    let groups = [embed(&storage, 2, 64), embed(&storage, 5, 2), embed(&storage, 65535, 64)];
    let dense: Vec<i64> = (0..120_000).collect();
    let few = [7, -7];
    let mut scattered: Vec<i64> = (1..60_000_i64)
        .map(|key| key.wrapping_mul(-7_046_029_254_386_353_131))
        .chain([i64::MIN, i64::MAX])
        .collect();
    for (embedding, keys) in groups.iter().zip([&dense[..], &few, &scattered]) {
        for keys in keys.chunks(20_000) {
            train(embedding, keys.iter().copied());
        }
    }
    storage.flush().unwrap();
    assert!(storage.stat("bytes_on_disk").unwrap() > 100 << 20);
    scattered.sort_unstable();
    let expected = dense
        .iter()
        .map(|key| (2, *key))
        .chain([(5, -7), (5, 7)])
        .chain(scattered.iter().map(|key| (65535, *key)));
    let mut rows = storage.rows(None).unwrap();
    for expected in expected {
        let row = rows.next_row().unwrap().unwrap();
        assert_eq!((row.group, row.key), expected);
        assert_eq!((row.update_num, row.data.len()), (1, if row.group == 5 { 6 } else { 192 }));
    }
    assert_eq!(rows.next_row().unwrap(), None);
    assert_eq!(storage.row_count(Some(65535)).unwrap(), scattered.len() as u64);
    let path = scratch.path().join("t");
    assert_eq!(dump(&storage, &path, &table(&[])).rows, 180_003);
    let served = Table::open(&path).unwrap();
    let mut weights = vec![0.0; 64 * scattered.len()];
    served.lookup(65535, &scattered, &mut weights, None).unwrap();
    assert_eq!(weights, peek(&groups[2], &scattered).0);
    // A scan that is dropped early ends its threads.
    let mut rows = storage.rows(Some(2)).unwrap();
    assert_eq!(rows.next_row().unwrap().unwrap().key, 0);
    drop(rows);
    assert_eq!(storage.verify().unwrap().rows, 180_003);
}

#[test]
fn a_link_is_followed_and_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let storage = open(&path("storage"));
    let embedding = sgd(&storage, 1, 1.0, &[]);
    embedding.insert(&[1], &[0.5]).unwrap();
    std::fs::create_dir(path("releases")).unwrap();
    std::os::unix::fs::symlink("releases/today", path("current")).unwrap();
    std::os::unix::fs::symlink("current", path("latest")).unwrap();
    std::os::unix::fs::symlink("/dev/null", path("nowhere")).unwrap();
    std::os::unix::fs::symlink("circle", path("circle")).unwrap();
    // The link leads to nothing yet, then to a file.
    for weight in [0.5, 0.25] {
        embedding.insert(&[1], &[weight]).unwrap();
        dump(&storage, &path("latest"), &table(&[]));
        let mut found = [0.0];
        Table::open(&path("releases/today")).unwrap().lookup(0, &[1], &mut found, None).unwrap();
        assert_eq!(found, [weight]);
        for link in ["current", "latest"] {
            assert!(path(link).is_symlink(), "{link}");
        }
    }
    let options = || DumpOptions::read(&params(&[])).unwrap();
    let error =
        failure(storage.dump(path("nowhere"), options(), |_, _| true), Status::InvalidArgument);
    assert!(error.message().contains("device"), "{error}");
    failure(storage.dump(path("circle"), options(), |_, _| true), Status::Io);
    assert!(path("nowhere").is_symlink() && path("circle").is_symlink());
}

#[test]
fn nothing_is_put_into_a_storages_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("storage");
    {
        let storage = open(&dir);
        sgd(&storage, 1, 1.0, &[]).insert(&[1], &[0.5]).unwrap();
        storage.flush().unwrap();
        let before = std::fs::read(dir.join("CURRENT")).unwrap();
        for name in ["CURRENT", "mine", "journal/mine", "incoming/mine"] {
            let options = DumpOptions::read(&params(&[])).unwrap();
            let refused = storage.dump(dir.join(name), options, |_, _| true);
            let error = failure(refused, Status::InvalidArgument);
            assert!(error.message().contains("in the directory of a storage"), "{error}");
            if name != "CURRENT" {
                failure(storage.checkpoint(dir.join(name)), Status::InvalidArgument);
            }
        }
        assert_eq!(std::fs::read(dir.join("CURRENT")).unwrap(), before);
    }
    assert_eq!(open(&dir).row_count(None).unwrap(), 1);
}
