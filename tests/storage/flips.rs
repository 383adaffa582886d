//! One byte of a file of rows is changed, and the storage is opened. Single rows and scans are what
//! they were, or CORRUPTION says that they cannot be read.
//!
//! DAMO_STORAGE_FLIPS sets how many bytes are flipped, one after the other, and DAMO_FLIPS_SEED
//! which. More flips go through the readers of files alone: src/rocks/lookup_files/tests/flips.rs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use damo::embedding::Embedding;
use damo::error::{Error, Result, Status};
use damo::storage::Storage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::{embed, float, initializer, optimizer, params};

const FLIPS: u64 = 60;
/// Later than any machine's clock.
const START: u64 = 4_000_000_000_000;
const DAY_MS: u64 = 86_400_000;
const TTL_SECONDS: i64 = 10 * 86_400;
/// Enough for files to be read without RocksDB.
const KEYS: i64 = 3000;
const DIM: usize = 4;
/// The last bytes of a file, which lookups read when they open it.
const END: usize = 2000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn open(dir: &Path, day: u64) -> Result<(Storage, Embedding)> {
    let storage = Storage::open(dir, TTL_SECONDS, &params(&[]))?;
    storage.set_clock_for_test(START + day * DAY_MS)?;
    let sgd = optimizer("sgd", &[("gamma", float(0.5))]);
    let ones = initializer("ones", &[]);
    let embedding = Embedding::new(storage.clone(), sgd, ones, DIM, 0, &params(&[]))?;
    Ok((storage, embedding))
}

/// A closed storage: rows, some of which have expired, and deleted ones, in files that were merged
/// and in newer ones, and a group that was cleared.
fn fill(dir: &Path) {
    let (storage, embedding) = open(dir, 0).unwrap();
    let train = |keys: std::ops::Range<i64>| {
        let keys: Vec<i64> = keys.collect();
        let gradients: Vec<f32> = keys.iter().flat_map(|key| [*key as f32; DIM]).collect();
        embedding.apply_gradients(&keys, &gradients).unwrap();
    };
    let cleared = embed(&storage, 7);
    cleared.apply_gradients(&Vec::from_iter(0..500), &[1.0; 500]).unwrap();
    train(0..KEYS / 2);
    storage.flush().unwrap();
    storage.set_clock_for_test(START + 5 * DAY_MS).unwrap();
    train(KEYS / 3..KEYS - 200);
    embedding.delete(&Vec::from_iter((0..KEYS).step_by(7))).unwrap();
    storage.compact().unwrap();
    cleared.clear().unwrap();
    for part in 0..3 {
        train(100 * part..100 * part + 300);
        embedding.delete(&Vec::from_iter((50 * part..KEYS).step_by(91))).unwrap();
        storage.flush().unwrap();
    }
}

/// The weights of single rows, and which of them exist.
type Rows = (Vec<f32>, Vec<u8>);
/// Weights and times of all rows, by group and key.
type Scanned = BTreeMap<(u16, i64), (Vec<f32>, u64)>;

fn single(embedding: &Embedding) -> Result<Rows> {
    let keys = Vec::from_iter(-10..KEYS);
    let (mut weights, mut found) = (vec![0.0; DIM * keys.len()], vec![0; keys.len()]);
    embedding.peek(&keys, &mut weights, Some(&mut found))?;
    Ok((weights, found))
}

fn scanned(storage: &Storage) -> Result<Scanned> {
    let (mut rows, mut all) = (storage.rows(None)?, BTreeMap::new());
    while let Some(row) = rows.next_row()? {
        all.insert((row.group, row.key), (row.data, row.update_time));
    }
    Ok(all)
}

/// What is read; an error where the storage cannot be opened.
fn read(dir: &Path) -> Result<(Result<Rows>, Result<Scanned>, u64)> {
    let (storage, embedding) = open(dir, 12)?;
    let rows = single(&embedding);
    let by_rocksdb = storage.stat("rows_loaded_by_rocksdb")?;
    Ok((rows, scanned(&storage), by_rocksdb))
}

/// A copy of a storage. Files of rows are links, and one has a flipped byte.
fn copy(from: &Path, to: &Path, flipped: &Path, at: usize, bits: u8) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&path, &target, flipped, at, bits);
        } else if path == flipped {
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= bits;
            fs::write(target, bytes).unwrap();
        } else if path.extension().is_some_and(|suffix| suffix == "sst") {
            fs::hard_link(&path, target).unwrap();
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

#[test]
fn flipped_bytes_give_the_same_rows_or_corruption() {
    let (flips, seed) = (setting("DAMO_STORAGE_FLIPS", FLIPS), setting("DAMO_FLIPS_SEED", 1));
    let dir = tempfile::tempdir().unwrap();
    let intact = dir.path().join("intact");
    fill(&intact);
    let names = fs::read_dir(&intact).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        names.filter(|path| path.extension().is_some_and(|suffix| suffix == "sst")).collect();
    files.sort();
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    copy(&intact, &work, Path::new(""), 0, 0);
    let (rows, all, by_rocksdb) = read(&work).unwrap();
    let (rows, all) = (rows.unwrap(), all.unwrap());
    fs::remove_dir_all(&work).unwrap();
    assert!(all.len() > 1000 && all.keys().all(|(group, _)| *group == 0), "{}", all.len());
    assert_eq!(by_rocksdb, 0, "damo reads the files");

    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let [mut opened, mut same_rows, mut same_scans, mut asked] = [0; 4];
    for number in 0..flips {
        let file = &files[random.random_range(0..files.len())];
        let len = fs::metadata(file).unwrap().len() as usize;
        let from = if random.random() { 0 } else { len.saturating_sub(END) };
        let (at, bits) = (random.random_range(from..len), random.random_range(1..=255));
        let name = format!("flip {number}: byte {at} of '{}', bits {bits:#04x}", file.display());
        fs::create_dir(&work).unwrap();
        copy(&intact, &work, file, at, bits);
        let is_said = |error: &Error| {
            assert_eq!(error.status(), Status::Corruption, "{name}: {error}");
        };
        match read(&work) {
            Err(error) => is_said(&error),
            Ok((found, scan, by_rocksdb)) => {
                opened += 1;
                asked += u64::from(by_rocksdb > 0);
                match found {
                    Err(error) => is_said(&error),
                    Ok(found) => {
                        same_rows += 1;
                        assert!(found == rows, "{name}: other rows");
                    }
                }
                match scan {
                    Err(error) => is_said(&error),
                    Ok(scan) => {
                        same_scans += 1;
                        assert!(scan == all, "{name}: a scan finds other rows");
                    }
                }
            }
        }
        fs::remove_dir_all(&work).unwrap();
    }
    println!(
        "DAMO_STORAGE_FLIPS={flips} DAMO_FLIPS_SEED={seed}, {} files: {opened} opened, {same_rows} \
         with the same rows, {same_scans} with the same scan, {asked} with reads by RocksDB",
        files.len()
    );
    assert!(same_rows < flips && same_scans < flips, "flips were noticed");
}
