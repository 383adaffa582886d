//! Bytes with corrected checksums as the journal of a killed process's storage: the storage opens,
//! and opens again with the same rows, or is refused and left as it was.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use damo::error::Status;
use damo::params::Value;
use damo::storage::{Record, Storage};
use damo_fuzz::storage::{START_MS, copy_dir, embedding, optimizer, params};
use damo_fuzz::{checksums, fresh_folder, scratch};

/// The journal file whose first call is call 1.
const JOURNAL: &str = "journal/00000000000000000001.journal";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = fresh_folder();
    let dir = folder.path().join("storage");
    copy_dir(killed_storage(), &dir);
    let mut file = bytes.to_vec();
    checksums::journal(&mut file);
    fs::write(dir.join(JOURNAL), &file).unwrap();
    match open(&dir) {
        Ok(storage) => {
            let rows = rows(&storage);
            storage.verify().unwrap();
            drop(storage);
            let again = open(&dir).expect("a storage that was opened and closed opens");
            assert_eq!(bits(&self::rows(&again)), bits(&rows));
        }
        Err(error) => {
            assert!(
                matches!(error.status(), Status::Corruption | Status::InvalidArgument),
                "{error}"
            );
            assert!(
                fs::read(dir.join(JOURNAL)).unwrap() == file,
                "the journal was changed: {error}"
            );
        }
    }
});

fn open(dir: &Path) -> damo::error::Result<Storage> {
    Storage::open(
        dir,
        0,
        &params(&[("cache_bytes", Value::Int(1 << 20)), ("threads", Value::Int(1))]),
    )
}

/// A storage without calls, as a process leaves it that is killed after it opened its groups.
fn killed_storage() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let (live, killed) = (scratch().join("live"), scratch().join("killed"));
        let storage = open(&live).unwrap();
        storage.set_clock_for_test(START_MS).unwrap();
        let embeddings = [("sgd", 2, 0), ("adam", 3, 7)]
            .map(|(name, dim, group)| embedding(&storage, optimizer(name), dim, group, &[]));
        copy_dir(&live, &killed);
        drop(embeddings);
        killed
    })
}

fn rows(storage: &Storage) -> Vec<Record> {
    let mut rows = storage.rows(None).unwrap();
    std::iter::from_fn(|| rows.next_row().unwrap()).collect()
}

fn bits(rows: &[Record]) -> Vec<(u16, i64, u64, u64, Vec<u32>)> {
    let bits = |row: &Record| row.data.iter().map(|float| float.to_bits()).collect();
    rows.iter()
        .map(|row| (row.group, row.key, row.update_time, row.update_num, bits(row)))
        .collect()
}
