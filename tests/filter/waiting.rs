//! A checkpoint's counts reach the filters that are attached after it was loaded, or opened as a
//! storage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use damo::error::Status;
use damo::params::Value;
use damo::storage::Storage;

use crate::common::filters::{COUNT, admitted, filter, filter_of};
use crate::common::{embed, failure, open, params};

/// A checkpoint whose groups 1 and 2 share a filter. It admits key 1 in group 1 and key 2 in group
/// 2; key 3 lacks one addition in group 1.
fn checkpoint(scratch: &Path) -> PathBuf {
    let storage = open(&scratch.join("first"));
    let shared = filter(&scratch.join("shared.filter"));
    let embeddings = [1, 2].map(|group| embed(&storage, group));
    for embedding in &embeddings {
        embedding.set_filter(Some(Arc::clone(&shared))).unwrap();
    }
    for (group, key, num) in [(1, 1, COUNT), (2, 2, COUNT), (1, 3, COUNT - 1)] {
        shared.add(group, key, num).unwrap();
    }
    let path = scratch.join("checkpoint");
    storage.checkpoint(&path).unwrap();
    path
}

#[test]
fn a_filter_attached_after_loading_takes_the_counts_once() {
    let scratch = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(scratch.path());
    let dir = scratch.path().join("second");
    open(&dir).load_from_checkpoint(&checkpoint).unwrap();
    assert!(dir.join("filters/filters.json").exists());

    let storage = open(&dir);
    let other = filter(&scratch.path().join("other.filter"));
    other.add(1, 4, COUNT).unwrap();
    let first = embed(&storage, 1);
    first.set_filter(Some(Arc::clone(&other))).unwrap();
    assert_eq!((admitted(&other, 1), admitted(&other, 2)), (vec![1], vec![2]), "as it was there");
    other.add(1, 3, 1).unwrap();
    // The second group has the same filter, which has the counts already, also in another process.
    drop((first, storage));
    let storage = open(&dir);
    let second = embed(&storage, 2);
    second.set_filter(Some(Arc::clone(&other))).unwrap();
    assert_eq!(admitted(&other, 1), [1, 3]);
    assert!(!dir.join("filters").exists(), "nothing waits any more");
    second.set_filter(None).unwrap();
    second.set_filter(Some(Arc::clone(&other))).unwrap();
    assert_eq!(admitted(&other, 1), [1, 3]);
}

#[test]
fn groups_with_filters_of_their_own_each_take_the_counts() {
    let scratch = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(scratch.path());
    let storage = open(&scratch.path().join("second"));
    storage.load_from_checkpoint(&checkpoint).unwrap();
    for group in [1, 2] {
        let own = filter(&scratch.path().join(format!("{group}.filter")));
        let embedding = embed(&storage, group);
        embedding.set_filter(Some(Arc::clone(&own))).unwrap();
        assert_eq!(admitted(&own, group), [i64::from(group)]);
    }
}

#[test]
fn a_filter_with_other_parameters_is_refused_and_the_counts_wait_on() {
    let scratch = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(scratch.path());
    let dir = scratch.path().join("second");
    let storage = open(&dir);
    storage.load_from_checkpoint(&checkpoint).unwrap();
    let embedding = embed(&storage, 1);
    let large = filter_of(&scratch.path().join("large.filter"), 1_000_000);
    large.add(1, 4, COUNT).unwrap();
    let error = failure(embedding.set_filter(Some(Arc::clone(&large))), Status::InvalidArgument);
    for word in ["group 1", "capacity", "second/filters' to go on without them"] {
        assert!(error.message().contains(word), "{error}");
    }
    assert!(embedding.filter().is_none());
    assert_eq!(admitted(&large, 1), [4], "as it was");
    let right = filter(&scratch.path().join("right.filter"));
    embedding.set_filter(Some(Arc::clone(&right))).unwrap();
    assert_eq!(admitted(&right, 1), [1]);
    // The remedy in the message works.
    std::fs::remove_dir_all(dir.join("filters")).unwrap();
    embedding.set_filter(Some(large)).unwrap();
}

#[test]
fn checkpoints_take_along_what_waits() {
    let scratch = tempfile::tempdir().unwrap();
    let first = checkpoint(scratch.path());
    let storage = open(&scratch.path().join("second"));
    storage.load_from_checkpoint(&first).unwrap();
    let other = filter(&scratch.path().join("other.filter"));
    let third = embed(&storage, 3);
    third.set_filter(Some(Arc::clone(&other))).unwrap();
    other.add(3, 4, COUNT).unwrap();
    let again = scratch.path().join("again");
    storage.checkpoint(&again).unwrap();
    let storage = open(&scratch.path().join("third"));
    storage.load_from_checkpoint(&again).unwrap();
    storage.verify().unwrap();
    for (group, key) in [(1, 1), (2, 2), (3, 4)] {
        let own = filter(&scratch.path().join(format!("own.{group}")));
        embed(&storage, group).set_filter(Some(Arc::clone(&own))).unwrap();
        assert_eq!(admitted(&own, group), [key]);
    }
}

#[test]
fn a_checkpoint_opened_as_a_storage_gives_its_counts_and_reading_takes_none() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path());
    let other = filter(&scratch.path().join("other.filter"));
    {
        let looking = Storage::open(&dir, 0, &params(&[("read_only", Value::Bool(true))]));
        let looking = looking.unwrap();
        let embedding = embed(&looking, 1);
        embedding.set_filter(Some(Arc::clone(&other))).unwrap();
        assert!(admitted(&other, 1).is_empty());
    }
    let storage = open(&dir);
    let embedding = embed(&storage, 1);
    embedding.set_filter(Some(Arc::clone(&other))).unwrap();
    assert_eq!(admitted(&other, 1), [1]);
}

#[test]
fn loading_forgets_what_waited_before() {
    let scratch = tempfile::tempdir().unwrap();
    let first = checkpoint(scratch.path());
    let plain = scratch.path().join("plain");
    open(&scratch.path().join("none")).checkpoint(&plain).unwrap();
    let storage = open(&scratch.path().join("second"));
    storage.load_from_checkpoint(&first).unwrap();
    storage.load_from_checkpoint(&plain).unwrap();
    let other = filter(&scratch.path().join("other.filter"));
    embed(&storage, 1).set_filter(Some(Arc::clone(&other))).unwrap();
    assert!(admitted(&other, 1).is_empty());
}

/// `damo restore` runs in a process that ends before any filter is attached.
#[test]
fn counts_that_the_tool_restored_wait_for_the_filter() {
    let scratch = tempfile::tempdir().unwrap();
    let from = checkpoint(scratch.path());
    for (name, flags) in [("made", &["--create"][..]), ("had", &[])] {
        let dir = scratch.path().join(name);
        if flags.is_empty() {
            drop(open(&dir));
        }
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_damo"))
            .args(["restore", dir.to_str().unwrap(), from.to_str().unwrap(), "--json"])
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("\"filters\":1"), "{said}");
        // An opening with read_only in between takes no counts.
        drop(Storage::open(&dir, 0, &params(&[("read_only", Value::Bool(true))])).unwrap());
        let storage = open(&dir);
        let own = filter(&scratch.path().join(format!("{name}.filter")));
        let embedding = embed(&storage, 1);
        embedding.set_filter(Some(Arc::clone(&own))).unwrap();
        assert_eq!((admitted(&own, 1), admitted(&own, 2)), (vec![1], vec![2]), "{name}");
        own.add(1, 3, 1).unwrap();
        assert_eq!(admitted(&own, 1), [1, 3], "{name}");
    }
}
