//! The tool under the shell's file size limit: a file that may not grow is an error with a message,
//! not the end of the process.

use std::path::Path;
use std::process::{Command, Output};

use crate::common::{open, sgd};

const DIM: usize = 16;
const ROWS: i64 = 80_000;

/// Runs the tool with a limit of 2048 blocks a file, which is 1 or 2 MiB.
fn limited(dir: &Path, arguments: &[&str]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 2048; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_damo")]);
    shell.args(arguments).current_dir(dir).output().unwrap()
}

#[test]
fn a_file_beyond_the_limit_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let keys: Vec<i64> = (0..ROWS).collect();
    let storage = open(&dir.join("t"));
    sgd(&storage, DIM, 1.0, &[]).apply_gradients(&keys, &vec![0.37; DIM * keys.len()]).unwrap();
    storage.flush().unwrap();
    drop(storage);
    let commands: [&[&str]; 4] = [
        &["dump", "t", "d"],
        &["dump", "t", "d", "--format", "counted"],
        &["dump", "t", "d", "--format", "table"],
        &["compact", "t"],
    ];
    for command in commands {
        let output = limited(dir, command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {:?} {said}", output.status);
        assert!(said.contains("large"), "{command:?}: {said}");
        assert!(!dir.join("d").exists(), "{command:?}");
    }
    // Nothing is lost, and commands that only read work under the limit.
    let output = limited(dir, &["verify", "t", "--json"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(&ROWS.to_string()), "{said}");
}
