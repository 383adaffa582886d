//! Waiting counts at the edges: filters attached amid a checkpoint or a load, copies attached
//! themselves, foreign files, lists that lead elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use damo::error::Status;

use crate::common::filters::{COUNT, admitted, filter, filter_of};
use crate::common::{embed, failure, open, races};

/// A checkpoint whose groups have a filter each, which admits the key of the group's number.
fn checkpoint_of(scratch: &Path, groups: &[u32], capacity: i64) -> PathBuf {
    let storage = open(&scratch.join("first"));
    let mut embeddings = Vec::new();
    for group in groups {
        let own = filter_of(&scratch.join(format!("first.{group}")), capacity);
        own.add(*group, i64::from(*group), COUNT).unwrap();
        embeddings.push(embed(&storage, *group));
        embeddings.last().unwrap().set_filter(Some(own)).unwrap();
    }
    let path = scratch.join("checkpoint");
    storage.checkpoint(&path).unwrap();
    path
}

fn checkpoint(scratch: &Path, groups: &[u32]) -> PathBuf {
    checkpoint_of(scratch, groups, 10_000)
}

/// Taking the counts of such a filter lasts as long as a checkpoint.
const LARGE: i64 = 3_000_000;

#[test]
fn a_checkpoint_has_the_counts_of_a_filter_that_is_being_attached() {
    let scratch = tempfile::tempdir().unwrap();
    let first = checkpoint_of(scratch.path(), &[1], LARGE);
    for round in 0..4 * races() {
        let scratch = tempfile::tempdir().unwrap();
        let storage = open(&scratch.path().join("second"));
        storage.load_from_checkpoint(&first).unwrap();
        let own = filter_of(&scratch.path().join("own.filter"), LARGE);
        let (embedding, again) = (embed(&storage, 1), scratch.path().join("again"));
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                embedding.set_filter(Some(Arc::clone(&own))).unwrap();
            });
            start.wait();
            storage.checkpoint(&again).unwrap();
        });
        assert!(again.join("filters/filters.json").exists(), "round {round}");
    }
}

#[test]
fn a_filter_that_is_attached_while_a_checkpoint_is_loaded_has_its_counts() {
    let scratch = tempfile::tempdir().unwrap();
    let first = checkpoint_of(scratch.path(), &[1], LARGE);
    for round in 0..4 * races() {
        let scratch = tempfile::tempdir().unwrap();
        let storage = open(&scratch.path().join("second"));
        let own = filter_of(&scratch.path().join("own.filter"), LARGE);
        let (embedding, staged) =
            (embed(&storage, 1), scratch.path().join("second/.damo-restoring.new"));
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| storage.load_from_checkpoint(&first).unwrap());
            // The load has looked for attached filters before it makes this folder.
            while !staged.exists() && !loading.is_finished() {
                std::thread::yield_now();
            }
            embedding.set_filter(Some(Arc::clone(&own))).unwrap();
        });
        assert_eq!(
            (admitted(&own, 1), storage.waiting_filters().unwrap()),
            (vec![1], 0),
            "round {round}"
        );
    }
}

#[test]
fn a_checkpoints_own_copy_is_not_attached() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[1]);
    let storage = open(&dir);
    let embedding = embed(&storage, 1);
    let copy = filter(&dir.join("filters/0.filter"));
    let error = failure(embedding.set_filter(Some(copy)), Status::InvalidArgument);
    assert!(
        error.message().contains("filters/0.filter") && error.message().contains("elsewhere"),
        "{error}"
    );
    assert!(dir.join("filters/0.filter").exists() && embedding.filter().is_none());
    let own = filter(&scratch.path().join("own.filter"));
    embedding.set_filter(Some(Arc::clone(&own))).unwrap();
    assert_eq!(admitted(&own, 1), [1]);
}

#[test]
fn files_that_damo_did_not_put_into_its_folder_stay() {
    let scratch = tempfile::tempdir().unwrap();
    let first = checkpoint(scratch.path(), &[1]);
    let dir = scratch.path().join("second");
    let storage = open(&dir);
    fs::create_dir(dir.join("filters")).unwrap();
    let mine = dir.join("filters/mine.filter");
    drop(filter(&mine));
    storage.load_from_checkpoint(&first).unwrap();
    assert!(mine.exists(), "after loading");
    let own = filter(&scratch.path().join("own.filter"));
    embed(&storage, 1).set_filter(Some(own)).unwrap();
    assert!(mine.exists(), "after the counts were taken");
    assert!(!dir.join("filters/0.filter").exists());
}

#[test]
fn a_list_names_nothing_outside_its_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[1]);
    let victim = scratch.path().join("victim");
    fs::copy(dir.join("filters/0.filter"), &victim).unwrap();
    let list = dir.join("filters/filters.json");
    let text = fs::read_to_string(&list).unwrap();
    let storage = open(&dir);
    let embedding = embed(&storage, 1);
    let own = filter(&scratch.path().join("own.filter"));
    for name in [victim.to_str().unwrap(), "../../victim", "a/0.filter", ".filter", "0.filter/"] {
        fs::write(&list, text.replace("\"0.filter\"", &format!("\"{name}\""))).unwrap();
        let refused = failure(embedding.set_filter(Some(Arc::clone(&own))), Status::Corruption);
        assert!(refused.message().contains(name), "{refused}");
        failure(storage.checkpoint(scratch.path().join("again")), Status::Corruption);
        assert!(victim.exists());
    }
    fs::write(&list, text).unwrap();
    embedding.set_filter(Some(own)).unwrap();
}

#[test]
fn a_filter_takes_the_counts_of_one_filter_only() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[1, 2]);
    let shared = filter(&scratch.path().join("shared.filter"));
    // The first group may be closed, in another process.
    for is_first_open in [true, false] {
        let storage = open(&dir);
        let first = is_first_open.then(|| embed(&storage, 1));
        if let Some(first) = &first {
            first.set_filter(Some(Arc::clone(&shared))).unwrap();
        }
        let second = embed(&storage, 2);
        let error = failure(second.set_filter(Some(Arc::clone(&shared))), Status::InvalidArgument);
        assert!(
            error.message().contains("group 2") && error.message().contains("shared.filter"),
            "{error}"
        );
        assert_eq!((admitted(&shared, 1), admitted(&shared, 2)), (vec![1], vec![]));
    }
    // A filter that serves another group would lose its counts.
    let storage = open(&dir);
    let (second, third) = (embed(&storage, 2), embed(&storage, 3));
    let own = filter(&scratch.path().join("own.filter"));
    third.set_filter(Some(Arc::clone(&own))).unwrap();
    own.add(3, 3, COUNT).unwrap();
    failure(second.set_filter(Some(Arc::clone(&own))), Status::InvalidArgument);
    assert_eq!(admitted(&own, 3), [3]);
    third.set_filter(None).unwrap();
    second.set_filter(Some(Arc::clone(&own))).unwrap();
    assert_eq!(admitted(&own, 2), [2]);
    assert!(!dir.join("filters").exists());
}

/// As after a kill between writing the list and removing the files that it named.
#[test]
fn copies_that_a_killed_process_left_are_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[1, 2]);
    let left = dir.join("filters/7.filter");
    fs::copy(dir.join("filters/0.filter"), &left).unwrap();
    let opened = dir.join("filters/8.filter");
    fs::copy(&left, &opened).unwrap();
    let in_use = filter(&opened);
    let storage = open(&dir);
    for group in [1, 2] {
        let own = filter(&scratch.path().join(format!("own.{group}")));
        embed(&storage, group).set_filter(Some(own)).unwrap();
        assert!(!left.exists());
        assert!(opened.exists(), "somebody's filter");
    }
    drop(in_use);
    let own = filter(&scratch.path().join("own.3"));
    embed(&storage, 3).set_filter(Some(own)).unwrap();
    assert!(!dir.join("filters").exists(), "nothing is left");
}
