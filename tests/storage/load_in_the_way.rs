//! A foreign file in a storage's directory is in the way of a checkpoint's files: loading is
//! refused while there is a way back, and the error names that file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use damo::error::Status;
use damo::filter::Filter;
use damo::storage::Storage;

use crate::common::{self, failure, float, int, open, params, peek, sgd, text};

/// A checkpoint with row 1 and optionally a filter.
fn checkpoint(scratch: &Path, has_filter: bool) -> PathBuf {
    let storage = open(&scratch.join("first"));
    let embedding = sgd(&storage, 1, 0.5, &[]);
    embedding.insert(&[1], &[1.0]).unwrap();
    if has_filter {
        let path = scratch.join("first.filter");
        let list =
            [("path", text(path.to_str().unwrap())), ("capacity", int(100)), ("fpr", float(1e-3))];
        embedding.set_filter(Some(Arc::new(Filter::open(&params(&list)).unwrap()))).unwrap();
    }
    let path = scratch.join("checkpoint");
    storage.checkpoint(&path).unwrap();
    path
}

fn found(storage: &Storage) -> Vec<u8> {
    peek(&sgd(storage, 1, 0.5, &[]), &[1, 2]).1
}

fn pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Whatever is in the way, the storage stays as it was, and loads once that is gone.
#[test]
fn loading_is_refused_while_there_is_a_way_back() {
    let scratch = tempfile::tempdir().unwrap();
    let from = checkpoint(scratch.path(), true);
    let nowhere = scratch.path().join("nowhere");
    type Put<'a> = &'a dyn Fn(&Path);
    let ways: [(&str, Put); 7] = [
        ("filters", &|path| fs::write(path, "notes of mine").unwrap()),
        ("filters", &pipe),
        ("filters", &|path| symlink(&nowhere, path).unwrap()),
        ("filters", &|path| symlink("/proc/self", path).unwrap()),
        ("filters/0.filter", &|path| fs::create_dir_all(path).unwrap()),
        ("999999.log", &|path| fs::create_dir(path).unwrap()),
        ("journal", &|path| {
            fs::remove_dir_all(path).unwrap();
            fs::write(path, "notes of mine").unwrap();
        }),
    ];
    for (index, (name, put)) in ways.into_iter().enumerate() {
        let dir = scratch.path().join(format!("storage{index}"));
        let mode = params(&[("durability", text("checkpoint"))]);
        let mut storage = Storage::open(&dir, 0, &mode).unwrap();
        sgd(&storage, 1, 0.5, &[]).insert(&[2], &[1.0]).unwrap();
        put(&dir.join(name));
        let error = failure(storage.load_from_checkpoint(&from), Status::Io);
        let names_it = error.message().contains(dir.join(name).to_str().unwrap());
        assert!(names_it && error.message().contains("move it elsewhere"), "{error}");
        assert_eq!(found(&storage), [0, 1], "{name}: as it was");
        if name.starts_with("filters") {
            drop(storage);
            storage = Storage::open(&dir, 0, &mode).unwrap();
            assert_eq!(found(&storage), [0, 1], "{name}: opened again");
        }
        fs::rename(dir.join(name), scratch.path().join(format!("elsewhere{index}"))).unwrap();
        storage.load_from_checkpoint(&from).unwrap();
        assert_eq!(
            (found(&storage), storage.waiting_filters().unwrap()),
            (vec![1, 0], 1),
            "{name}"
        );
        drop(storage);
        assert_eq!(found(&Storage::open(&dir, 0, &mode).unwrap()), [1, 0], "{name}");
    }
}

#[test]
fn what_is_in_no_files_way_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let from = checkpoint(scratch.path(), false);
    let dir = scratch.path().join("storage");
    let storage = open(&dir);
    fs::write(dir.join("filters"), "notes of mine").unwrap();
    fs::write(dir.join("train.log"), "of mine, too").unwrap();
    fs::create_dir(dir.join("mine.log")).unwrap();
    storage.load_from_checkpoint(&from).unwrap();
    assert_eq!(found(&storage), [1, 0]);
    drop(storage);
    let storage = open(&dir);
    assert_eq!(found(&storage), [1, 0]);
    storage.checkpoint(scratch.path().join("again")).unwrap();
    assert_eq!(fs::read(dir.join("filters")).unwrap(), b"notes of mine");
    assert!(dir.join("train.log").exists() && dir.join("mine.log").is_dir());
}

/// A linked folder is used like any other on the same file system.
#[test]
fn a_link_to_a_folder_is_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let from = checkpoint(scratch.path(), true);
    let (dir, elsewhere) = (scratch.path().join("storage"), scratch.path().join("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    let storage = open(&dir);
    symlink(&elsewhere, dir.join("filters")).unwrap();
    storage.load_from_checkpoint(&from).unwrap();
    assert_eq!(storage.waiting_filters().unwrap(), 1);
    assert!(elsewhere.join("0.filter").exists());
}

/// An earlier build left this state, in which the checkpoint counts already.
#[test]
fn a_directory_that_cannot_be_finished_says_what_is_in_the_way() {
    let scratch = tempfile::tempdir().unwrap();
    let from = checkpoint(scratch.path(), true);
    let dir = scratch.path().join("storage");
    drop(open(&dir));
    common::copy_dir(&from, &dir.join(".damo-restoring"));
    fs::remove_file(dir.join(".damo-restoring/checkpoint.json")).unwrap();
    fs::write(dir.join("filters"), "notes of mine").unwrap();
    for _ in 0..2 {
        let error = failure(Storage::open(&dir, 0, &params(&[])), Status::Io);
        assert!(error.message().contains(dir.join("filters").to_str().unwrap()), "{error}");
    }
    fs::remove_file(dir.join("filters")).unwrap();
    let storage = open(&dir);
    assert_eq!((found(&storage), storage.waiting_filters().unwrap()), (vec![1, 0], 1));
}
