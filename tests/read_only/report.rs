//! The statistics and errors of a storage that is open with `read_only` are those of the directory
//! that was opened.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use damo::embedding::{Embedding, GROUP_BY_NAME};
use damo::error::{Result, Status};
use damo::params::{Params, Value};
use damo::storage::Storage;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::common::journal::bytes_in;
use crate::common::{
    bytes_below, copy_dir, failure, float, initializer, int, optimizer, params, peek, rerun, sgd,
    text,
};

const CHILD: &str = "DAMO_READ_ONLY_REPORT_TEST_DIR";

fn try_to_look(dir: &Path) -> Result<Storage> {
    Storage::open(dir, 0, &params(&[("read_only", Value::from(true)), ("threads", int(1))]))
}

fn look(dir: &Path) -> Storage {
    try_to_look(dir).unwrap()
}

fn open_with(dir: &Path, durability: &str, cache_bytes: i64) -> Storage {
    let options =
        [("threads", int(1)), ("durability", text(durability)), ("cache_bytes", int(cache_bytes))];
    Storage::open(dir, 0, &params(&options)).unwrap()
}

/// A closed storage of 2000 rows.
fn fill(dir: &Path) {
    let storage = open_with(dir, "process", 1 << 20);
    let keys: Vec<i64> = (0..2000).collect();
    sgd(&storage, 4, 1.0, &[]).apply_gradients(&keys, &[0.5; 8000]).unwrap();
}

/// A copy of an open storage's directory: what a kill would leave.
fn killed(storage: &Storage) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(storage.dir(), copy.path());
    copy
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().ends_with(suffix)).collect()
}

#[test]
fn sizes_are_those_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let sizes =
        |dir: &Path| ["bytes_on_disk", "journal_bytes"].map(|name| look(dir).stat(name).unwrap());
    assert_eq!(sizes(dir.path()), [bytes_below(dir.path()), 0]);
    let owner = open_with(dir.path(), "process", 1 << 20);
    let embedding = sgd(&owner, 4, 1.0, &[]);
    embedding.apply_gradients(&(0..1000).collect::<Vec<_>>(), &[0.5; 4000]).unwrap();
    let left = killed(&owner);
    let journal = bytes_in(&left.path().join("journal"));
    assert!(journal > 1000 * 20 && journal == owner.stat("journal_bytes").unwrap(), "{journal}");
    for dir in [owner.dir(), left.path()] {
        assert_eq!(sizes(dir), [bytes_below(dir), journal]);
    }
    drop((embedding, owner));
    fs::remove_dir(dir.path().join("journal")).unwrap();
    assert_eq!(sizes(dir.path()), [bytes_below(dir.path()), 0]);
}

#[test]
fn a_group_keeps_what_is_on_record_of_it() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let storage = look(dir.path());
    let before = storage.describe().unwrap();
    let open = |group: u32, name: Option<&str>, gamma: f64| {
        let (sgd, zeros) =
            (optimizer("sgd", &[("gamma", float(gamma))]), initializer("zeros", &[]));
        let options = name.map_or(Params::new(), |name| params(&[("name", text(name))]));
        Embedding::new(storage.clone(), sgd, zeros, 4, group, &options)
    };
    let error = failure(open(0, Some("users"), 1.0), Status::NotSupported);
    assert!(
        error.message().contains("'users'") && error.message().contains("read_only"),
        "{error}"
    );
    let error = failure(open(GROUP_BY_NAME, Some("users"), 1.0), Status::NotFound);
    assert!(error.message().contains("no group is called 'users'"), "{error}");
    // Other parameters apply to this opening only.
    let embedding = open(0, None, 9.0).unwrap();
    let mut weights = [9.0; 8];
    embedding.lookup(&[0, -1], &mut weights).unwrap();
    assert_eq!(weights, [0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(storage.describe().unwrap(), before);
    drop((embedding, storage));

    let owner = open_with(dir.path(), "process", 1 << 20);
    drop(sgd(&owner, 4, 1.0, &[("name", text("users"))]));
    let storage = look(dir.path());
    let named = sgd(&storage, 4, 1.0, &[("name", text("users"))]);
    assert_eq!(peek(&named, &[7]).1, [1]);
    let other = Embedding::new(
        storage.clone(),
        optimizer("sgd", &[]),
        initializer("ones", &[]),
        4,
        0,
        &params(&[("name", text("items"))]),
    );
    failure(other, Status::AlreadyExists);
}

#[test]
fn damage_is_named_where_it_is_by_each_call() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let table = files(dir.path(), ".sst").remove(0);
    let mut bytes = fs::read(&table).unwrap();
    // Blocks of rows; RocksDB opens the file by its end.
    let mut damage = |range: std::ops::Range<usize>| {
        bytes[range].iter_mut().step_by(64).for_each(|byte| *byte ^= 1);
        fs::write(&table, &bytes).unwrap();
    };
    damage(4096..32 << 10);
    let storage = look(dir.path());
    let embedding = sgd(&storage, 4, 1.0, &[]);
    let mut weights = [0.0; 4];
    let named = |what: &str, error: damo::error::Error| {
        assert!(error.message().contains(&*table.to_string_lossy()), "{what}: {error}");
        assert!(!error.message().contains("damo-read-only"), "{what}: {error}");
    };
    named("record", storage.record(0, 500).unwrap_err());
    named("embedding's record", embedding.record(500).unwrap_err());
    named("peek", embedding.peek(&[500], &mut weights, None).unwrap_err());
    named("lookup", embedding.lookup(&[500], &mut weights).unwrap_err());
    named("row_count", storage.row_count(None).unwrap_err());
    named("verify", storage.verify().unwrap_err());
    damage(0..4096);
    let storage = look(dir.path());
    let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
    named("embedding", Embedding::new(storage, sgd, ones, 4, 0, &Params::new()).unwrap_err());
}

#[test]
fn what_a_process_without_a_journal_has_open_gives_no_checkpoint() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, checkpoint) = (scratch.path().join("storage"), scratch.path().join("checkpoint"));
    fill(&dir);
    let owner = open_with(&dir, "checkpoint", 1 << 20);
    let embedding = sgd(&owner, 4, 1.0, &[]);
    // The owner has changed nothing yet.
    look(&dir).checkpoint(scratch.path().join("before")).unwrap();
    embedding.apply_gradients(&[1, 2], &[0.5; 8]).unwrap();
    for _ in 0..2 {
        let storage = look(&dir);
        let error = failure(storage.checkpoint(&checkpoint), Status::Busy);
        assert!(error.message().contains("durability 'checkpoint'"), "{error}");
        assert_eq!(storage.row_count(None).unwrap(), 2000);
        assert!(!checkpoint.exists());
        owner.flush().unwrap();
        embedding.apply_gradients(&[3], &[0.5; 4]).unwrap();
    }
    // After a kill a checkpoint has what the next opening finds.
    look(killed(&owner).path()).checkpoint(scratch.path().join("killed")).unwrap();
    drop((embedding, owner));
    look(&dir).checkpoint(&checkpoint).unwrap();
    // With a journal, the checkpoint has each call whole.
    let owner = open_with(&dir, "process", 1 << 20);
    sgd(&owner, 4, 1.0, &[]).apply_gradients(&[1, 2], &[0.5; 8]).unwrap();
    look(&dir).checkpoint(scratch.path().join("journaled")).unwrap();
}

#[test]
fn a_checkpoint_adds_links_and_changes_no_byte() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, checkpoint) = (scratch.path().join("storage"), scratch.path().join("checkpoint"));
    fill(&dir);
    let told = |path: &PathBuf| {
        let found = fs::metadata(path).unwrap();
        (fs::read(path).unwrap(), found.modified().unwrap(), found.nlink())
    };
    let before: Vec<_> = files(&dir, "").iter().filter(|path| path.is_file()).map(told).collect();
    look(&dir).checkpoint(&checkpoint).unwrap();
    let during: Vec<_> = files(&dir, "").iter().filter(|path| path.is_file()).map(told).collect();
    assert!(
        before
            .iter()
            .zip(&during)
            .all(|(before, during)| before.0 == during.0 && before.1 == during.1)
    );
    let links: u64 = during.iter().map(|told| told.2).sum::<u64>() - before.len() as u64;
    assert_eq!(links, files(&dir, ".sst").len() as u64);
    fs::remove_dir_all(&checkpoint).unwrap();
    let after: Vec<_> = files(&dir, "").iter().filter(|path| path.is_file()).map(told).collect();
    assert_eq!(after, before);
}

#[test]
fn no_merges_are_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let owner = open_with(dir.path(), "process", 64 << 20);
    let embedding = sgd(&owner, 2, 1.0, &[]);
    for call in 0..100 {
        let keys: Vec<i64> = (0..1000).map(|key| key * 100 + call).collect();
        embedding.apply_gradients(&keys, &[0.5; 2000]).unwrap();
    }
    // The calls fit into the owner's cache, and fill this one many times over.
    let options =
        [("read_only", Value::from(true)), ("threads", int(1)), ("cache_bytes", int(64 << 10))];
    let begun = Instant::now();
    let storage = Storage::open(dir.path(), 0, &params(&options)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let copy = tempfile::tempdir().unwrap();
    storage.checkpoint(copy.path().join("checkpoint")).unwrap();
    let files = files(&copy.path().join("checkpoint"), ".sst").len();
    assert!(files > 40, "{files} files are too few to wait for");
    assert_eq!(storage.row_count(None).unwrap(), 100_000);
}

/// Makes a file of 3 GiB that takes no room on disk.
fn sparse(path: &Path) {
    File::create(path).unwrap().set_len(3 << 30).unwrap();
}

#[test]
fn large_files_are_not_copied() {
    if let Some(dir) = std::env::var_os(CHILD) {
        // A process that writes more is killed.
        let mut limit = getrlimit(Resource::Fsize);
        limit.current = Some(64 << 20);
        setrlimit(Resource::Fsize, limit).unwrap();
        match try_to_look(Path::new(&dir)) {
            Ok(storage) => println!("seen {}", storage.row_count(None).unwrap()),
            Err(error) => println!("seen {error}"),
        }
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let [closed, left, checkpoint, foreign, empty] =
        ["closed", "left", "checkpoint", "foreign", "empty"].map(|name| scratch.path().join(name));
    fill(&closed);
    let owner = open_with(&closed, "process", 1 << 20);
    owner.checkpoint(&checkpoint).unwrap();
    copy_dir(&closed, &left);
    drop(owner);
    copy_dir(&closed, &foreign);
    fs::remove_file(foreign.join("INVENTORY")).unwrap();
    let seen = |dir: &Path| {
        let output = rerun(large_files_are_not_copied).env(CHILD, dir).output().unwrap();
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = output
            .lines()
            .find_map(|line| line.split_once("seen ").map(|(_, seen)| seen.to_owned()));
        line.unwrap_or_else(|| format!("nothing: {output}"))
    };
    for dir in [&closed, &left, &checkpoint] {
        assert_eq!(seen(dir), "2000", "{dir:?}");
        // RocksDB reads none of these.
        sparse(&dir.join("OPTIONS-999998"));
        sparse(&dir.join("MANIFEST-999999"));
    }
    fs::create_dir_all(closed.join("filters")).unwrap();
    sparse(&closed.join("filters/filters.json"));
    assert_eq!([seen(&closed), seen(&left), seen(&checkpoint)], ["2000"; 3]);
    for dir in [&closed, &left, &checkpoint, &foreign] {
        sparse(&dir.join("999999.log"));
        let seen = seen(dir);
        assert!(seen.contains("999999.log") && seen.ends_with("(CORRUPTION)"), "{dir:?}: {seen}");
    }
    fs::create_dir(&empty).unwrap();
    sparse(&empty.join("999999.log"));
    assert!(seen(&empty).ends_with("(CORRUPTION)"), "{}", seen(&empty));
}
