//! Arguments and exit codes: what scripts are told, and how a command ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::open;
use crate::{damo, embedding, failure, fill, human, json, text};

#[test]
fn every_exit_code_means_something() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fill(&dir.join("t"));
    // 2: usage.
    failure(dir, 2, &["stat"]);
    failure(dir, 2, &["stat", "t", "--tll", "4"]);
    failure(dir, 2, &["frobnicate", "t"]);
    failure(dir, 2, &["get", "t", "65536", "1"]);
    failure(dir, 2, &["get", "t", "1", "one"]);
    failure(dir, 2, &["stat", "t", "--cache-bytes", "1Q"]);
    assert!(failure(dir, 2, &["stat", "t", "--cache-bytes", "1K"]).contains("cache_bytes"));
    assert!(failure(dir, 2, &["stat", "t", "--ttl", "-1"]).contains("ttl_seconds is -1"));
    fs::write(dir.join("file"), "x").unwrap();
    failure(dir, 2, &["stat", "file"]);
    fs::create_dir(dir.join("foreign")).unwrap();
    fs::write(dir.join("foreign/notes.txt"), "x").unwrap();
    failure(dir, 2, &["stat", "foreign"]);
    // 3: it does not exist; nothing is created.
    for command in ["stat", "groups", "rows", "verify", "compact"] {
        assert!(failure(dir, 3, &[command, "nowhere"]).contains("does not exist"));
    }
    failure(dir, 3, &["dump", "nowhere", "x"]);
    failure(dir, 3, &["checkpoint", "nowhere", "x"]);
    failure(dir, 3, &["import", "nowhere", "file"]);
    assert!(!dir.join("nowhere").exists());
    fs::create_dir(dir.join("empty")).unwrap();
    assert!(failure(dir, 3, &["stat", "empty"]).contains("holds no damo storage"));
    assert_eq!(fs::read_dir(dir.join("empty")).unwrap().count(), 0);
    assert!(failure(dir, 3, &["get", "t", "3", "600"]).contains("key 600 has no row in group 3"));
    assert!(failure(dir, 3, &["get", "t", "4", "1"]).contains("registered are: 3, 7"));
    failure(dir, 3, &["rows", "t", "--group", "4"]);
    // 1: no code of its own.
    failure(dir, 1, &["dump", "t", "missing/folder/dump"]);
    // 4: in use.
    {
        let _open = open(&dir.join("t"));
        assert!(failure(dir, 4, &["compact", "t"]).contains("in another process"));
        let output = damo(dir, &["stat", "t"]);
        assert_eq!(output.status.code(), Some(0));
        let notice = text(&output.stderr);
        assert!(
            notice.contains("'t' is open in another process") && notice.contains(" as of 1"),
            "{notice}"
        );
    }
    // 5: damaged.
    let table = fs::read_dir(dir.join("t")).unwrap().map(|entry| entry.unwrap().path());
    let table = table.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    let table = table.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[1000] ^= 1;
    fs::write(&table, bytes).unwrap();
    failure(dir, 5, &["verify", "t"]);
}

#[test]
fn scripts_are_told_what_is_wrong_with_their_arguments() {
    let scratch = tempfile::tempdir().unwrap();
    fill(&scratch.path().join("t"));
    let told: [(&[&str], &[&str]); 8] = [
        (&["get", "a", "u"], &["required arguments were not provided", "<KEY>"]),
        (&["get"], &["<DIR> <GROUP> <KEY>"]),
        (&["restore", "t"], &["<CHECKPOINT>"]),
        (&["stat", "t", "--tll", "4"], &["unexpected argument '--tll'", "'--ttl'"]),
        (&["stats", "t"], &["unrecognized subcommand 'stats'", "'stat'"]),
        (&["rows", "t", "--limit", "many"], &["'many'", "--limit", "invalid digit"]),
        (&["get", "t", "3", "1", "2"], &["unexpected argument '2'"]),
        (&[], &["requires a subcommand", "groups", "serve-check"]),
    ];
    for (arguments, words) in told {
        let output = damo(scratch.path(), &[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stderr).lines().count(), 1);
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["error"]["status"], "INVALID_ARGUMENT");
        let message = error["error"]["message"].as_str().unwrap();
        for word in words {
            assert!(message.contains(word), "{arguments:?}: {message}");
        }
        assert!(!message.contains("Usage:") && !message.starts_with("error"), "{message}");
    }
}

#[test]
fn unsigned_keys_keep_their_bits() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    {
        let storage = open(&dir.join("t"));
        let keys = [-1, i64::MIN, i64::MAX, 0];
        embedding(&storage, "sgd", 3)
            .insert(&keys, &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0])
            .unwrap();
    }
    for (given, key, weight) in [
        ("18446744073709551615", -1, 1.0),
        ("-1", -1, 1.0),
        ("9223372036854775808", i64::MIN, 2.0),
        ("9223372036854775807", i64::MAX, 3.0),
        ("-0", 0, 4.0),
    ] {
        let row = json(dir, &["get", "t", "3", given]);
        assert_eq!((&row["key"], &row["weights"][0]), (&json!(key), &json!(weight)), "{given}");
    }
    for wrong in ["18446744073709551616", "-9223372036854775809", "1.0", "0x1", ""] {
        let words = failure(dir, 2, &["get", "t", "3", wrong]);
        assert!(words.contains("from -9223372036854775808 to 18446744073709551615"), "{words}");
    }
}

#[test]
fn help_says_what_there_is() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let help = human(dir, &["--help"]);
    for word in ["stat", "serve-check", "Exit codes", "--json"] {
        assert!(help.contains(word), "{help}");
    }
    assert!(human(dir, &["rows", "--help"]).contains("--limit"));
    assert_eq!(human(dir, &["--version"]), format!("damo {}\n", env!("CARGO_PKG_VERSION")));
    let bare = damo(dir, &[]);
    assert_eq!(bare.status.code(), Some(2));
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let scratch = tempfile::tempdir().unwrap();
    fill(&scratch.path().join("t"));
    for flag in ["--ttl=0", "--json"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_damo"))
            .args(["rows", "t", flag])
            .current_dir(scratch.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        let mut words = String::new();
        child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        assert_eq!((child.wait().unwrap().code(), words.as_str()), (Some(0), ""));
    }
    // A full disk.
    let full = Command::new(env!("CARGO_BIN_EXE_damo"))
        .args(["rows", "t"])
        .current_dir(scratch.path())
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(
        text(&full.stderr).starts_with("damo: stdout cannot be written"),
        "{}",
        text(&full.stderr)
    );
}
