//! Helpers of the Rust tests.
#![allow(dead_code)]

pub mod filters;
pub mod journal;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use damo::embedding::Embedding;
use damo::error::{Error, Result, Status};
use damo::initializer::Initializer;
use damo::optimizer::Optimizer;
use damo::params::{Params, Value};
use damo::storage::Storage;

/// Params from a list.
pub fn params(list: &[(&str, Value)]) -> Params {
    list.iter().fold(Params::new(), |bag, (key, value)| match value {
        Value::Bool(value) => bag.with(key, *value).unwrap(),
        Value::Int(value) => bag.with(key, *value).unwrap(),
        Value::Float(value) => bag.with(key, *value).unwrap(),
        Value::Str(value) => bag.with(key, value.as_str()).unwrap(),
    })
}

pub fn float(value: f64) -> Value {
    Value::Float(value)
}

pub fn int(value: i64) -> Value {
    Value::Int(value)
}

pub fn text(value: &str) -> Value {
    Value::Str(value.to_owned())
}

pub fn open(dir: &Path) -> Storage {
    Storage::open(dir, 0, &Params::new()).unwrap()
}

pub fn optimizer(name: &str, list: &[(&str, Value)]) -> Arc<Optimizer> {
    Arc::new(Optimizer::new(name, &params(list), None).unwrap())
}

pub fn initializer(name: &str, list: &[(&str, Value)]) -> Arc<Initializer> {
    Arc::new(Initializer::new(name, &params(list)).unwrap())
}

/// An embedding of group 0 whose rows start as ones and step by `-gamma gradient`.
pub fn sgd(storage: &Storage, dim: usize, gamma: f64, options: &[(&str, Value)]) -> Embedding {
    let (sgd, ones) = (optimizer("sgd", &[("gamma", float(gamma))]), initializer("ones", &[]));
    Embedding::new(storage.clone(), sgd, ones, dim, 0, &params(options)).unwrap()
}

/// An embedding of any group, with rows of one weight that starts as one.
pub fn embed(storage: &Storage, group: u32) -> Embedding {
    let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
    Embedding::new(storage.clone(), sgd, ones, 1, group, &Params::new()).unwrap()
}

pub fn lookup(embedding: &Embedding, keys: &[i64]) -> Vec<f32> {
    let mut weights = vec![f32::NAN; keys.len() * embedding.dim()];
    embedding.lookup(keys, &mut weights).unwrap();
    weights
}

/// Weights and which keys were found.
pub fn peek(embedding: &Embedding, keys: &[i64]) -> (Vec<f32>, Vec<u8>) {
    let mut weights = vec![f32::NAN; keys.len() * embedding.dim()];
    let mut found = vec![9; keys.len()];
    embedding.peek(keys, &mut weights, Some(&mut found)).unwrap();
    (weights, found)
}

/// The error of a call that must fail with `status`.
pub fn failure<T: std::fmt::Debug>(result: Result<T>, status: Status) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.status(), status, "{error}");
    error
}

/// Copies a directory with everything in it: what a kill would leave. An open storage may write in
/// the background meanwhile; the copy is made again until all files are of one moment. A directory
/// that never rests is copied at several moments.
pub fn copy_dir(from: &Path, to: &Path) {
    for attempt in 0..20 {
        let before = files_in(from);
        fs::create_dir_all(to).unwrap();
        let mut copied = true;
        for path in before.keys() {
            let target = to.join(path.strip_prefix(from).unwrap());
            copied &= if path.is_dir() {
                fs::create_dir_all(target).is_ok()
            } else {
                fs::copy(path, target).is_ok()
            };
        }
        if attempt == 19 || (copied && files_in(from) == before) {
            return;
        }
        fs::remove_dir_all(to).unwrap();
    }
}

/// Length, time of the last change and inode of everything in a directory. A folder comes before
/// its content.
fn files_in(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u64)> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        // Files may disappear meanwhile.
        for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path())
        {
            let Ok(data) = fs::symlink_metadata(&path) else { continue };
            if data.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, (data.len(), data.mtime(), data.mtime_nsec(), data.ino()));
        }
    }
    found
}

/// A directory, its folders, and all their files.
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
        found.push(folder);
    }
    found
}

/// The sum of the lengths of a directory's files.
pub fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let bytes = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        found if found.is_dir() => bytes_below(&entry.path()),
        found => found.len(),
    };
    entries.map(bytes).sum()
}

/// The bytes and the time of the last change of everything in a directory. Folders have no bytes.
pub fn bytes_and_times(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let bytes = |path: &Path| if path.is_dir() { Vec::new() } else { fs::read(path).unwrap() };
    let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    walk(dir).into_iter().map(|path| (path.clone(), (bytes(&path), changed(&path)))).collect()
}

/// A command that runs one test again, in a process of its own. The name comes from the function: a
/// name that no test has would run none, and succeed.
pub fn rerun<T: Fn()>(_test: T) -> Command {
    // The path without the name of the program is what libtest calls the test.
    let (_, name) = std::any::type_name::<T>().split_once("::").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]);
    command
}

/// Whether a test is alone in its process. If not, it runs again in a process of its own, with a
/// folder of its own for temporary files, and there is nothing left to do here.
pub fn is_alone<T: Fn()>(test: T) -> bool {
    const ALONE: &str = "DAMO_TEST_IS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let scratch = tempfile::tempdir().unwrap();
    let output = rerun(test).env(ALONE, "1").env("TMPDIR", scratch.path()).output().unwrap();
    let [said, failed] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success() && said.contains("1 passed"), "{said}{failed}");
    false
}

/// How often a test that depends on luck tries.
pub fn races() -> u64 {
    std::env::var("DAMO_RACES").map_or(1, |value| value.parse().unwrap())
}
