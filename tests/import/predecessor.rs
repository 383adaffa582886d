//! Directories of damo-embedding, killed and closed, from its releases (tests/import): every way in
//! names them and the remedy, and none changes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::{Params, Value};
use damo::storage::{Storage, salvage};

use crate::common::{self, failure, initializer, open, optimizer, params};

const RELEASES: [&str; 5] = ["1.0.5", "1.0.6", "1.1.3", "1.1.11", "1.1.12"];

/// Words of every message.
const WORDS: [&str; 3] = ["rows of damo-embedding", "damo import", "docs/migrating.md"];

/// The names and bytes of all files.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Calls `look` with a copy of each directory, which must stay as it is.
fn with_each(look: impl Fn(&Path, &Path)) {
    for release in RELEASES {
        for state in ["killed", "closed"] {
            let theirs =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/fixtures").join(release);
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("rows");
            common::copy_dir(&theirs.join(state), &dir);
            look(&dir, folder.path());
            assert!(
                content(&dir) == content(&theirs.join(state)),
                "{release} {state}: it was changed"
            );
        }
    }
}

fn assert_named(message: &str, what: &str) {
    for word in WORDS.into_iter().chain(["rows'"]) {
        assert!(message.contains(word), "{what}: {message}");
    }
}

#[test]
fn opening_one_says_so() {
    with_each(|dir, _| {
        for options in [
            Params::new(),
            params(&[("read_only", Value::Bool(true))]),
            params(&[("durability", Value::Str("power".to_owned())), ("threads", Value::Int(1))]),
        ] {
            let error =
                failure(Storage::open(dir, 0, &options).map(|_| "opened"), Status::InvalidArgument);
            assert_named(error.message(), &options.to_json());
        }
    });
}

#[test]
fn loading_salvaging_and_importing_one_says_so() {
    with_each(|dir, folder| {
        let storage = open(&folder.join("ours"));
        let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
        let rows = Embedding::new(storage.clone(), sgd, ones, 2, 0, &Params::new()).unwrap();
        rows.insert(&[5], &[1.0, 2.0]).unwrap();
        let error = failure(storage.load_from_checkpoint(dir), Status::InvalidArgument);
        assert_named(error.message(), "load_from_checkpoint");
        let error = failure(storage.import(dir, |_, _| true), Status::InvalidArgument);
        assert_named(error.message(), "import");
        assert_eq!(common::lookup(&rows, &[5]), [1.0, 2.0], "what was there stays");
        let out = folder.join("saved");
        let error = failure(salvage(dir, &out, None, |_| ()), Status::InvalidArgument);
        assert_named(error.message(), "salvage");
        assert!(!out.exists());
    });
}

/// Every command that takes a storage or a checkpoint; DIR is the old directory.
const COMMANDS: [&[&str]; 15] = [
    &["stat", "rows"],
    &["stat", "rows", "--json"],
    &["groups", "rows"],
    &["groups", "rows", "--count"],
    &["get", "rows", "0", "1"],
    &["rows", "rows"],
    &["dump", "rows", "dumped"],
    &["checkpoint", "rows", "made"],
    &["restore", "rows", "ours"],
    &["restore", "ours", "rows"],
    &["restore", "fresh", "rows", "--create"],
    &["import", "rows", "file"],
    &["import", "ours", "rows"],
    &["verify", "rows"],
    &["compact", "rows"],
];

#[test]
fn every_command_of_the_tool_says_so() {
    let tool = |folder: &Path, arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_damo"))
            .args(arguments)
            .current_dir(folder)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert_named(&said, &arguments.join(" "));
    };
    with_each(|_, folder| {
        drop(open(&folder.join("ours")));
        std::fs::write(folder.join("file"), [0; 8]).unwrap();
        for arguments in COMMANDS {
            tool(folder, arguments);
        }
        tool(folder, &["salvage", "rows", "saved"]);
        let mut there: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        there.sort();
        assert_eq!(
            there,
            ["file", "ours", "rows"].map(|name| folder.join(name)),
            "nothing was made"
        );
    });
}

#[test]
fn one_that_is_damaged_or_half_copied_is_still_told() {
    with_each(|dir, folder| {
        // Under another name, from the folder above, and with files that people leave there.
        let copy = folder.join("backup of rows'");
        common::copy_dir(dir, &copy);
        for name in ["LOG", "LOG.old.1700000000000000", "IDENTITY", "LOCK", "notes.txt"] {
            std::fs::write(copy.join(name), "x").unwrap();
        }
        let error = failure(
            Storage::open(&copy, 0, &Params::new()).map(|_| "opened"),
            Status::InvalidArgument,
        );
        assert_named(error.message(), "beside other files");
    });
}

#[test]
fn a_storage_of_ours_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ours");
    let storage = open(&dir);
    // Keys and groups whose bytes look like lengths in the earlier implementation's records.
    for (group, dim) in [(12, 3), (0x0c0c, 8), (44, 5)] {
        let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
        let rows = Embedding::new(storage.clone(), sgd, ones, dim, group, &Params::new()).unwrap();
        let keys: Vec<i64> =
            (0..500).map(|key| key * 0x0c0c_0c0c_0c0c % 0x7fff_ffff_0000_0000).collect();
        rows.apply_gradients(&keys, &vec![1.0; keys.len() * dim]).unwrap();
    }
    storage.checkpoint(folder.path().join("checkpoint")).unwrap();
    let rows = storage.row_count(None).unwrap();
    drop(storage);
    let storage = open(&dir);
    storage.load_from_checkpoint(folder.path().join("checkpoint")).unwrap();
    assert_eq!(storage.row_count(None).unwrap(), rows);
    drop(storage);
    for (place, name) in ["INVENTORY", "CURRENT"].into_iter().enumerate() {
        // The documents that identify our storage are lost, bit by bit.
        std::fs::remove_file(dir.join(name)).unwrap();
        let out = folder.path().join(format!("saved{place}"));
        assert_eq!(salvage(&dir, &out, None, |_| ()).unwrap().rows, rows, "without {name}");
    }
}
