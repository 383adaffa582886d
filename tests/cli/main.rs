//! The command-line tool as people and scripts run it: every command, both outputs, every exit
//! code.

#[path = "../common/mod.rs"]
mod common;
mod errors;
mod files;
mod import;
mod limits;
mod looked_at;
mod looking;

use std::path::Path;
use std::process::{Command, Output};

use common::{initializer, open, optimizer};
use damo::embedding::Embedding;
use damo::params::Params;
use damo::storage::Storage;
use serde_json::Value;

const DIM: usize = 2;

fn damo(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_damo")).args(arguments).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The stdout of a command that must succeed, for people.
fn human(dir: &Path, arguments: &[&str]) -> String {
    let output = damo(dir, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "nothing on stderr that is no terminal");
    text(&output.stdout).to_owned()
}

/// The stdout of a command that must succeed, for scripts.
fn json(dir: &Path, arguments: &[&str]) -> Value {
    let line = human(dir, &[arguments, &["--json"]].concat());
    assert_eq!(line.lines().count(), 1, "{line}");
    serde_json::from_str(&line).unwrap()
}

/// The message of a command that must fail: the same for people and for scripts.
fn failure(dir: &Path, code: i32, arguments: &[&str]) -> String {
    let plain = damo(dir, arguments);
    let message = text(&plain.stderr).to_owned();
    assert_eq!(plain.status.code(), Some(code), "{arguments:?}: {message}");
    let scripted = damo(dir, &[arguments, &["--json"]].concat());
    assert_eq!(scripted.status.code(), Some(code));
    let error: Value = serde_json::from_slice(&scripted.stderr).unwrap();
    let words = error["error"]["message"].as_str().unwrap();
    assert!(error["error"]["status"].is_string());
    if code == 2 {
        // clap's messages have several lines.
        let in_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(in_one_line(&message).contains(&in_one_line(words)), "{message} / {words}");
    } else {
        assert_eq!(message.trim_end(), format!("damo: {words}"));
    }
    assert!(scripted.stdout.is_empty() && plain.stdout.is_empty());
    message
}

fn embedding(storage: &Storage, name: &str, group: u32) -> Embedding {
    let (optimizer, ones) = (optimizer(name, &[]), initializer("ones", &[]));
    let options = match group {
        7 => Params::new().with("name", "user").unwrap().with("max_norm", 8.5).unwrap(),
        _ => Params::new(),
    };
    Embedding::new(storage.clone(), optimizer, ones, DIM, group, &options).unwrap()
}

/// A storage with 1200 rows of adam in group 3, and 2 of sgd in group 7, which is called "user" and
/// has a max_norm.
fn fill(dir: &Path) {
    let storage = open(dir);
    let (adam, sgd) = (embedding(&storage, "adam", 3), embedding(&storage, "sgd", 7));
    let keys: Vec<i64> = (-600..600).collect();
    adam.apply_gradients(&keys, &vec![0.5; keys.len() * DIM]).unwrap();
    sgd.insert(&[-9, 9], &[0.25, -1.5, 2.0, 3.0]).unwrap();
}
