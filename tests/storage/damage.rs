//! A damaged file is an error that says so, never a crash, and never fewer or other rows silently.

use std::fs;
use std::path::{Path, PathBuf};

use damo::embedding::Embedding;
use damo::error::{Result, Status};
use damo::initializer::Initializer;
use damo::optimizer::Optimizer;
use damo::params::Params;
use damo::storage::Storage;

use crate::common::journal::{content, cut, header_len};
use crate::common::{self, open, params, peek, sgd};

const KEYS: i64 = 2000;

/// A closed storage with rows in SST files.
fn stored(dir: &Path) {
    let storage = open(dir);
    let embedding = sgd(&storage, 4, 0.5, &[]);
    let keys: Vec<i64> = (0..KEYS).collect();
    embedding.apply_gradients(&keys, &vec![1.0; 4 * KEYS as usize]).unwrap();
    storage.flush().unwrap();
}

/// The files of the journal, oldest first.
fn journal_files(dir: &Path) -> Vec<PathBuf> {
    files(&dir.join("journal"), ".journal")
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().contains(suffix))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no {suffix} in {}", dir.display());
    found
}

/// Opens and reads every row, and returns any error.
fn read_all(dir: &Path) -> Result<Vec<f32>> {
    let storage = Storage::open(dir, 0, &Params::new())?;
    let sgd = Optimizer::new("sgd", &params(&[("gamma", common::float(0.5))]), None)?;
    let ones = Initializer::new("ones", &Params::new())?;
    let embedding = Embedding::new(storage, sgd.into(), ones.into(), 4, 0, &Params::new())?;
    let keys: Vec<i64> = (0..KEYS).collect();
    let mut weights = vec![0.0; 4 * keys.len()];
    embedding.peek(&keys, &mut weights, None)?;
    Ok(weights)
}

#[test]
fn flipped_bytes_are_errors_or_harmless_but_never_other_rows() {
    let dir = tempfile::tempdir().unwrap();
    stored(dir.path());
    let expected = read_all(dir.path()).unwrap();
    let mut errors = 0;
    for suffix in [".sst", "MANIFEST-", "CURRENT"] {
        for file in files(dir.path(), suffix) {
            let bytes = fs::read(&file).unwrap();
            for part in 0..12 {
                let at = bytes.len() * part / 12;
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x55;
                // A copy, because opening may rewrite files.
                let copy = tempfile::tempdir().unwrap();
                copy_files(dir.path(), copy.path());
                fs::write(copy.path().join(file.file_name().unwrap()), damaged).unwrap();
                match read_all(copy.path()) {
                    Ok(weights) => assert_eq!(weights, expected, "{} byte {at}", file.display()),
                    Err(error) => {
                        assert!(
                            [Status::Corruption, Status::Io, Status::InvalidArgument]
                                .contains(&error.status()),
                            "{error}"
                        );
                        assert!(!error.message().is_empty());
                        errors += 1;
                    }
                }
            }
        }
    }
    assert!(
        errors > 10,
        "only {errors} of the flips were noticed: this test does not reach the data"
    );
}

#[test]
fn a_flipped_journal_is_an_error_and_a_torn_end_is_not() {
    for durability in ["process", "power"] {
        check_damaged_journal(durability);
    }
}

fn check_damaged_journal(durability: &str) {
    let dir = tempfile::tempdir().unwrap();
    let options = params(&[("durability", common::text(durability))]);
    let storage = Storage::open(dir.path(), 0, &options).unwrap();
    let embedding = sgd(&storage, 4, 0.5, &[]);
    let keys: Vec<i64> = (0..KEYS).collect();
    for _ in 0..4 {
        embedding.apply_gradients(&keys, &vec![1.0; 4 * KEYS as usize]).unwrap();
    }
    // A killed process would leave these files: four calls in the journal.
    let journal = journal_files(dir.path()).pop().unwrap();
    let bytes = content(&journal);
    let with_journal = |content: &[u8]| {
        let copy = tempfile::tempdir().unwrap();
        copy_files(dir.path(), copy.path());
        fs::write(copy.path().join("journal").join(journal.file_name().unwrap()), content).unwrap();
        (read_all(copy.path()), copy)
    };
    assert_eq!(with_journal(&bytes).0.unwrap(), vec![-1.0; 4 * keys.len()]);
    let refused = |content: &[u8]| {
        let (outcome, copy) = with_journal(content);
        let error = outcome.expect_err("damage of the journal went unnoticed");
        assert_eq!(error.status(), Status::Corruption, "{error}");
        let name = journal.file_name().unwrap().to_str().unwrap();
        assert!(error.message().contains(name), "{error}");
        copy
    };
    for part in 0..64 {
        let at = if part < 32 { part * 7 } else { bytes.len() * part / 64 };
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        let copy = refused(&damaged);
        // The refused opening lost nothing: with the right bytes it opens.
        fs::write(copy.path().join("journal").join(journal.file_name().unwrap()), &bytes).unwrap();
        assert_eq!(read_all(copy.path()).unwrap(), vec![-1.0; 4 * keys.len()], "byte {at}");
    }
    let call = KEYS as usize * (8 + 4 * 4) + 64;
    let three_calls = vec![-0.5; 4 * keys.len()];
    for lost in [1, 100, call - 64, call - 63, call - 1] {
        let cut = &bytes[..bytes.len() - lost];
        if header_len(&bytes) == header_len(&[]) {
            // A torn last call is as if it had not been made.
            assert_eq!(with_journal(cut).0.unwrap(), three_calls, "{lost} bytes");
        } else {
            // A mapped file says how long it was.
            refused(cut);
        }
    }
    assert_eq!(with_journal(&cut(&bytes, bytes.len() - call)).0.unwrap(), three_calls);
    // Only a power cut leaves zeros, and the machine did not stop.
    let mut lost = bytes.clone();
    lost[bytes.len() - 2000..].fill(0);
    refused(&lost);
}

#[test]
fn a_missing_part_of_the_journal_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = sgd(&storage, 4, 0.5, &[]);
    let keys: Vec<i64> = (0..KEYS).collect();
    embedding.apply_gradients(&keys, &vec![1.0; 4 * KEYS as usize]).unwrap();
    // The file begins after the first call, as after a rotation.
    let first = journal_files(dir.path()).pop().unwrap();
    for (what, words) in
        [("deleted", "has no files"), ("renumbered", "a file of the journal is missing")]
    {
        let copy = tempfile::tempdir().unwrap();
        copy_files(dir.path(), copy.path());
        let file = copy.path().join("journal").join(first.file_name().unwrap());
        match what {
            // What waits to be used again is no part of the journal.
            "deleted" => fs::rename(&file, file.with_extension("spare")).unwrap(),
            _ => fs::rename(&file, file.with_file_name("00000000000000000007.journal")).unwrap(),
        }
        let error = read_all(copy.path()).expect_err("calls went missing unnoticed");
        assert_eq!(error.status(), Status::Corruption, "{error}");
        assert!(error.message().contains(words), "{error}");
    }
    let copy = tempfile::tempdir().unwrap();
    copy_files(dir.path(), copy.path());
    fs::write(copy.path().join("journal/notes.txt"), "mine").unwrap();
    let error = read_all(copy.path()).unwrap_err();
    assert!(error.message().contains("notes.txt' is not a file of the journal"), "{error}");
}

#[test]
fn a_log_of_rocksdb_that_is_gone_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let storage = open(dir.path());
        sgd(&storage, 4, 0.5, &[]).apply_gradients(&[1], &[1.0; 4]).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_files(dir.path(), copy.path());
        for entry in fs::read_dir(copy.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                fs::remove_file(path).unwrap();
            }
        }
        let error = read_all(copy.path()).expect_err("a log went missing unnoticed");
        assert_eq!(error.status(), Status::Corruption, "{error}");
        assert!(error.message().contains(".log' is missing"), "{error}");
    }
}

#[test]
fn the_journal_of_a_storage_with_other_rows_is_refused() {
    let killed = |dim: usize| {
        let (live, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let storage = open(live.path());
        let embedding = sgd(&storage, dim, 0.5, &[]);
        embedding.apply_gradients(&[1], &vec![1.0; dim]).unwrap();
        copy_files(live.path(), dir.path());
        dir
    };
    let (ours, theirs) = (killed(4), killed(3));
    let journal = journal_files(ours.path()).pop().unwrap();
    let bytes = fs::read(&journal).unwrap();
    fs::copy(journal_files(theirs.path()).pop().unwrap(), &journal).unwrap();
    let error =
        read_all(ours.path()).expect_err("calls on rows of 3 floats were made on rows of 4");
    assert_eq!(error.status(), Status::Corruption, "{error}");
    for words in [journal.to_str().unwrap(), "dim 3", "dim 4"] {
        assert!(error.message().contains(words), "{error}");
    }
    // The refused opening lost nothing.
    fs::write(&journal, bytes).unwrap();
    assert_eq!(read_all(ours.path()).unwrap()[4..8], [0.5; 4]);
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy_files(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

#[test]
fn truncated_and_missing_files_are_errors() {
    for (suffix, keep) in
        [(".sst", Some(0.5)), (".sst", None), ("MANIFEST-", None), ("CURRENT", Some(0.5))]
    {
        let dir = tempfile::tempdir().unwrap();
        stored(dir.path());
        let file = files(dir.path(), suffix).remove(0);
        match keep {
            Some(part) => {
                let bytes = fs::read(&file).unwrap();
                fs::write(&file, &bytes[..(bytes.len() as f64 * part) as usize]).unwrap();
            }
            None => fs::remove_file(&file).unwrap(),
        }
        let error = read_all(dir.path()).unwrap_err();
        assert!([Status::Corruption, Status::Io].contains(&error.status()), "{suffix}: {error}");
        assert!(error.message().contains(&dir.path().display().to_string()), "{suffix}: {error}");
    }
}

/// Makes a change that bypassed the library look like an earlier release's, which knew no
/// inventory.
fn forget_inventory(dir: &Path, db: &rust_rocksdb::DB) {
    fs::remove_file(dir.join("INVENTORY")).unwrap();
    db.put_cf(db.cf_handle("damo").unwrap(), "format", "damo 2").unwrap();
}

#[test]
fn what_others_write_into_the_database_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    stored(dir.path());
    {
        let db = rust_rocksdb::DB::open_cf(&Default::default(), dir.path(), ["default", "damo"])
            .unwrap();
        db.put([0, 0, 0x80, 0, 0, 0, 0, 0, 0, 7], [0x48, 0, 0]).unwrap();
    }
    let error = read_all(dir.path()).unwrap_err();
    assert_eq!(error.status(), Status::Corruption, "{error}");
    // A missing inventory is noticed, too.
    fs::remove_file(dir.path().join("INVENTORY")).unwrap();
    let error = read_all(dir.path()).unwrap_err();
    assert_eq!(error.status(), Status::Corruption, "{error}");
    assert!(error.message().contains("INVENTORY' is missing"), "{error}");
}

#[test]
fn a_row_of_another_length_is_corruption_that_names_the_row() {
    let dir = tempfile::tempdir().unwrap();
    stored(dir.path());
    {
        // Key 7 of group 0, encoded as in docs/formats.md.
        let db = rust_rocksdb::DB::open_cf(&Default::default(), dir.path(), ["default", "damo"])
            .unwrap();
        db.put([0, 0, 0x80, 0, 0, 0, 0, 0, 0, 7], [0x48, 0, 0]).unwrap();
        forget_inventory(dir.path(), &db);
    }
    let error = read_all(dir.path()).unwrap_err();
    assert_eq!(error.status(), Status::Corruption);
    assert!(
        error.message().contains("group 0 key 7: the stored row has 3 bytes, less than its header"),
        "{error}"
    );
    // The other rows are still there.
    let storage = open(dir.path());
    assert_eq!(peek(&sgd(&storage, 4, 0.5, &[]), &[6]).0, [0.5; 4]);
}

#[test]
fn a_damaged_group_record_and_a_later_format_are_refused() {
    for (key, value, status, words) in [
        ("group:00000", "{\"dim\":", Status::Corruption, "the record of group '00000' is damaged"),
        ("group:70000", "{\"dim\":1}", Status::Corruption, "group '70000'"),
        ("step:00000", "12", Status::Corruption, "global step is not 8 bytes"),
        (
            "format",
            "damo 4",
            Status::NotSupported,
            "its format is 'damo 4'; this damo reads 'damo 3'",
        ),
        ("journal", "{", Status::Corruption, "the record of the journal is damaged"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        stored(dir.path());
        {
            let db =
                rust_rocksdb::DB::open_cf(&Default::default(), dir.path(), ["default", "damo"])
                    .unwrap();
            forget_inventory(dir.path(), &db);
            db.put_cf(db.cf_handle("damo").unwrap(), key, value).unwrap();
        }
        let error = read_all(dir.path()).unwrap_err();
        assert_eq!(error.status(), status, "{error}");
        assert!(error.message().contains(words), "{error}");
        assert!(error.message().contains(&dir.path().display().to_string()), "{error}");
    }
}
