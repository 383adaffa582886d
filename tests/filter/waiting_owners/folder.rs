//! The folder of copies in a state that damo did not leave: a file is missing, too large, a pipe,
//! or of another release; it cannot be written; the process was killed.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use damo::error::Status;
use damo::params::Value;
use damo::storage::Storage;

use super::{COUNT, admitted, attach, checkpoint, filter};
use crate::common::{failure, open, params};

#[test]
fn a_copy_that_is_missing_is_named_with_what_to_do() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[("p1", &[1])]);
    let (copy, again) = (dir.join("filters/0.filter"), scratch.path().join("again"));
    let storage = open(&dir);
    fs::remove_file(&copy).unwrap();
    let error = failure(storage.checkpoint(&again), Status::Corruption);
    for word in [copy.to_str().unwrap(), "missing", "remove the folder"] {
        assert!(error.message().contains(word), "{error}");
    }
    assert!(!error.message().contains("unfinished") && !again.exists(), "{error}");
    fs::create_dir(&copy).unwrap();
    let error = failure(storage.checkpoint(&again), Status::Io);
    assert!(error.message().contains(copy.to_str().unwrap()), "{error}");
    fs::remove_dir_all(dir.join("filters")).unwrap();
    storage.checkpoint(&again).unwrap();
}

/// If the list cannot be written, the filter is as it was, and the counts wait.
#[test]
fn a_filter_is_as_it_was_when_the_list_cannot_be_written() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[("p1", &[1, 2])]);
    let own = filter(&scratch.path().join("own"));
    own.add(9, 9, COUNT).unwrap();
    let storage = open(&dir);
    let blocking = dir.join("filters/filters.json.new");
    fs::create_dir(&blocking).unwrap();
    failure(attach(&storage, 1, &own).map(drop), Status::Io);
    assert_eq!((admitted(&own), storage.waiting_filters().unwrap()), (vec![9], 1));
    fs::remove_dir(&blocking).unwrap();
    drop(attach(&storage, 1, &own).unwrap());
    assert_eq!(admitted(&own), [1, 2]);
}

/// As after a kill between writing the filter's new file and the list: the filter has the counts,
/// and the file records that.
#[test]
fn counts_are_not_given_twice_after_a_kill() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[("p1", &[1, 2])]);
    let own = filter(&scratch.path().join("own"));
    drop(attach(&open(&dir), 1, &own).unwrap());
    own.add(7, 7, COUNT).unwrap();
    let list = dir.join("filters/filters.json");
    let text = fs::read_to_string(&list).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["copies"][0]["groups"] = serde_json::json!([1, 2]);
    value.as_object_mut().unwrap().remove("taken");
    fs::write(&list, value.to_string()).unwrap();
    for group in [1, 2] {
        drop(attach(&open(&dir), group, &own).unwrap());
        assert_eq!(admitted(&own), [1, 2, 7]);
    }
    assert!(!dir.join("filters").exists());
}

/// Builds before the first release wrote lists as arrays, which do not say who took what.
#[test]
fn a_list_without_a_format_is_read_and_a_later_one_is_not() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[("p1", &[1])]);
    let list = dir.join("filters/filters.json");
    let text = fs::read_to_string(&list).unwrap();
    let own = filter(&scratch.path().join("own"));
    let storage = open(&dir);
    fs::write(&list, text.replace("damo filters 1", "damo filters 9")).unwrap();
    let error = failure(attach(&storage, 1, &own).map(drop), Status::NotSupported);
    assert!(error.message().contains("damo filters 9"), "{error}");
    fs::write(&list, "{}").unwrap();
    failure(storage.checkpoint(scratch.path().join("again")), Status::Corruption);
    fs::write(&list, r#"[{"file":"0.filter","path":"/x","groups":[1],"taken_by":["/y"]}]"#)
        .unwrap();
    drop(attach(&storage, 1, &own).unwrap());
    assert_eq!(admitted(&own), [1]);
}

/// Runs work that must not wait for ever.
fn at_once<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(60)).expect("it waits for a pipe")
}

fn pipe(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn no_call_waits_for_a_pipe() {
    for name in ["filters.json", "0.filter"] {
        let scratch = tempfile::tempdir().unwrap();
        let dir = checkpoint(scratch.path(), &[("p1", &[1])]);
        drop(open(&dir));
        pipe(&dir.join("filters").join(name));
        let (from, own) = (dir.clone(), scratch.path().join("own"));
        at_once(move || {
            for is_looking in [true, false] {
                let mode = params(&[("read_only", Value::Bool(is_looking))]);
                let storage = Storage::open(&from, 0, &mode).unwrap();
                let error = storage.verify().unwrap_err();
                assert!(error.message().contains(name), "{error}");
                failure(storage.checkpoint(own.with_extension("again")), Status::Io);
            }
            let storage = open(&from);
            failure(attach(&storage, 1, &filter(&own)).map(drop), Status::Io);
            drop(storage);
            let other = open(&own.with_extension("other"));
            failure(other.load_from_checkpoint(&from), Status::Io);
        });
    }
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[("p1", &[1, 2])]);
    pipe(&dir.join("filters/filters.json.new"));
    at_once(move || {
        let own = filter(&scratch.path().join("own"));
        drop(attach(&open(&dir), 1, &own).unwrap());
        assert_eq!(admitted(&own), [1, 2]);
    });
}

#[test]
fn a_list_that_is_far_too_large_is_not_read() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = checkpoint(scratch.path(), &[("p1", &[1])]);
    let storage = open(&dir);
    let list = dir.join("filters/filters.json");
    fs::File::options().write(true).open(&list).unwrap().set_len(3 << 30).unwrap();
    let error = failure(storage.verify().map(drop), Status::Corruption);
    assert!(error.message().contains("filters.json"), "{error}");
}
