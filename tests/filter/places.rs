//! Filters, checkpoints and storages may not be put where a storage has its own files.

use std::fs;
use std::path::Path;

use damo::error::{Result, Status};
use damo::filter::Filter;
use damo::params::{Params, Value};
use damo::storage::{DumpOptions, Storage};

use crate::common::{failure, int, is_alone, open, params, peek, sgd, text};

fn filter(path: &Path, reload: bool) -> Result<Filter> {
    let list = [
        ("path", text(path.to_str().unwrap())),
        ("capacity", int(100)),
        ("reload", Value::Bool(reload)),
    ];
    Filter::open(&params(&list))
}

#[test]
fn a_filter_is_not_made_where_a_storage_has_its_own_files() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("storage");
    let storage = open(&dir);
    let embedding = sgd(&storage, 1, 0.5, &[]);
    embedding.insert(&[1], &[1.0]).unwrap();
    storage.flush().unwrap();
    fs::create_dir_all(dir.join("filters")).unwrap();
    fs::create_dir_all(dir.join("mine")).unwrap();
    std::os::unix::fs::symlink(dir.join("journal"), scratch.path().join("link")).unwrap();
    let own = [
        "storage/journal/f",
        "storage/incoming/f",
        "link/f",
        "storage/mine/../journal/f",
        "storage/000099.sst",
        "storage/000099.log",
        "storage/CURRENT",
        "storage/INVENTORY",
        "storage/MANIFEST-000099",
        "storage/.damo-x",
        "storage/journal",
        "storage/filters",
    ];
    for name in own {
        for reload in [true, false] {
            let path = scratch.path().join(name);
            let before = fs::read(&path).ok();
            let error = failure(filter(&path, reload), Status::InvalidArgument);
            assert!(error.message().contains("elsewhere"), "{name}: {error}");
            assert_eq!(fs::read(&path).ok(), before, "{name}");
        }
    }
    for name in ["storage/mine.filter", "storage/mine/f", "storage/filters/mine", "x.sst"] {
        filter(&scratch.path().join(name), true).unwrap();
    }
    embedding.insert(&[2], &[1.0]).unwrap();
    storage.flush().unwrap();
    drop((embedding, storage));
    let storage = open(&dir);
    assert_eq!(peek(&sgd(&storage, 1, 0.5, &[]), &[1, 2]).1, [1, 1]);
}

/// Changes the working directory, which is the whole process's.
#[test]
fn nothing_is_made_in_a_storages_folders_by_a_path_without_a_folder() {
    if !is_alone(nothing_is_made_in_a_storages_folders_by_a_path_without_a_folder) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("storage");
    let storage = open(&dir);
    for folder in ["journal", "incoming", "."] {
        std::env::set_current_dir(dir.join(folder)).unwrap();
        for name in ["ck", "./ck"] {
            failure(storage.checkpoint(name), Status::InvalidArgument);
            let dumped = storage.dump(name, DumpOptions::read(&params(&[])).unwrap(), |_, _| true);
            failure(dumped.map(drop), Status::InvalidArgument);
        }
        if folder != "." {
            failure(filter(Path::new("f"), true), Status::InvalidArgument);
            for path in ["inner", "a/b"] {
                failure(Storage::open(path, 0, &Params::new()), Status::InvalidArgument);
            }
            assert!(!Path::new("a").exists());
        }
    }
    std::env::set_current_dir("/").unwrap();
    failure(Storage::open(dir.join("journal/inner"), 0, &Params::new()), Status::InvalidArgument);
    for name in ["99.log", "incoming", "journal"] {
        failure(Storage::open(dir.join(name), 0, &Params::new()), Status::InvalidArgument);
    }
    drop(storage);
    drop(open(&dir));
    drop(open(&dir.join("mine")));
}
