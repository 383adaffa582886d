//! Opening with `read_only` shows everything, and changes not one byte.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::{Params, Value};
use damo::storage::Storage;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::common::{
    bytes_and_times, copy_dir, failure, initializer, int, is_alone, lookup, optimizer, params,
    peek, rerun, sgd,
};

const START: u64 = 1_795_000_000_000;
const CHILD: &str = "DAMO_READ_ONLY_TEST_DIR";

fn look(dir: &Path, ttl_seconds: i64) -> Storage {
    Storage::open(dir, ttl_seconds, &params(&[("read_only", Value::from(true))])).unwrap()
}

/// Calls everything that only reads.
fn look_at_everything(storage: &Storage, expected_rows: u64) {
    assert_eq!(storage.row_count(None).unwrap(), expected_rows);
    assert_eq!(storage.verify().unwrap().rows, expected_rows);
    let mut rows = storage.rows(None).unwrap();
    let mut seen = 0;
    while rows.next_row().unwrap().is_some() {
        seen += 1;
    }
    assert_eq!(seen, expected_rows);
    storage.flush().unwrap();
    storage.describe().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let checkpoint = scratch.path().join("checkpoint");
    storage.checkpoint(&checkpoint).unwrap();
    for entry in fs::read_dir(&checkpoint).unwrap() {
        assert!(!entry.unwrap().file_type().unwrap().is_symlink());
    }
    let copy = Storage::open(&checkpoint, 0, &Params::new()).unwrap();
    assert!(copy.row_count(None).unwrap() >= expected_rows);
}

/// Writes several files of rows that wait to be merged; some rows have expired.
fn fill(dir: &Path) {
    let storage = Storage::open(dir, 0, &params(&[("threads", int(1))])).unwrap();
    storage.set_clock_for_test(START).unwrap();
    let embedding = sgd(&storage, 4, 1.0, &[]);
    for file in 0..6 {
        storage.set_clock_for_test(START + file * 1000).unwrap();
        let keys: Vec<i64> = (0..500).map(|key| key * 7 + file as i64).collect();
        embedding.apply_gradients(&keys, &[0.5; 2000]).unwrap();
        storage.flush().unwrap();
    }
}

#[test]
fn a_closed_storage_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let before = bytes_and_times(dir.path());
    for (ttl_seconds, rows) in [(0, 3000), (3, 1000)] {
        let storage = look(dir.path(), ttl_seconds);
        storage.set_clock_for_test(START + 6999).unwrap();
        look_at_everything(&storage, rows);
        drop(storage);
        assert_eq!(bytes_and_times(dir.path()), before);
    }
}

#[test]
fn what_changes_rows_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let before = bytes_and_times(dir.path());
    let storage = look(dir.path(), 0);
    let embedding = sgd(&storage, 4, 1.0, &[]);
    let refused = |result: damo::error::Result<()>| {
        let error = failure(result, Status::NotSupported);
        assert!(error.message().contains("read_only"), "{error}");
    };
    refused(embedding.apply_gradients(&[1], &[0.5; 4]));
    refused(embedding.insert(&[1], &[0.5; 4]));
    refused(embedding.delete(&[1]));
    refused(embedding.set_step(7));
    refused(storage.compact());
    refused(storage.import(dir.path().join("CURRENT"), |_, _| true).map(drop));
    refused(storage.load_from_checkpoint(dir.path()));
    let options = Params::new();
    let new = Embedding::new(
        storage.clone(),
        optimizer("sgd", &[]),
        initializer("ones", &[]),
        4,
        9,
        &options,
    );
    assert!(failure(new, Status::NotFound).message().contains("group 9"));
    // A lookup of a key without a row returns its initial weights, and makes no row.
    assert_eq!(lookup(&embedding, &[0, -5]), [0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(peek(&embedding, &[0, -5]).1, [1, 0]);
    drop((embedding, storage));
    assert_eq!(bytes_and_times(dir.path()), before);
    for missing in ["missing", "journal"] {
        let path = dir.path().join(missing);
        let error = failure(
            Storage::open(&path, 0, &params(&[("read_only", Value::from(true))])),
            Status::NotFound,
        );
        assert!(error.message().contains(missing), "{error}");
    }
    assert_eq!(bytes_and_times(dir.path()), before);
}

#[test]
fn a_checkpoint_stays_one() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, checkpoint) = (scratch.path().join("storage"), scratch.path().join("checkpoint"));
    fill(&dir);
    Storage::open(&dir, 0, &Params::new()).unwrap().checkpoint(&checkpoint).unwrap();
    let before = bytes_and_times(&checkpoint);
    assert!(before.contains_key(&checkpoint.join("checkpoint.json")));
    look_at_everything(&look(&checkpoint, 0), 3000);
    assert_eq!(bytes_and_times(&checkpoint), before);
}

/// Trains one row a call, and prints how many calls have returned.
fn train_until_killed(dir: &Path) {
    let storage = Storage::open(dir, 0, &Params::new()).unwrap();
    let embedding = sgd(&storage, 2, 0.5, &[]);
    for key in 0.. {
        embedding.apply_gradients(&[key], &[1.0, 1.0]).unwrap();
        println!("ack {}", key + 1);
        if key == 999 {
            storage.flush().unwrap();
        }
    }
}

fn start<T: Fn()>(test: T, dir: &Path) -> (Child, impl Iterator<Item = u64> + use<T>) {
    let mut child = rerun(test).env(CHILD, dir).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines.filter_map(|line| line.strip_prefix("ack ").and_then(|calls| calls.parse().ok())))
}

#[test]
fn an_open_and_a_killed_storage_are_seen_whole() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return train_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut acknowledged) =
        start(an_open_and_a_killed_storage_are_seen_whole, dir.path());
    for calls in [1500, 4000, 9000] {
        let returned = acknowledged.find(|returned| *returned >= calls).unwrap();
        // Another process has it open, and goes on training.
        let storage = look(dir.path(), 0);
        let rows = storage.row_count(None).unwrap();
        assert!(rows >= returned, "{rows} of {returned}");
        let embedding = sgd(&storage, 2, 0.5, &[]);
        assert_eq!(peek(&embedding, &[calls as i64 - 1]), (vec![0.5, 0.5], vec![1]));
        let description = storage.describe().unwrap();
        assert!(
            description.contains("\"as_of_ms\":1") && description.contains("elsewhere\":true"),
            "{description}"
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let returned = acknowledged.last().unwrap_or(9000);
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), copy.path());
    let before = bytes_and_times(dir.path());
    let storage = look(dir.path(), 0);
    let rows = storage.row_count(None).unwrap();
    assert!(rows == returned || rows == returned + 1, "{rows} of {returned}");
    look_at_everything(&storage, rows);
    drop(storage);
    assert_eq!(bytes_and_times(dir.path()), before);
    // The next opening finds the same.
    assert_eq!(
        Storage::open(copy.path(), 0, &Params::new()).unwrap().row_count(None).unwrap(),
        rows
    );
}

#[test]
fn damage_is_named_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let table = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|suffix| suffix == "sst"))
        .unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[100] ^= 1;
    fs::write(&table, &bytes).unwrap();
    let error = failure(look(dir.path(), 0).verify(), Status::Corruption);
    assert!(error.message().contains(&*table.to_string_lossy()), "{error}");
    fs::write(&table, &bytes[..50]).unwrap();
    let opened = Storage::open(dir.path(), 0, &params(&[("read_only", Value::from(true))]));
    let error = failure(opened, Status::Corruption);
    assert!(error.message().contains(&*table.to_string_lossy()), "{error}");
}

#[test]
fn the_private_folder_is_locked_and_goes_with_its_process() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let _storage = look(Path::new(&dir), 0);
        println!("ack 1");
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    // Other openings would remove the folder, too.
    if !is_alone(the_private_folder_is_locked_and_goes_with_its_process) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let test = the_private_folder_is_locked_and_goes_with_its_process;
    let (mut child, mut opened) = start(test, dir.path());
    opened.next().unwrap();
    let folder = fs::canonicalize(std::env::temp_dir()).unwrap();
    let folder = folder.join(format!("damo-read-only-{}-0", child.id()));
    // systemd-tmpfiles takes this lock before it removes an old folder.
    let lock = || flock(File::open(&folder).unwrap(), FlockOperation::NonBlockingLockExclusive);
    assert_eq!(lock(), Err(Errno::WOULDBLOCK));
    let other = look(dir.path(), 0);
    assert!(folder.join("storage").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(look(dir.path(), 0).row_count(None).unwrap(), 3000);
    assert!(!folder.exists());
    assert_eq!(other.row_count(None).unwrap(), 3000);
}

/// A path in the folder for temporary files, named like the folders of openings.
fn stale(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("damo-read-only-{name}-{}", std::process::id()))
}

#[test]
fn what_others_left_keeps_no_opening_waiting() {
    // Other openings would remove it before it is complete.
    if !is_alone(what_others_left_keeps_no_opening_waiting) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let before = bytes_and_times(dir.path());
    let [pipe, link, file, held, empty, full] =
        ["pipe", "link", "file", "held", "empty", "full"].map(stale);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink(dir.path(), &link).unwrap();
    fs::write(&file, "").unwrap();
    // Killed processes have left these folders; an earlier build left other files in them.
    fs::create_dir(&empty).unwrap();
    fs::create_dir_all(full.join("storage/journal")).unwrap();
    fs::write(full.join("alive.new"), "").unwrap();
    std::os::unix::fs::symlink(dir.path().join("CURRENT"), full.join("storage/CURRENT")).unwrap();
    fs::create_dir(&held).unwrap();
    let lock = File::open(&held).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockShared).unwrap();
    assert_eq!(look(dir.path(), 0).row_count(None).unwrap(), 3000);
    let are_there =
        [&pipe, &link, &file, &held, &empty, &full].map(|path| path.symlink_metadata().is_ok());
    for path in [&pipe, &link, &file] {
        fs::remove_file(path).unwrap();
    }
    fs::remove_dir(&held).unwrap();
    assert_eq!(are_there, [true, true, true, true, false, false]);
    assert_eq!(bytes_and_times(dir.path()), before);
}
