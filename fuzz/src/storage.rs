//! Storages for the targets: small, with a set clock, and embeddings of a few groups.

use std::path::Path;
use std::sync::Arc;

use damo::embedding::Embedding;
use damo::initializer::Initializer;
use damo::optimizer::Optimizer;
use damo::params::{Params, Value};
use damo::storage::Storage;

/// Later than any system clock, so that nothing expires while the system's is in use.
pub const START_MS: u64 = 4_000_000_000_000;

/// A bag from a list.
pub fn params(list: &[(&str, Value)]) -> Params {
    let mut bag = Params::new();
    for (name, value) in list {
        let set = match value.clone() {
            Value::Bool(value) => bag.set(name, value),
            Value::Int(value) => bag.set(name, value),
            Value::Float(value) => bag.set(name, value),
            Value::Str(value) => bag.set(name, value.as_str()),
        };
        set.expect("a parameter");
    }
    bag
}

pub fn text(value: &str) -> Value {
    Value::Str(value.to_owned())
}

/// A small storage with two threads and its clock set.
pub fn open(dir: &Path, durability: &str, ttl_seconds: i64, cache_bytes: i64, now: u64) -> Storage {
    let options = [
        ("durability", text(durability)),
        ("cache_bytes", Value::Int(cache_bytes)),
        ("threads", Value::Int(1)),
    ];
    let storage = Storage::open(dir, ttl_seconds, &params(&options)).expect("a storage that opens");
    storage.set_clock_for_test(now).expect("a clock that is set");
    storage
}

pub fn optimizer(name: &str) -> Arc<Optimizer> {
    let rate = params(&[("learning_rate", Value::Float(0.125))]);
    Arc::new(Optimizer::new(name, &rate, None).expect("an optimizer"))
}

pub fn initializer() -> Arc<Initializer> {
    Arc::new(
        Initializer::new("random_uniform", &params(&[("seed", Value::Int(7))]))
            .expect("an initializer"),
    )
}

pub fn embedding(
    storage: &Storage,
    optimizer: Arc<Optimizer>,
    dim: usize,
    group: u32,
    options: &[(&str, Value)],
) -> Embedding {
    let opened =
        Embedding::new(storage.clone(), optimizer, initializer(), dim, group, &params(options));
    opened.expect("an embedding")
}

/// Copies the files and folders of a directory.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.metadata().expect("an entry").is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a copy");
        }
    }
}
