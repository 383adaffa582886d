//! What the tool reports of a storage that it opens with read_only.

use std::fs;
use std::path::Path;

use damo::storage::Storage;
use serde_json::Value;

use crate::common::journal::bytes_in;
use crate::common::{bytes_below, copy_dir, open, params, sgd, text};
use crate::{damo, json};

fn stats(dir: &Path, name: &str) -> [u64; 2] {
    let told = json(dir, &["stat", name]);
    ["bytes_on_disk", "journal_bytes"].map(|name| told["stats"][name].as_u64().unwrap())
}

/// The error of a command that must fail with this exit code. It never names the private folder.
fn failure(dir: &Path, code: i32, arguments: &[&str]) -> String {
    // stdout is not compared: rows before the damage are written.
    let output = damo(dir, arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(!message.contains("damo-read-only"), "{message}");
    message
}

#[test]
fn stat_measures_the_directory_itself() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    {
        let storage = open(&dir.join("t"));
        let keys: Vec<i64> = (0..3000).collect();
        sgd(&storage, 4, 1.0, &[]).apply_gradients(&keys, &[0.5; 12_000]).unwrap();
        // A kill would leave this copy: the journal has everything.
        copy_dir(&dir.join("t"), &dir.join("killed"));
    }
    assert_eq!(stats(dir, "t"), [bytes_below(&dir.join("t")), 0]);
    let journal = bytes_in(&dir.join("killed/journal"));
    assert!(journal > 3000 * 24, "{journal}");
    assert_eq!(stats(dir, "killed"), [bytes_below(&dir.join("killed")), journal]);
}

#[test]
fn damage_is_named_in_the_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(scratch.path()).unwrap();
    {
        let keys: Vec<i64> = (0..3000).collect();
        sgd(&open(&dir.join("t")), 4, 1.0, &[]).apply_gradients(&keys, &[0.5; 12_000]).unwrap();
    }
    let paths = fs::read_dir(dir.join("t")).unwrap().map(|entry| entry.unwrap().path());
    let tables: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "sst")).collect();
    let mut bytes = fs::read(&tables[0]).unwrap();
    bytes[..32 << 10].iter_mut().step_by(64).for_each(|byte| *byte ^= 1);
    fs::write(&tables[0], &bytes).unwrap();
    let table = tables[0].to_string_lossy();
    for command in
        [&["get", "t", "0", "1"][..], &["rows", "t"], &["verify", "t"], &["dump", "t", "dump"]]
    {
        assert!(failure(&dir, 5, command).contains(&*table), "{command:?}");
    }
    // A large file is not copied before its kind is known.
    fs::File::create(dir.join("t/999999.log")).unwrap().set_len(1 << 40).unwrap();
    assert!(failure(&dir, 5, &["stat", "t"]).contains("999999.log"));
}

#[test]
fn a_trainer_without_a_journal_makes_its_checkpoints_itself() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let options = params(&[("durability", text("checkpoint"))]);
    let trainer = Storage::open(dir.join("t"), 0, &options).unwrap();
    sgd(&trainer, 4, 1.0, &[]).apply_gradients(&[1], &[0.5; 4]).unwrap();
    trainer.flush().unwrap();
    let message = failure(dir, 4, &["checkpoint", "t", "c"]);
    assert!(message.contains("durability 'checkpoint'") && !dir.join("c").exists(), "{message}");
    let looked = damo(dir, &["rows", "t", "--json"]);
    assert_eq!(looked.status.code(), Some(0));
    let note: Value = serde_json::from_slice(&looked.stderr).unwrap();
    assert!(note["note"]["as_of_ms"].is_u64() && note["note"]["message"].is_string(), "{note}");
    drop(trainer);
    assert_eq!(damo(dir, &["checkpoint", "t", "c"]).status.code(), Some(0));
}
