//! Checkpoints hold one moment of everything, made while training goes on; loading replaces
//! everything or nothing.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Value;
use damo::storage::Storage;

use crate::common::{
    copy_dir, failure, float, initializer, int, lookup, open, optimizer, params, peek, sgd, text,
};

/// Adam in group 3 with rows of two weights.
fn adam(storage: &Storage) -> Embedding {
    let adam = optimizer("adam", &[("gamma", float(0.01))]);
    let normal = initializer("random_normal", &[("stddev", float(0.1))]);
    Embedding::new(storage.clone(), adam, normal, 2, 3, &params(&[("duplicates", text("sum"))]))
        .unwrap()
}

/// Everything that a storage holds.
fn content(storage: &Storage) -> Vec<(u16, i64, u64, Vec<u32>)> {
    let mut rows = storage.rows(None).unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        all.push((
            row.group,
            row.key,
            row.update_num,
            row.data.iter().map(|float| float.to_bits()).collect(),
        ));
    }
    all
}

fn train(embedding: &Embedding, steps: std::ops::Range<i64>) {
    for step in steps {
        let keys: Vec<i64> =
            (0..50).map(|index| (index * index * 31 + step * 17) % 400 - 100).collect();
        lookup(embedding, &keys);
        let gradients: Vec<f32> =
            (0..100).map(|index| ((index * 7 + step) % 13) as f32 - 6.0).collect();
        embedding.apply_gradients(&keys, &gradients).unwrap();
    }
}

fn options(durability: &str, cache_bytes: i64) -> Vec<(&'static str, Value)> {
    vec![("durability", text(durability)), ("cache_bytes", int(cache_bytes))]
}

fn open_with(dir: &Path, list: &[(&str, Value)]) -> Storage {
    Storage::open(dir, 0, &params(list)).unwrap()
}

#[test]
fn restoring_and_going_on_is_as_if_one_had_never_stopped() {
    for durability in ["process", "power", "checkpoint"] {
        for cache_bytes in [64 << 10, 64 << 20] {
            let scratch = tempfile::tempdir().unwrap();
            let dir = |name: &str| scratch.path().join(name);
            let options = options(durability, cache_bytes);
            let storage = open_with(&dir("a"), &options);
            let embedding = adam(&storage);
            train(&embedding, 0..40);
            storage.checkpoint(dir("cp")).unwrap();
            let at_checkpoint = content(&storage);
            train(&embedding, 40..80);
            let never_stopped = content(&storage);

            // Loaded into another storage with other content.
            let other = open_with(&dir("b"), &options);
            let other_embedding = adam(&other);
            train(&other_embedding, 1000..1010);
            other.load_from_checkpoint(dir("cp")).unwrap();
            assert_eq!(content(&other), at_checkpoint);
            assert_eq!(other_embedding.step().unwrap(), 40);
            train(&other_embedding, 40..80);
            assert_eq!(content(&other), never_stopped);
            drop((other, other_embedding));
            let other = open_with(&dir("b"), &options);
            assert_eq!(content(&other), never_stopped, "also after closing and opening");

            // Loaded into the storage that it is from.
            storage.load_from_checkpoint(dir("cp")).unwrap();
            assert_eq!(content(&storage), at_checkpoint);
            train(&embedding, 40..80);
            assert_eq!(content(&storage), never_stopped);

            // Opened as a storage.
            let opened = open_with(&dir("cp"), &options);
            assert_eq!(content(&opened), at_checkpoint);
            train(&adam(&opened), 40..80);
            assert_eq!(content(&opened), never_stopped);
        }
    }
}

/// Ends training even when a check fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Each call adds one to a key and takes one from its partner: between calls all sums are zero.
#[test]
fn a_checkpoint_in_the_midst_of_training_is_one_moment() {
    for durability in ["process", "checkpoint"] {
        let scratch = tempfile::tempdir().unwrap();
        let storage = open_with(&scratch.path().join("a"), &options(durability, 1 << 20));
        let zeros = initializer("zeros", &[]);
        let embed = |storage: &Storage, group| {
            let sgd = optimizer("sgd", &[("gamma", float(1.0))]);
            Embedding::new(storage.clone(), sgd, zeros.clone(), 8, group, &params(&[])).unwrap()
        };
        const PAIRS: i64 = 3000;
        let stop = AtomicBool::new(false);
        let checks = std::thread::scope(|scope| {
            let _stops = Stops(&stop);
            for group in 0..2u32 {
                let (embedding, stop) = (embed(&storage, group), &stop);
                scope.spawn(move || {
                    let mut call = 0;
                    while !stop.load(Ordering::Relaxed) {
                        // Partners are in different shards and files.
                        let first = (call * 577) % PAIRS;
                        let keys: Vec<i64> = (first..(first + 64).min(PAIRS))
                            .flat_map(|key| [key, -1 - key])
                            .collect();
                        let gradients: Vec<f32> = keys
                            .iter()
                            .flat_map(|key| [if *key < 0 { 1.0 } else { -1.0 }; 8])
                            .collect();
                        embedding.apply_gradients(&keys, &gradients).unwrap();
                        lookup(&embedding, &[call % 100_000 + 1_000_000]);
                        call += 1;
                    }
                });
            }
            let mut checks = 0;
            let mut last_sum = 0.0;
            for number in 0..12 {
                let path = scratch.path().join(format!("cp{number}"));
                storage.checkpoint(&path).unwrap();
                let copy = open_with(&path, &options(durability, 1 << 20));
                let mut rows = std::collections::HashMap::new();
                let mut all = copy.rows(None).unwrap();
                while let Some(row) = all.next_row().unwrap() {
                    rows.insert((row.group, row.key), row);
                }
                let mut sum = 0.0;
                for group in 0..2 {
                    for key in 0..PAIRS {
                        match (rows.get(&(group, key)), rows.get(&(group, -1 - key))) {
                            (None, None) => {}
                            (Some(a), Some(b)) => {
                                assert_eq!(a.data[0], -b.data[0], "group {group} key {key}");
                                assert_eq!(a.update_num, b.update_num);
                                assert_eq!(a.data[0] as u64, a.update_num);
                                checks += 1;
                                sum += a.data[0];
                            }
                            (a, b) => panic!("group {group} key {key}: {a:?} {b:?}"),
                        }
                    }
                    let steps = embed(&copy, u32::from(group)).step().unwrap();
                    let updates: u64 = rows
                        .values()
                        .filter(|row| row.group == group)
                        .map(|row| row.update_num)
                        .sum();
                    let keys_of = |call: i64| 2 * 64.min(PAIRS - (call * 577) % PAIRS) as u64;
                    assert_eq!(
                        updates,
                        (0..steps).map(keys_of).sum::<u64>(),
                        "group {group}: rows and step agree"
                    );
                }
                assert!(number == 0 || sum > last_sum, "training went on");
                last_sum = sum;
                drop(all);
                drop(copy);
                fs::remove_dir_all(&path).unwrap();
            }
            checks
        });
        assert!(checks > 10_000, "{checks}");
    }
}

#[test]
fn a_refused_checkpoint_leaves_everything_as_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = |name: &str| scratch.path().join(name);
    let storage = open(&dir("a"));
    let embedding = adam(&storage);
    train(&embedding, 0..30);
    storage.checkpoint(dir("cp")).unwrap();
    train(&embedding, 30..35);
    let before = content(&storage);
    let refuse = |name: &str, status: Status, words: &str| {
        let error = failure(storage.load_from_checkpoint(dir(name)), status);
        assert!(error.message().contains(words) && error.message().contains(name), "{error}");
        assert_eq!(content(&storage), before);
    };

    refuse("missing", Status::NotFound, "does not exist");
    fs::write(dir("file"), "text").unwrap();
    refuse("file", Status::InvalidArgument, "is a file");
    fs::create_dir(dir("empty")).unwrap();
    refuse("empty", Status::Corruption, "no CURRENT");
    refuse("a", Status::Busy, "open");

    // Every file of it: missing, one byte shorter, and with a flipped byte.
    let files: Vec<String> = {
        let list: serde_json::Value =
            serde_json::from_slice(&fs::read(dir("cp").join("checkpoint.json")).unwrap()).unwrap();
        list["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file[0].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(
        files.iter().any(|name| name.ends_with(".sst"))
            && files.iter().any(|name| name == "CURRENT")
    );
    for name in &files {
        for damage in ["missing", "short", "flipped"] {
            let copy = dir("copy");
            let _ = fs::remove_dir_all(&copy);
            copy_dir(&dir("cp"), &copy);
            let path = copy.join(name);
            let mut bytes = fs::read(&path).unwrap();
            match damage {
                "missing" => fs::remove_file(&path).unwrap(),
                "short" if !bytes.is_empty() => {
                    bytes.pop();
                    fs::write(&path, bytes).unwrap();
                }
                // RocksDB's options are for people; the empty journal has its own checksum, which
                // is checked when it is read.
                "flipped"
                    if !bytes.is_empty()
                        && !name.starts_with("OPTIONS")
                        && !name.contains("journal") =>
                {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    fs::write(&path, bytes).unwrap();
                }
                _ => continue,
            }
            let error = storage.load_from_checkpoint(&copy).unwrap_err();
            assert!(error.message().contains("copy"), "{name} {damage}: {error}");
            assert_eq!(content(&storage), before, "{name} {damage}");
        }
    }
    // The storage still trains, and the checkpoint is still good.
    train(&embedding, 35..40);
    storage.load_from_checkpoint(dir("cp")).unwrap();
    assert_ne!(content(&storage), before);
}

#[test]
fn a_checkpoint_goes_where_nothing_is() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = |name: &str| scratch.path().join(name);
    let storage = open(&dir("a"));
    lookup(&adam(&storage), &[1]);
    storage.checkpoint(dir("cp")).unwrap();
    failure(storage.checkpoint(dir("cp")), Status::AlreadyExists);
    failure(storage.checkpoint(dir("no/such/parent")), Status::Io);
    failure(storage.checkpoint("/"), Status::InvalidArgument);
    let names: Vec<_> =
        fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn groups_that_are_open_and_differ_are_refused_others_come_and_go() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = |name: &str| scratch.path().join(name);
    {
        let storage = open(&dir("a"));
        adam(&storage).apply_gradients(&[1], &[1.0, 1.0]).unwrap();
        sgd(&storage, 3, 1.0, &[]).apply_gradients(&[1], &[1.0; 3]).unwrap();
        storage.checkpoint(dir("cp")).unwrap();
    }
    let storage = open(&dir("b"));
    let other = sgd(&storage, 4, 1.0, &[]);
    let error = failure(storage.load_from_checkpoint(dir("cp")), Status::AlreadyExists);
    assert!(error.message().contains("dim 3") && error.message().contains("dim 4"), "{error}");
    drop((storage, other));
    let storage = open(&dir("c"));
    let only_here = Embedding::new(
        storage.clone(),
        optimizer("sgd", &[]),
        initializer("ones", &[]),
        5,
        9,
        &params(&[]),
    )
    .unwrap();
    only_here.apply_gradients(&[4], &[1.0; 5]).unwrap();
    storage.load_from_checkpoint(dir("cp")).unwrap();
    assert_eq!(peek(&only_here, &[4]).1, [0]);
    assert_eq!(only_here.step().unwrap(), 0);
    assert_eq!(lookup(&only_here, &[4]), [1.0; 5]);
    assert_eq!(
        content(&storage).iter().map(|row| (row.0, row.1)).collect::<Vec<_>>(),
        [(0, 1), (3, 1), (9, 4)]
    );
    // While an iterator reads the old rows, nothing replaces them.
    let many: Vec<i64> = (0..100_000).collect();
    lookup(&only_here, &many);
    let mut rows = storage.rows(None).unwrap();
    rows.next_row().unwrap();
    failure(storage.load_from_checkpoint(dir("cp")), Status::Busy);
    drop(rows);
    storage.load_from_checkpoint(dir("cp")).unwrap();
}

/// An error in looking at a path means neither that it exists nor that it does not.
#[test]
fn a_path_that_cannot_be_looked_at_is_no_answer() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(&scratch.path().join("storage"));
    let circle = scratch.path().join("circle");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    let error = failure(storage.checkpoint(circle.join("c")), Status::Io);
    assert!(error.message().contains("os error 40"), "{error}");
    // A link exists, wherever it leads.
    failure(storage.checkpoint(&circle), Status::AlreadyExists);
    // A listed file that cannot be looked at is not reported as damaged.
    let checkpoint = scratch.path().join("checkpoint");
    storage.checkpoint(&checkpoint).unwrap();
    let current = checkpoint.join("CURRENT");
    fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink(&current, &current).unwrap();
    let error = failure(storage.load_from_checkpoint(&checkpoint), Status::Io);
    assert!(
        error.message().contains("CURRENT") && error.message().contains("os error 40"),
        "{error}"
    );
    fs::remove_file(&current).unwrap();
    let error = failure(storage.load_from_checkpoint(&checkpoint), Status::Corruption);
    assert!(error.message().contains("CURRENT"), "{error}");
}
