//! Calls that only the journal has, when the document of the journal is lost or another journal is
//! in its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use damo::storage::{Storage, salvage};

use crate::common::{copy_dir, journal, open, params, sgd, text};
use crate::{Content, Scene, by_suffix, content, files, flip, manifest_of};

/// A storage that was closed once, and then killed this many times, each time with calls after the
/// last flush.
fn killed(scratch: &Path, kills: usize) -> (PathBuf, Content) {
    let keys: Vec<i64> = (0..50).collect();
    let mut dir = scratch.join("closed");
    {
        let storage = open(&dir);
        sgd(&storage, 2, 0.5, &[]).apply_gradients(&keys, &[1.0; 100]).unwrap();
    }
    for kill in 0..kills {
        let storage = open(&dir);
        let ones = sgd(&storage, 2, 0.5, &[]);
        for _ in 0..5 {
            ones.apply_gradients(&keys, &[1.0; 100]).unwrap();
        }
        ones.insert(&[1000], &[9.0; 2]).unwrap();
        ones.delete(&[7]).unwrap();
        dir = scratch.join(format!("killed-{kill}"));
        copy_dir(&storage_dir(scratch, kill), &dir);
        drop((ones, storage));
    }
    let opened = scratch.join("opened");
    copy_dir(&dir, &opened);
    let content = content(&opened);
    fs::remove_dir_all(opened).unwrap();
    (dir, content)
}

fn storage_dir(scratch: &Path, kill: usize) -> PathBuf {
    match kill {
        0 => scratch.join("closed"),
        kill => scratch.join(format!("killed-{}", kill - 1)),
    }
}

fn log(dir: &Path) -> PathBuf {
    by_suffix(dir, ".log").pop().unwrap()
}

type Damage = Box<dyn Fn(&Path)>;

/// The beginning of each record of a log, all of which are in its first block.
fn begins(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut begins) = (0, Vec::new());
    while at < bytes.len() {
        begins.push(at);
        at += 7 + u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]) as usize;
    }
    begins
}

#[test]
fn without_the_latest_record_all_calls_are_made_again() {
    for kills in [1, 2, 3] {
        let scratch = tempfile::tempdir().unwrap();
        let (dir, expected) = killed(scratch.path(), kills);
        let mut damages: Vec<(String, Damage)> = vec![
            ("gone".to_owned(), Box::new(|dir| fs::remove_file(log(dir)).unwrap())),
            ("empty".to_owned(), Box::new(|dir| fs::write(log(dir), "").unwrap())),
            (
                "gone with the MANIFEST".to_owned(),
                Box::new(|dir| {
                    fs::remove_file(log(dir)).unwrap();
                    fs::remove_file(manifest_of(dir)).unwrap();
                }),
            ),
        ];
        for at in begins(&log(&dir)) {
            damages
                .push((format!("flipped at {at}"), Box::new(move |dir| flip(&log(dir), at + 30))));
        }
        assert!(damages.len() > 4);
        for (what, damage) in damages {
            let [copy, out] = ["copy", "out"].map(|name| scratch.path().join(name));
            copy_dir(&dir, &copy);
            damage(&copy);
            let before = files(&copy);
            let salvaged = salvage(&copy, &out, None, |_| ()).unwrap();
            assert!(files(&copy) == before, "the damaged storage was changed");
            assert!(!salvaged.is_whole(), "{what}: {salvaged:?}");
            assert!(
                salvaged.calls_applied >= 7 && salvaged.calls_left_out == 0,
                "{what}: {salvaged:?}"
            );
            assert_eq!(content(&out).rows, expected.rows, "{kills}, {what}: {salvaged:?}");
            [copy, out].iter().for_each(|dir| fs::remove_dir_all(dir).unwrap());
        }
    }
}

/// Salvage does not miss files of the journal that were deleted, even if the document of that is
/// lost.
#[test]
fn files_that_were_deleted_are_not_waited_for_when_the_record_of_that_is_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let [dir, copy, opened, out] =
        ["storage", "copy", "opened", "out"].map(|name| scratch.path().join(name));
    let storage = open(&dir);
    let ones = sgd(&storage, 2, 0.5, &[]);
    let keys: Vec<i64> = (0..50).collect();
    for _ in 0..6 {
        ones.apply_gradients(&keys, &[1.0; 100]).unwrap();
        storage.flush().unwrap();
    }
    ones.apply_gradients(&keys, &[1.0; 100]).unwrap();
    [&copy, &opened].iter().for_each(|to| copy_dir(&dir, to));
    let expected = content(&opened);
    let log = log(&copy);
    let begins = begins(&log);
    // All documents of the journal but the first of this log.
    begins[begins.len() / 2..].iter().for_each(|at| flip(&log, at + 30));
    let salvaged = salvage(&copy, &out, None, |_| ()).unwrap();
    assert!(!salvaged.is_whole() && salvaged.calls_applied > 0, "{salvaged:?}");
    assert!(
        salvaged.damage.iter().any(|told| told.contains("the record that said so is")),
        "{salvaged:?}"
    );
    assert_eq!(content(&out).rows, expected.rows, "{salvaged:?}");
}

/// A missing newest file leaves no gap, but the file before it tells that it existed.
#[test]
fn a_newest_file_that_is_gone_is_told() {
    let scene = Scene::new();
    let (salvaged, found) = scene.salvage(|dir| {
        let path = by_suffix(dir, ".journal").pop().unwrap();
        let mut bytes = journal::content(&path);
        let u64_at =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (mut at, mut last) = (journal::header_len(&bytes), 0);
        while at < bytes.len() {
            last = u64_at(&bytes, at + 16);
            at += 64 + u64_at(&bytes, at + 8) as usize;
        }
        // The entry that ends a file once there is a next one.
        let mut end = [0; 64];
        end[16..24].copy_from_slice(&(last + 1).to_le_bytes());
        end[24] = 6;
        let sum = crc32fast::hash(&end[4..]);
        end[..4].copy_from_slice(&sum.to_le_bytes());
        bytes.extend(end);
        fs::write(path, journal::cut(&bytes, bytes.len())).unwrap();
    });
    assert_eq!(salvaged.damage.len(), 1, "{salvaged:?}");
    assert!(salvaged.damage[0].contains("the file that follows call"), "{salvaged:?}");
    assert_eq!(found, scene.expected);
}

/// The directory's own journal counts more about a group than another directory.
#[test]
fn a_likeness_does_not_override_the_journal() {
    let scene = Scene::new();
    let [other, dir, out] = ["other", "damaged", "out"].map(|name| scene.scratch.path().join(name));
    {
        let storage = open(&other);
        sgd(&storage, 8, 0.5, &[]).apply_gradients(&[1], &[1.0; 8]).unwrap();
    }
    copy_dir(&scene.scratch.path().join("killed"), &dir);
    for suffix in [".log", "CURRENT"] {
        by_suffix(&dir, suffix).iter().for_each(|path| fs::remove_file(path).unwrap());
    }
    for like in [None, Some(other.as_path())] {
        let salvaged = salvage(&dir, &out, like, |_| ()).unwrap();
        assert_eq!(salvaged.rows_refused, 0, "{like:?}: {salvaged:?}");
        assert_eq!(content(&out).rows, scene.expected.rows, "{like:?}: {salvaged:?}");
        fs::remove_dir_all(&out).unwrap();
    }
}

/// Another storage's journal, in which the group has another layout.
#[test]
fn calls_of_another_layout_are_told_and_left_out() {
    let scene = Scene::new();
    let other = tempfile::tempdir().unwrap();
    let storage = open(other.path());
    let wide = sgd(&storage, 8, 0.5, &[]);
    for _ in 0..40 {
        wide.apply_gradients(&[1], &[1.0; 8]).unwrap();
    }
    let journal = fs::read(by_suffix(other.path(), ".journal").pop().unwrap()).unwrap();
    let (salvaged, found) = scene.salvage(|dir| {
        by_suffix(dir, ".journal").iter().for_each(|path| fs::remove_file(path).unwrap());
        fs::write(dir.join("journal/00000000000000000001.journal"), &journal).unwrap();
    });
    assert!(
        (1..40).contains(&salvaged.calls_left_out) && salvaged.calls_applied == 0,
        "{salvaged:?}"
    );
    assert!(
        salvaged.damage.iter().any(|told| told.contains("calls of group 0 were left out")),
        "{salvaged:?}"
    );
    assert_eq!(found.rows, scene.on_disk.rows, "{salvaged:?}");
}

/// Rows that had expired by the storage's time stay expired in the new storage, whatever the clock
/// says. The time is in the documents, or only in the journal.
#[test]
fn the_time_comes_along() {
    const DAY_MS: u64 = 86_400_000;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let with_ttl = |dir: &Path, durability: &str| {
        let options = params(&[("durability", text(durability))]);
        Storage::open(dir, 10 * 86_400, &options).unwrap()
    };
    for durability in ["process", "checkpoint"] {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let storage = with_ttl(&at("closed"), durability);
        sgd(&storage, 2, 0.5, &[]).insert(&[1, 2, 3], &[1.0; 6]).unwrap();
        storage.flush().unwrap();
        storage.set_clock_for_test(now + 40 * DAY_MS).unwrap();
        sgd(&storage, 2, 0.5, &[]).insert(&[4], &[1.0; 2]).unwrap();
        if durability == "process" {
            copy_dir(&at("closed"), &at("killed"));
        }
        drop(storage);
        for name in ["closed", "killed"].into_iter().filter(|name| at(name).exists()) {
            assert!(salvage(&at(name), &at("out"), None, |_| ()).unwrap().is_whole());
            let storage = with_ttl(&at("out"), durability);
            assert_eq!(storage.row_count(None).unwrap(), 1, "{durability}, {name}");
            let ones = sgd(&storage, 2, 0.5, &[]);
            ones.apply_gradients(&[1], &[1.0; 2]).unwrap();
            let record = ones.record(1).unwrap();
            assert_eq!((record.update_num, record.update_time), (1, now + 40 * DAY_MS), "{name}");
            drop((ones, storage));
            fs::remove_dir_all(at("out")).unwrap();
        }
    }
}
