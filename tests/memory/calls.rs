//! A call that gets no memory is an error, where an allocation failure would abort the process.

#![cfg(target_os = "linux")]

use std::path::Path;

use damo::error::Status;

use crate::common::{failure, lookup, open, rerun, sgd};

const CHILD: &str = "DAMO_MEMORY_TEST_DIR";

#[test]
fn a_call_that_memory_cannot_hold_is_refused_and_the_process_goes_on() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return call_without_memory(Path::new(&dir));
    }
    // A process of its own, since the limit is the whole process's.
    let dir = tempfile::tempdir().unwrap();
    let output = rerun(a_call_that_memory_cannot_hold_is_refused_and_the_process_goes_on)
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn call_without_memory(dir: &Path) {
    let storage = open(dir);
    let embedding = sgd(&storage, 1, 0.5, &[]);
    // Untouched pages take no memory; only the call's own allocation meets the limit.
    let keys = vec![0i64; 60_000_000];
    let mut weights = vec![0.0f32; keys.len()];
    limit_address_space(200 << 20);
    // A lookup is made in pieces, and needs little beside the caller's buffers.
    embedding.lookup(&keys, &mut weights).unwrap();
    assert!(weights.iter().all(|weight| *weight == 1.0));
    let error = failure(embedding.apply_gradients(&keys, &weights), Status::OutOfMemory);
    assert!(
        error.message().contains("bytes of memory cannot be had; make smaller calls"),
        "{error}"
    );
    failure(embedding.insert(&keys, &weights), Status::OutOfMemory);
    assert_eq!(embedding.step().unwrap(), 0);
    assert_eq!(lookup(&embedding, &[1, 2]), [1.0, 1.0]);
}

/// Allows this many bytes more than are in use.
fn limit_address_space(more: u64) {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let used = pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096;
    let limit = libc::rlimit { rlim_cur: used + more, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: setrlimit reads one struct that lives until it returns.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}
