//! An import counts the rows that it has imported, even when it ends with an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Params;
use damo::storage::{ImportOptions, Storage};

use crate::common::{self, failure, open, params, peek, sgd};

/// The dim of each row.
const DIM: usize = 2;

/// A checkpoint of release 1.0.5 with rows of these groups and keys.
fn file(folder: &Path, rows: &[(i32, i64)]) -> PathBuf {
    let mut bytes = (rows.len() as i64).to_le_bytes().to_vec();
    for (group, key) in rows {
        let packed = [group.to_le_bytes().as_slice(), &key.to_le_bytes()].concat();
        bytes.extend(
            [12_u64.to_le_bytes().as_slice(), &packed, &40_u64.to_le_bytes(), &packed].concat(),
        );
        bytes.extend([1_720_000_000_000_i64, 3].map(i64::to_le_bytes).concat());
        bytes.extend((DIM as i32).to_le_bytes());
        bytes.extend([1.0_f32, 2.0].map(f32::to_le_bytes).concat());
    }
    let path = folder.join("old");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn other_group(storage: &Storage, group: u32) -> Embedding {
    let (sgd, ones) = (common::optimizer("sgd", &[]), common::initializer("ones", &[]));
    Embedding::new(storage.clone(), sgd, ones, DIM, group, &Params::new()).unwrap()
}

fn poison(embedding: &Embedding) {
    assert!(catch_unwind(AssertUnwindSafe(|| embedding.panic_for_test())).is_err());
}

#[test]
fn rows_of_a_poisoned_group_are_not_imported() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(&scratch.path().join("t"));
    let poisoned = sgd(&storage, DIM, 1.0, &[]);
    poison(&poisoned);
    let rows: Vec<_> = (0..10).map(|key| (0, key)).collect();
    failure(storage.import(file(scratch.path(), &rows), |_, _| true), Status::Poisoned);
    let report = storage.last_import().unwrap();
    assert_eq!((report.records, report.imported, report.without_state), (10, 0, 0));
}

/// Either group may come first; its rows are counted.
#[test]
fn rows_that_came_in_before_an_error_are_counted() {
    for turn in 0..8 {
        let scratch = tempfile::tempdir().unwrap();
        let storage = open(&scratch.path().join("t"));
        let (sound, poisoned) = (sgd(&storage, DIM, 1.0, &[]), other_group(&storage, 1));
        poison(&poisoned);
        let rows: Vec<_> = (0..20).map(|key| (i32::from(key >= 10), key)).collect();
        failure(storage.import(file(scratch.path(), &rows), |_, _| true), Status::Poisoned);
        let keys: Vec<i64> = (0..10).collect();
        let came: u64 = peek(&sound, &keys).1.into_iter().map(u64::from).sum();
        assert_eq!(storage.last_import().unwrap().imported, came, "{turn}");
    }
}

#[test]
fn an_import_that_was_cancelled_says_what_came_in() {
    let scratch = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (0..60_000).map(|key| (0, key)).collect();
    let path = file(scratch.path(), &rows);
    let len = std::fs::metadata(&path).unwrap().len();
    for part in [0, 1, 3, 9, 10] {
        let dir = scratch.path().join(format!("t{part}"));
        let storage =
            Storage::open(&dir, 0, &params(&[("cache_bytes", common::int(8 << 20))])).unwrap();
        let embedding = sgd(&storage, DIM, 1.0, &[]);
        // Cancels within the second reading.
        let error = failure(
            storage.import(&path, |at, _| at <= len + part * len / 10 && at < 2 * len),
            Status::Cancelled,
        );
        let report = storage.last_import().unwrap();
        assert!(
            error.message().contains(&format!("; {} records were imported", report.imported)),
            "{error}"
        );
        let keys: Vec<i64> = (0..60_000).collect();
        let came: u64 = peek(&embedding, &keys).1.into_iter().map(u64::from).sum();
        assert_eq!(report.imported, came, "{part}");
        assert_eq!((came == 60_000, came == 0), (part == 10, part < 4), "{part}: {came}");
    }
}

#[test]
fn a_file_without_records_has_none_of_any_group() {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(&scratch.path().join("t"));
    drop(sgd(&storage, DIM, 1.0, &[]));
    for group in [None, Some(0), Some(7)] {
        let options = ImportOptions { group, ..ImportOptions::default() };
        let report = storage.import_with(file(scratch.path(), &[]), &options, |_, _| true).unwrap();
        assert_eq!((report.records, report.imported, report.other_groups), (0, 0, 0));
    }
    // Records of other groups are not reported beside records that do not fit.
    let options = ImportOptions { group: Some(7), ..ImportOptions::default() };
    let path = file(scratch.path(), &[(0, 1), (7, 2), (0, 3)]);
    let error = failure(storage.import_with(&path, &options, |_, _| true), Status::InvalidArgument);
    for words in ["none of its 1 records", "group 7 is not registered"] {
        assert!(error.message().contains(words), "{error}");
    }
}
