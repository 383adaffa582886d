//! Under a limit of the address space (ulimit -v), long calls are refused with OUT_OF_MEMORY, where
//! RocksDB would end the process, and change nothing.
//!
//! The test runs itself again as the process with the limit.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;

use damo::error::{Result, Status};
use damo::params::Params;
use damo::storage::{DumpOptions, Storage};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::{open, params, peek, rerun, sgd, text};

const CHILD: &str = "DAMO_ADDRESS_SPACE_TEST";
const OPERATIONS: [&str; 8] =
    ["open", "verify", "load", "table", "classic", "compact", "checkpoint", "iterate"];
const KEYS: i64 = 20_000;

/// Leaves this many MiB of address space, and a little memory that the allocator has already: Rust
/// ends a process that gets none for the name of a file.
fn limit(mib: u64) {
    drop((0..256).map(|_| vec![0_u8; 256]).collect::<Vec<_>>());
    let mapped: u64 =
        fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
    // With larger pages this leaves less, which is refused as well.
    let bytes = mapped * 4096 + (mib << 20);
    setrlimit(Resource::As, Rlimit { current: Some(bytes), ..getrlimit(Resource::As) }).unwrap();
}

/// Runs the operation with this many MiB left.
fn try_with(operation: &str, mib: u64, dir: &Path) -> Result<()> {
    let in_dir = |name: &str| dir.join(name);
    if operation == "open" {
        limit(mib);
        return Storage::open(in_dir("storage"), 0, &Params::new()).map(drop);
    }
    let storage = open(&in_dir("storage"));
    limit(mib);
    let dump = |name: &str| {
        let options = DumpOptions::read(&params(&[("format", text(name))])).unwrap();
        storage.dump(in_dir(name), options, |_, _| true).map(drop)
    };
    match operation {
        "verify" => storage.verify().map(drop),
        "load" => storage.load_from_checkpoint(in_dir("loaded")),
        "compact" => storage.compact(),
        "checkpoint" => storage.checkpoint(in_dir("checkpoint")),
        "iterate" => storage.rows(None).map(drop),
        format => dump(format),
    }
}

#[test]
fn long_calls_are_refused_where_memory_cannot_be_mapped() {
    if let Some(what) = std::env::var_os(CHILD) {
        let what = what.into_string().unwrap();
        let [operation, mib, dir] = what.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{what}")
        };
        let status = try_with(operation, mib.parse().unwrap(), Path::new(dir)).err();
        // Exits without unwinding, closing or printing, which need memory, too.
        let code = status.map_or(100, |error| 100 + error.status() as i32);
        rustix::process::setrlimit(Resource::As, Rlimit { current: None, maximum: None })
            .unwrap_or(());
        std::process::exit(code);
    }
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("storage");
    let keys: Vec<i64> = (0..KEYS).collect();
    {
        let storage = open(&dir);
        let embedding = sgd(&storage, 2, 0.5, &[]);
        embedding.apply_gradients(&keys, &vec![1.0; 2 * keys.len()]).unwrap();
        storage.checkpoint(scratch.path().join("loaded")).unwrap();
    }
    for operation in OPERATIONS {
        for mib in [0, 1, 2, 4, 8, 16, 32] {
            let ended = rerun(long_calls_are_refused_where_memory_cannot_be_mapped)
                .env(CHILD, format!("{operation} {mib} {}", scratch.path().display()))
                .output()
                .unwrap();
            let wanted = 100 + Status::OutOfMemory as i32;
            // Opening asks for threads first, which is an IO error.
            let is_right = |code: i32| {
                code == wanted || (operation == "open" && code == 100 + Status::Io as i32)
            };
            assert!(
                ended.status.code().is_some_and(is_right),
                "{operation} with {mib} MiB: {ended:?}"
            );
        }
        assert!(
            !scratch.path().join("checkpoint").exists() && !scratch.path().join("table").exists()
        );
    }
    let storage = open(&dir);
    let embedding = sgd(&storage, 2, 0.5, &[]);
    assert_eq!(embedding.step().unwrap(), 1);
    assert!(peek(&embedding, &keys).0.iter().all(|weight| *weight == 0.5));
}
