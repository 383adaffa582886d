//! Where dumps, merged tables and checkpoints go: through links, onto devices and names of other
//! files, and by detours into a storage's directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use damo::error::{Result, Status};
use damo::storage::{DumpOptions, Dumped, Storage};
use damo::table::{Table, merge};

use crate::common::{failure, int, open, params, sgd, text};

struct Place {
    scratch: tempfile::TempDir,
}

impl Place {
    /// An open storage `storage` with one row: key 1, weight 0.5.
    fn new() -> (Place, Storage) {
        let place = Place { scratch: tempfile::tempdir().unwrap() };
        let storage = open(&place.at("storage"));
        sgd(&storage, 1, 1.0, &[]).insert(&[1], &[0.5]).unwrap();
        storage.flush().unwrap();
        (place, storage)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Every name in the storage's directory, with the bytes of files.
    fn content(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.at("storage")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push((path.clone(), fs::read(&path).unwrap())),
                }
            }
        }
        found.sort();
        found
    }
}

fn dump(storage: &Storage, path: &Path) -> Result<Dumped> {
    let options = DumpOptions::read(&params(&[("format", text("table"))])).unwrap();
    storage.dump(path, options, |_, _| true)
}

/// The weight of key 1 in a table.
fn weight(path: &Path) -> f32 {
    let mut weight = [0.0];
    Table::open(path).unwrap().lookup(0, &[1], &mut weight, None).unwrap();
    weight[0]
}

/// `damo dump a /dev/stdout`, as root, replaced /dev/stdout by a file.
#[test]
fn a_dump_onto_the_link_to_stdout_leaves_the_link() {
    let (place, storage) = Place::new();
    drop(storage);
    for link in ["/dev/stdout", "link-to-stdout"] {
        if link == "link-to-stdout" {
            symlink("/dev/stdout", place.at(link)).unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_damo"))
            .args(["dump", "storage", link])
            .current_dir(place.scratch.path())
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(link) && said.contains("pipe"), "{said}");
        assert!(place.at(link).is_symlink(), "{link}");
    }
}

#[test]
fn a_chain_of_links_is_followed_to_its_end_and_every_link_stays() {
    let (place, storage) = Place::new();
    fs::create_dir_all(place.at("a/b")).unwrap();
    symlink("a/b/second", place.at("first")).unwrap();
    // The target is relative to the folder of the link.
    symlink("../third", place.at("a/b/second")).unwrap();
    symlink(place.at("a/file"), place.at("a/third")).unwrap();
    for _ in 0..2 {
        dump(&storage, &place.at("first")).unwrap();
        assert_eq!(weight(&place.at("a/file")), 0.5);
        for link in ["first", "a/b/second", "a/third"] {
            assert!(place.at(link).is_symlink(), "{link}");
        }
    }
    assert_eq!(fs::read_dir(place.at("a")).unwrap().count(), 3, "nothing else is left there");
}

#[test]
fn links_that_lead_to_folders_and_to_folders_that_are_not_there_are_refused_and_stay() {
    let (place, storage) = Place::new();
    fs::create_dir(place.at("folder")).unwrap();
    symlink("folder", place.at("to-folder")).unwrap();
    symlink("nowhere/file", place.at("dangling")).unwrap();
    let error = failure(dump(&storage, &place.at("to-folder")), Status::InvalidArgument);
    assert!(error.message().contains("to-folder"), "{error}");
    let error = failure(dump(&storage, &place.at("dangling")), Status::Io);
    assert!(error.message().contains("dangling"), "{error}");
    assert!(place.at("to-folder").is_symlink() && place.at("dangling").is_symlink());
    assert_eq!(fs::read_dir(place.at("folder")).unwrap().count(), 0);
    assert!(!place.at("nowhere").exists());
    // A path through a linked folder leads to a file.
    dump(&storage, &place.at("to-folder/file")).unwrap();
    assert_eq!(weight(&place.at("folder/file")), 0.5);
}

#[test]
fn a_name_that_a_file_of_the_storage_has_elsewhere_is_given_to_the_dump_alone() {
    let (place, storage) = Place::new();
    let before = place.content();
    for (number, (file, _)) in before.iter().enumerate() {
        let name = place.at(&format!("hard-{number}"));
        fs::hard_link(file, &name).unwrap();
        let options = DumpOptions::read(&params(&[])).unwrap();
        storage.dump(&name, options, |_, _| true).unwrap();
    }
    // Logs may have grown meanwhile, and INVENTORY, which lists them, has changed.
    for (path, bytes) in
        before.iter().filter(|(path, _)| !path.to_string_lossy().contains("INVENTORY"))
    {
        assert!(fs::read(path).unwrap().starts_with(bytes), "{}", path.display());
    }
    storage.verify().unwrap();
    drop(storage);
    assert_eq!(open(&place.at("storage")).row_count(None).unwrap(), 1);
}

#[test]
fn ways_around_into_a_storages_directory_are_seen_through() {
    let (place, storage) = Place::new();
    fs::create_dir(place.at("beside")).unwrap();
    symlink("storage", place.at("link")).unwrap();
    symlink("../storage/journal", place.at("beside/journal")).unwrap();
    symlink("storage/from-a-link", place.at("into")).unwrap();
    let before = place.content();
    let ways = [
        "beside/../storage/mine",
        "storage/../storage/./mine",
        "link/mine",
        "link/incoming/mine",
        "beside/journal/mine",
        "storage/journal/../mine",
        "into",
    ];
    let other = place.at("other");
    let increment = place.at("increment");
    let number = dump(&storage, &other).unwrap().number;
    let since = params(&[("format", text("table")), ("since", int(number as i64))]);
    storage.dump(&increment, DumpOptions::read(&since).unwrap(), |_, _| true).unwrap();
    for way in ways {
        let mut refusals = vec![failure(dump(&storage, &place.at(way)), Status::InvalidArgument)];
        refusals.push(failure(merge(&other, &increment, &place.at(way)), Status::InvalidArgument));
        if way != "into" {
            refusals.push(failure(storage.checkpoint(place.at(way)), Status::InvalidArgument));
        }
        for error in refusals {
            assert!(error.message().contains("in the directory of a storage"), "{way}: {error}");
        }
    }
    let after = place.content();
    let names = |content: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        content.iter().map(|(path, _)| path.clone()).collect()
    };
    assert_eq!(names(&after), names(&before));
    drop(storage);
    assert_eq!(open(&place.at("storage")).row_count(None).unwrap(), 1);
}

#[test]
fn a_table_is_merged_onto_what_it_is_merged_from() {
    let (place, storage) = Place::new();
    let rows = sgd(&storage, 1, 1.0, &[]);
    let [base, increment, link] = ["base", "increment", "link"].map(|name| place.at(name));
    symlink("base", &link).unwrap();
    for (turn, onto) in [&base, &increment, &link].into_iter().enumerate() {
        let number = dump(&storage, &base).unwrap().number;
        let wanted = 2.0 + turn as f32;
        rows.insert(&[1], &[wanted]).unwrap();
        let since = params(&[("format", text("table")), ("since", int(number as i64))]);
        storage.dump(&increment, DumpOptions::read(&since).unwrap(), |_, _| true).unwrap();
        let before = Table::open(&base).unwrap();
        merge(if turn == 2 { &link } else { &base }, &increment, onto).unwrap();
        assert_eq!(weight(onto), wanted);
        // An open handle goes on with the old content.
        let mut old = [0.0];
        before.lookup(0, &[1], &mut old, None).unwrap();
        assert!(old[0] < wanted);
        assert!(link.is_symlink() && weight(&link) == if turn == 1 { old[0] } else { wanted });
    }
    assert!(fs::read_dir(place.scratch.path()).unwrap().count() == 4, "no unfinished file is left");
}
