//! Loading checkpoints: two loads at once, failed ones, other processes that open the storage, and
//! groups that are opened meanwhile. DAMO_RACES multiplies how often each race is tried.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use damo::storage::Storage;

use crate::common::{self, int, lookup, open, params, races, rerun, sgd};

/// Both loads stage their files in the same folder.
#[test]
fn two_loads_at_once_are_the_one_or_the_other() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = |name: &str| scratch.path().join(name);
    let storage = open(&dir("a"));
    let embedding = sgd(&storage, 4, 1.0, &[]);
    for number in 0..2i64 {
        // Several files make staging take a while.
        for file in 0..6 {
            let keys: Vec<i64> = (file * 2000..(file + 1) * 2000).collect();
            embedding.insert(&keys, &vec![number as f32; keys.len() * 4]).unwrap();
            storage.flush().unwrap();
        }
        storage.checkpoint(dir(&format!("cp{number}"))).unwrap();
    }
    for round in 0..8 * races() {
        std::thread::scope(|scope| {
            for number in 0..2 {
                let (storage, path) = (&storage, dir(&format!("cp{number}")));
                scope.spawn(move || {
                    if let Err(error) = storage.load_from_checkpoint(path) {
                        println!("round {round} load {number}: {error}");
                    }
                });
            }
        });
        let rows = storage.row_count(None);
        assert!(rows.as_ref().is_ok_and(|rows| *rows == 12_000), "round {round}: {rows:?}");
    }
}

/// Makes a load fail beyond the point of no return.
fn fail_to_load(dir: &Path, checkpoint: &Path, storage: &Storage) {
    // A folder that cannot be replaced, where the checkpoint's files are while they are moved.
    fs::create_dir_all(dir.join(".damo-restored").join("x")).unwrap();
    println!("{}", storage.load_from_checkpoint(checkpoint).unwrap_err());
}

#[test]
fn loading_again_after_a_failed_load_returns() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("a");
    let storage = open(&dir);
    sgd(&storage, 1, 1.0, &[]).apply_gradients(&[1], &[1.0]).unwrap();
    let checkpoint = scratch.path().join("cp");
    storage.checkpoint(&checkpoint).unwrap();
    fail_to_load(&dir, &checkpoint, &storage);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let outcome = storage.load_from_checkpoint(&checkpoint);
        let _ = sender.send(outcome.is_err());
        std::mem::forget(storage);
    });
    receiver.recv_timeout(Duration::from_secs(10)).expect("it hangs");
}

#[test]
fn nothing_is_acknowledged_after_a_failed_load() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("a");
    let storage = open(&dir);
    let embedding = sgd(&storage, 1, 1.0, &[]);
    embedding.apply_gradients(&[1], &[1.0]).unwrap();
    let checkpoint = scratch.path().join("cp");
    storage.checkpoint(&checkpoint).unwrap();
    fail_to_load(&dir, &checkpoint, &storage);
    assert!(
        embedding.apply_gradients(&[1], &[1.0]).is_err(),
        "acknowledged into a journal that is deleted"
    );
}

/// A load that fails at a filter leaves filters and rows as they were.
#[test]
fn a_load_that_fails_at_a_filter_leaves_all_as_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let storage = open(&path("a"));
    let embedding = sgd(&storage, 1, 1.0, &[]);
    let filter_path = path("f");
    let list = [("capacity", int(1000)), ("path", common::text(filter_path.to_str().unwrap()))];
    let filter = std::sync::Arc::new(damo::filter::Filter::open(&params(&list)).unwrap());
    embedding.set_filter(Some(filter)).unwrap();
    embedding.insert(&[1], &[5.0]).unwrap();
    storage.checkpoint(path("cp")).unwrap();
    embedding.insert(&[1], &[7.0]).unwrap();
    fs::create_dir(path("f.damo-new")).unwrap();
    println!("{}", storage.load_from_checkpoint(path("cp")).unwrap_err());
    assert_eq!(lookup(&embedding, &[1]), [7.0], "an error, and the rows are the checkpoint's");
}

/// A process that opens a directory repeatedly, until it is dropped.
struct Opener(Child);

impl Opener {
    fn start(test: impl Fn(), dir: &Path) -> Opener {
        let mut command = rerun(test);
        command.env(CHILD, dir);
        command.env(PARENT, std::process::id().to_string());
        Opener(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const CHILD: &str = "DAMO_LOAD_TEST_DIR";
const PARENT: &str = "DAMO_LOAD_TEST_PARENT";
/// The exit code of an opener that got in.
const STOLEN: i32 = 7;

/// In an opener: whether the test has ended, perhaps by a kill.
fn is_orphan() -> bool {
    std::env::var(PARENT).unwrap() != std::os::unix::process::parent_id().to_string()
}

/// RocksDB's lock is not held while a checkpoint is put in place: another lock keeps others out.
#[test]
fn nobody_opens_a_storage_that_is_loading_a_checkpoint() {
    if let Some(dir) = std::env::var_os(CHILD) {
        while !is_orphan() {
            if let Ok(storage) = Storage::open(&dir, 0, &params(&[])) {
                std::mem::forget(storage);
                std::process::exit(STOLEN);
            }
        }
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let storage = open(&path("a"));
    let embedding = sgd(&storage, 1, 1.0, &[]);
    for key in 0..20 {
        embedding.insert(&[key], &[5.0]).unwrap();
        storage.flush().unwrap();
    }
    storage.checkpoint(path("cp")).unwrap();
    let mut opener = Opener::start(nobody_opens_a_storage_that_is_loading_a_checkpoint, &path("a"));
    std::thread::sleep(Duration::from_millis(300));
    let mut outcomes = Vec::new();
    for _ in 0..60 {
        if let Err(error) = storage.load_from_checkpoint(path("cp")) {
            outcomes.push(error.to_string());
            break;
        }
    }
    let ended = opener.0.try_wait().unwrap();
    assert!(
        outcomes.is_empty() && ended.is_none(),
        "the opener: {ended:?} ({STOLEN}: it got in); {outcomes:?}"
    );
}

/// Other openers are not told to stop, and the data stays whole.
#[test]
fn a_second_opener_does_not_destroy_what_is_loaded() {
    if let Some(dir) = std::env::var_os(CHILD) {
        while !is_orphan() {
            drop(Storage::open(&dir, 0, &params(&[("threads", int(1))])));
        }
        return;
    }
    let mut bad = Vec::new();
    for trial in 0..4 * races() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let storage = open(&path("a"));
        let embedding = sgd(&storage, 1, 1.0, &[]);
        for key in 0..7 {
            embedding.insert(&[key], &[5.0]).unwrap();
            storage.flush().unwrap();
        }
        storage.checkpoint(path("cp")).unwrap();
        let openers = [(); 2].map(|()| {
            let test = a_second_opener_does_not_destroy_what_is_loaded;
            Opener::start(test, &path("a"))
        });
        std::thread::sleep(Duration::from_millis(100));
        let mut error = None;
        for _ in 0..40 {
            error = storage.load_from_checkpoint(path("cp")).err();
            if error.is_some() {
                break;
            }
        }
        drop(openers);
        drop((storage, embedding));
        match Storage::open(path("a"), 0, &params(&[])) {
            Ok(storage) => {
                let rows = storage.row_count(None).unwrap();
                if rows != 7 {
                    bad.push(format!("trial {trial}: {rows} rows after {error:?}"));
                }
            }
            Err(failure) => bad.push(format!("trial {trial}: {failure} after {error:?}")),
        }
    }
    for line in &bad {
        println!("{line}");
    }
    assert!(bad.is_empty());
}

/// Others may open groups between the load's look at the checkpoint and the moment when calls stop.
#[test]
fn a_group_that_is_opened_during_a_load_is_not_the_checkpoints_of_another_dim() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let group = |storage: &Storage, dim| {
        let (one, zeros) = (common::optimizer("sgd", &[]), common::initializer("zeros", &[]));
        damo::embedding::Embedding::new(storage.clone(), one, zeros, dim, 9, &params(&[]))
    };
    {
        let storage = open(&path("other"));
        group(&storage, 2).unwrap().insert(&[1], &[5.0; 2]).unwrap();
        storage.checkpoint(path("cp")).unwrap();
    }
    let mut outcomes = [0; 2];
    for round in 0..40 * races() {
        let storage = open(&path(&format!("a{round}")));
        let (loaded, opened) = std::thread::scope(|scope| {
            let load = scope.spawn(|| storage.load_from_checkpoint(path("cp")));
            std::thread::sleep(Duration::from_micros(500 * round));
            let opened = group(&storage, 3);
            (load.join().unwrap(), opened)
        });
        assert!(loaded.is_ok() != opened.is_ok(), "round {round}: {loaded:?}, {opened:?}");
        if let Ok(opened) = &opened {
            assert_eq!(lookup(opened, &[1]), [0.0; 3]);
        }
        outcomes[usize::from(loaded.is_ok())] += 1;
        storage.row_count(None).unwrap();
    }
    println!("refused, loaded: {outcomes:?}");
}
