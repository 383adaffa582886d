//! What a clear costs others: later rounds.

mod common;

use common::{embed, open};

/// Each clear makes RocksDB begin a log. Logs that stayed would be looked at with each document.
#[test]
fn clears_leave_no_logs_behind() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = embed(&storage, 4);
    for _ in 0..60 {
        embedding.apply_gradients(&[1, 2], &[1.0; 2]).unwrap();
        storage.flush().unwrap();
        embedding.clear().unwrap();
        storage.flush().unwrap();
    }
    let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let logs: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".log")).collect();
    assert!((1..4).contains(&logs.len()), "{logs:?}");
}
