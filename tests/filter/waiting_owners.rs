//! Which filter gets a checkpoint's counts: counts belong to groups, whatever the path of the
//! filter, and to the file that took them, whatever file has its path later.

mod folder;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::filter::Filter;
use damo::params::Params;
use damo::storage::Storage;

use crate::common::{self, failure, float, initializer, int, open, optimizer, params, text};

const COUNT: u32 = 3;

fn filter(path: &Path) -> Arc<Filter> {
    let list = [
        ("path", text(path.to_str().unwrap())),
        ("capacity", int(10_000)),
        ("count", int(COUNT.into())),
        ("fpr", float(1e-6)),
    ];
    Arc::new(Filter::open(&params(&list)).unwrap())
}

fn attach(storage: &Storage, group: u32, filter: &Arc<Filter>) -> damo::error::Result<Embedding> {
    let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
    let embedding = Embedding::new(storage.clone(), sgd, ones, 1, group, &Params::new()).unwrap();
    embedding.set_filter(Some(Arc::clone(filter))).map(|()| embedding)
}

/// The groups whose number, as a key, the filter admits.
fn admitted(filter: &Filter) -> Vec<u32> {
    (1..=9).filter(|group| filter.check(*group, i64::from(*group)).unwrap()).collect()
}

/// A checkpoint with filters, each with a path and groups, whose numbers they admit as keys. The
/// files of the filters are removed.
fn checkpoint(scratch: &Path, filters: &[(&str, &[u32])]) -> PathBuf {
    let storage = open(&scratch.join("first"));
    let mut attached = Vec::new();
    for (name, groups) in filters {
        let one = filter(&scratch.join(name));
        for group in *groups {
            one.add(*group, i64::from(*group), COUNT).unwrap();
            attached.push(attach(&storage, *group, &one).unwrap());
        }
    }
    let path = scratch.join("checkpoint");
    storage.checkpoint(&path).unwrap();
    drop(attached);
    filters.iter().for_each(|(name, _)| fs::remove_file(scratch.join(name)).unwrap());
    path
}

#[test]
fn each_group_gets_its_own_counts_at_whatever_path() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[("p1", &[1]), ("p2", &[2])]);
    let storage = open(&dir);
    let [p1, p2, p3] = ["p1", "p2", "p3"].map(|name| filter(&scratch.path().join(name)));
    // Nothing waits for group 9.
    p3.add(9, 9, COUNT).unwrap();
    let ninth = attach(&storage, 9, &p3).unwrap();
    drop(ninth);
    let _second = attach(&storage, 2, &p1).unwrap();
    let _first = attach(&storage, 1, &p2).unwrap();
    assert_eq!([admitted(&p1), admitted(&p2), admitted(&p3)], [vec![2], vec![1], vec![9]]);
    assert!(!dir.join("filters").exists());
}

#[test]
fn a_path_alone_gives_no_counts() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[("p1", &[1])]);
    let own = filter(&scratch.path().join("p1"));
    own.add(9, 9, COUNT).unwrap();
    let storage = open(&dir);
    let _ninth = attach(&storage, 9, &own).unwrap();
    assert_eq!((admitted(&own), storage.waiting_filters().unwrap()), (vec![9], 1));
}

#[test]
fn loading_gives_attached_filters_the_counts_of_their_groups() {
    let scratch = tempfile::tempdir().unwrap();
    let from = checkpoint(scratch.path(), &[("p1", &[1]), ("p2", &[2])]);
    let storage = open(&scratch.path().join("second"));
    let [p1, p2] = ["p1", "p2"].map(|name| filter(&scratch.path().join(name)));
    p2.add(9, 9, COUNT).unwrap();
    let _attached = (attach(&storage, 2, &p1).unwrap(), attach(&storage, 9, &p2).unwrap());
    storage.load_from_checkpoint(&from).unwrap();
    assert_eq!([admitted(&p1), admitted(&p2)], [vec![2], vec![9]]);
    assert_eq!(storage.waiting_filters().unwrap(), 1, "those of group 1");
}

/// Each filter of a group gets the counts of another copy, while there are as many; the rest get
/// any.
#[test]
fn loading_gives_each_filter_of_a_group_a_copy() {
    let scratch = tempfile::tempdir().unwrap();
    let from = checkpoint(scratch.path(), &[("p1", &[1, 2]), ("p2", &[1, 3])]);
    let storage = open(&scratch.path().join("second"));
    let all = ["a", "b", "c"].map(|name| filter(&scratch.path().join(name)));
    let attached = all.each_ref().map(|one| attach(&storage, 1, one).unwrap());
    storage.load_from_checkpoint(&from).unwrap();
    assert_eq!(all.each_ref().map(|one| admitted(one)), [vec![1, 2], vec![1, 3], vec![1, 2]]);
    drop(attached);
    // Each filter knows which counts it has.
    for (group, is_had) in [(2, [true, false, true]), (3, [false, true, false])] {
        for (one, is_had) in all.iter().zip(is_had).filter(|(_, is_had)| !is_had) {
            assert_eq!(attach(&storage, group, one).is_ok(), is_had, "{group}");
        }
    }
    drop(attach(&storage, 3, &all[1]).unwrap());
    drop(attach(&storage, 2, &all[2]).unwrap());
    assert_eq!(storage.waiting_filters().unwrap(), 0);
}

/// A new file at the path of a lost one has not taken what that one took.
#[test]
fn a_fresh_file_at_the_path_of_one_that_took_the_counts_gets_them() {
    for name in ["shared", "elsewhere"] {
        let scratch = tempfile::tempdir().unwrap();
        let dir = checkpoint(scratch.path(), &[("shared", &[1, 2])]);
        let path = scratch.path().join(name);
        drop(attach(&open(&dir), 1, &filter(&path)).unwrap());
        fs::remove_file(&path).unwrap();
        let fresh = filter(&path);
        drop(attach(&open(&dir), 2, &fresh).unwrap());
        assert_eq!(admitted(&fresh), [1, 2], "{name}");
        assert!(!dir.join("filters").exists());
    }
}

/// A copied or moved file keeps what it took; a template has taken nothing.
#[test]
fn who_has_the_counts_goes_with_the_file() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let dir = checkpoint(scratch.path(), &[("shared", &[1, 2])]);
    drop(filter(&path("template")));
    for name in ["one", "two"] {
        fs::copy(path("template"), path(name)).unwrap();
    }
    let one = filter(&path("one"));
    drop(attach(&open(&dir), 1, &one).unwrap());
    one.add(7, 7, COUNT).unwrap();
    drop(one);
    fs::rename(path("one"), path("moved")).unwrap();
    let copy = path("storage");
    common::copy_dir(&dir, &copy);
    let moved = filter(&path("moved"));
    drop(attach(&open(&dir), 2, &moved).unwrap());
    assert_eq!(admitted(&moved), [1, 2, 7], "it has what it counted since");
    let two = filter(&path("two"));
    drop(attach(&open(&copy), 2, &two).unwrap());
    assert_eq!(admitted(&two), [1, 2], "from a template");
}

#[test]
fn a_fresh_file_is_not_refused_for_what_the_one_before_had() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[("p1", &[1]), ("p2", &[2])]);
    let path = scratch.path().join("own");
    let first = filter(&path);
    drop(attach(&open(&dir), 1, &first).unwrap());
    failure(attach(&open(&dir), 2, &first).map(drop), Status::InvalidArgument);
    drop(first);
    fs::remove_file(&path).unwrap();
    let fresh = filter(&path);
    drop(attach(&open(&dir), 2, &fresh).unwrap());
    assert_eq!(admitted(&fresh), [2]);
}

/// Two filters of one group: each takes the counts of one copy, once.
#[test]
fn two_filters_of_one_group_take_the_counts_of_one_each() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[("p1", &[1]), ("p2", &[1, 2])]);
    let [one, other] = ["one", "other"].map(|name| filter(&scratch.path().join(name)));
    for _ in 0..2 {
        drop(attach(&open(&dir), 1, &one).unwrap());
        assert_eq!(admitted(&one), [1]);
    }
    drop(attach(&open(&dir), 1, &other).unwrap());
    assert_eq!(admitted(&other), [1, 2]);
    drop(attach(&open(&dir), 2, &other).unwrap());
    assert!(!dir.join("filters").exists());
}

/// A checkpoint gives its counts again when it is restored again, also to a filter that took them
/// before.
#[test]
fn a_checkpoint_gives_its_counts_each_time_it_is_restored() {
    let scratch = tempfile::tempdir().unwrap();
    let from = checkpoint(scratch.path(), &[("shared", &[1, 2])]);
    let own = filter(&scratch.path().join("shared"));
    for _ in 0..2 {
        let dir = scratch.path().join("second");
        open(&dir).load_from_checkpoint(&from).unwrap();
        drop(attach(&open(&dir), 1, &own).unwrap());
        assert_eq!(admitted(&own), [1, 2]);
        own.add(7, 7, COUNT).unwrap();
    }
}

/// A checkpoint is made while the counts still wait for one of two groups.
#[test]
fn counts_that_were_taken_for_one_group_are_part_of_the_copy_of_who_took_them() {
    for groups in [[1, 2], [2, 1]] {
        let scratch = tempfile::tempdir().unwrap();
        let dir = checkpoint(scratch.path(), &[("shared", &[1, 2])]);
        let own = filter(&scratch.path().join("own"));
        let again = scratch.path().join("again");
        {
            let storage = open(&dir);
            let _first = attach(&storage, 1, &own).unwrap();
            own.add(7, 7, COUNT).unwrap();
            storage.checkpoint(&again).unwrap();
            own.add(8, 8, COUNT).unwrap();
        }
        let fresh = filter(&scratch.path().join("fresh"));
        let copy = scratch.path().join("copy");
        common::copy_dir(&again, &copy);
        for (dir, filter) in [(&again, &own), (&copy, &fresh)] {
            for group in groups {
                drop(attach(&open(dir), group, filter).unwrap());
                assert_eq!(admitted(filter), [1, 2, 7], "{groups:?}");
            }
            assert!(!dir.join("filters").exists());
        }
    }
}
