//! Storages of every format that this release reads.

use std::fs;
use std::path::{Path, PathBuf};

use damo::storage::{DumpOptions, Storage};
use damo::table::{Table, merge};

use crate::common::{copy_dir, int, open, params, text};
use crate::generate::{format_of, present_format};
use crate::history::{content, expected_items, filter, go_on, items};
use crate::{CALLS, fixtures};

/// The folders of the formats, such as damo-2.
fn formats() -> Vec<PathBuf> {
    let folders = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path());
    let is_format =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("damo-");
    let formats: Vec<_> = folders.filter(is_format).collect();
    assert!(!formats.is_empty(), "the fixtures were not found");
    formats
}

/// A copy of a fixture that may be changed.
fn take(format: &Path, name: &str, scratch: &Path) -> PathBuf {
    let dir = scratch.join(name);
    copy_dir(&format.join(name), &dir);
    dir
}

fn expected(format: &Path, name: &str) -> String {
    fs::read_to_string(format.join(name)).unwrap()
}

/// The content of a storage that has seen these calls and was never closed.
fn never_stopped(calls: u64, filtered: bool) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let storage = open(&scratch.path().join("rows"));
    let seen = filtered.then(|| filter(&scratch.path().join("seen.filter")));
    go_on(&storage, seen.as_ref(), 0..calls);
    content(&storage)
}

/// Expects this content, also after closing and opening; calls go on from it.
fn check(dir: &Path, expected: &str, named: &str) {
    for time in ["opened", "opened again"] {
        let storage = open(dir);
        assert_eq!(content(&storage), expected, "{named}, {time}");
        assert_eq!(items(&storage), expected_items(CALLS), "{named}, {time}");
        let rows = storage.verify().unwrap().rows;
        assert_eq!(rows, expected.lines().filter(|line| !line.starts_with("group")).count() as u64);
    }
    let storage = open(dir);
    go_on(&storage, None, CALLS..2 * CALLS);
    assert_eq!(content(&storage), never_stopped(2 * CALLS, false), "{named}, gone on from");
    drop(storage);
    assert_eq!(
        content(&open(dir)),
        never_stopped(2 * CALLS, false),
        "{named}, gone on from and opened again"
    );
}

#[test]
fn a_fixture_is_of_the_format_that_its_folder_names() {
    for format in formats() {
        let name = format.file_name().unwrap().to_str().unwrap().replace('-', " ");
        for storage in ["closed", "killed", "checkpoint"] {
            assert_eq!(
                format_of(&format.join(storage)).as_deref(),
                Some(name.as_str()),
                "{storage}"
            );
        }
    }
}

#[test]
fn the_present_format_has_a_fixture() {
    let present = present_format();
    assert!(
        fixtures().join(present.replace(' ', "-")).exists(),
        "storages are of the format '{present}' now and have no fixture; run: {}",
        crate::WRITE
    );
}

#[test]
fn storages_that_were_closed_are_read() {
    for format in formats() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = take(&format, "closed", scratch.path());
        check(&dir, &expected(&format, "calls.txt"), &format!("{} closed", format.display()));
    }
}

#[test]
fn storages_that_were_killed_are_read() {
    for format in formats() {
        let scratch = tempfile::tempdir().unwrap();
        let (dir, expected) =
            (take(&format, "killed", scratch.path()), expected(&format, "calls.txt"));
        check(&dir, &expected, &format!("{} killed", format.display()));
        // The journal alone had half of it. After a restart of the system a lost journal is no
        // error.
        let dir = take(&format, "killed", &scratch.path().join("without"));
        fs::remove_dir_all(dir.join("journal")).unwrap();
        if let Ok(storage) = Storage::open(&dir, 0, &params(&[])) {
            assert_ne!(content(&storage), expected, "the journal was not needed");
        }
    }
}

#[test]
fn an_increment_follows_a_dump_that_was_made_before() {
    for format in formats() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let base = format.join("closed.base.table");
        let number = Table::open(&base).unwrap().number();
        let storage = open(&take(&format, "closed", scratch.path()));
        let dump = |name: &str, list: &[_]| {
            let list = [&[("format", text("table"))], list].concat();
            storage
                .dump(path(name), DumpOptions::read(&params(&list)).unwrap(), |_, _| true)
                .unwrap()
        };
        dump("full", &[]);
        let increment = dump("increment", &[("since", int(number as i64))]);
        assert!(increment.removed > 0, "rows were deleted since");
        merge(&base, &path("increment"), &path("merged")).unwrap();
        assert!(
            fs::read(path("merged")).unwrap() == fs::read(path("full")).unwrap(),
            "{}",
            format.display()
        );
    }
}

#[test]
fn checkpoints_are_loaded_and_opened() {
    for format in formats() {
        let scratch = tempfile::tempdir().unwrap();
        let (expected, named) = (expected(&format, "admitted_calls.txt"), format.display());
        let checkpoint = take(&format, "checkpoint", scratch.path());

        // Loaded into a storage with other content and its filter. The loaded calls are earlier
        // than those that follow: a storage's time never goes back, and loading does not set it
        // back.
        let storage = open(&scratch.path().join("other"));
        let seen = filter(&scratch.path().join("seen.filter"));
        let attached = go_on(&storage, Some(&seen), 0..3);
        storage.load_from_checkpoint(&checkpoint).unwrap();
        assert_eq!(content(&storage), expected, "{named}, loaded");
        go_on(&storage, Some(&seen), CALLS..2 * CALLS);
        assert_eq!(
            content(&storage),
            never_stopped(2 * CALLS, true),
            "{named}, loaded and gone on from"
        );
        drop((attached, storage));

        // Opened as a storage, with its copy of the filter.
        let storage = open(&checkpoint);
        assert_eq!(content(&storage), expected, "{named}, opened");
        assert_eq!(items(&storage), expected_items(CALLS));
        let copy = scratch.path().join("copy.filter");
        std::fs::copy(checkpoint.join("filters/0.filter"), &copy).unwrap();
        let seen = filter(&copy);
        go_on(&storage, Some(&seen), CALLS..2 * CALLS);
        assert_eq!(
            content(&storage),
            never_stopped(2 * CALLS, true),
            "{named}, opened and gone on from"
        );
    }
}

/// Builds before this one compressed the rows that a merge brought to the lowest level. Of such a
/// storage the fixture has 400 rows of adam: weights that were inserted, and a state of zeros.
#[test]
fn rows_that_were_compressed_are_read_and_merged() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = take(&fixtures(), "lz4", scratch.path());
    let weight = |key: i64, n: i32| if n < 8 { key as f32 + n as f32 / 8.0 } else { 0.0 };
    let keys = (0..400).map(|n| n * 37 - 500);
    let rows: Vec<(i64, Vec<f32>)> =
        keys.map(|key| (key, (0..24).map(|n| weight(key, n)).collect())).collect();
    let floats = 400 * 24 * size_of::<f32>() as u64;
    assert!(largest_sst(&dir) < floats, "the fixture is not compressed");
    for time in ["opened", "merged"] {
        let storage = open(&dir);
        assert_eq!(storage.verify().unwrap().rows, 400, "{time}");
        let mut all = storage.rows(None).unwrap();
        let found = std::iter::from_fn(|| all.next_row().unwrap());
        assert_eq!(found.map(|row| (row.key, row.data)).collect::<Vec<_>>(), rows, "{time}");
        drop(all);
        storage.compact().unwrap();
    }
    assert!(largest_sst(&dir) > floats, "merging has compressed rows");
}

fn largest_sst(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|name| name == "sst"));
    files.map(|path| fs::metadata(path).unwrap().len()).max().unwrap()
}
