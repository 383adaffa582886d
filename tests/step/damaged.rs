//! Damage in the part that one group has of a step, in the journal: the storage is refused, and
//! salvage has the steps before it, whole. Nothing of the damaged step is applied in any group.

use std::fs;
use std::path::{Path, PathBuf};

use damo::error::Status;
use damo::step::Step;
use damo::storage::{Storage, salvage};

use crate::common::{bytes_and_times, copy_dir, journal, open, params};
use crate::{GROUPS, Row, apply, content, embeddings};

const STEPS: i64 = 6;
const KEYS: usize = 40;
/// The bytes of the head of an entry, and of a step's table before the groups and of each group.
const ENTRY: usize = 64;
const TABLE: usize = 8;
const SECTION: usize = 40;

type Content = (Vec<Row>, Vec<i64>);

/// A killed process's directory with steps of all groups, and for each step where its entry begins
/// and ends in the journal's file, and what the storage has before it.
struct Scene {
    _scratch: tempfile::TempDir,
    dir: PathBuf,
    entries: Vec<std::ops::Range<usize>>,
    contents: Vec<Content>,
}

fn journal_of(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("journal")).unwrap();
    let mut found: Vec<_> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "journal"))
        .collect();
    found.sort();
    found.pop().unwrap()
}

impl Scene {
    fn new() -> Scene {
        let scratch = tempfile::tempdir().unwrap();
        let (live, dir) = (scratch.path().join("live"), scratch.path().join("killed"));
        let storage = open(&live);
        let mut step = Step::new(storage.clone());
        let keys: Vec<i64> = (0..KEYS as i64).collect();
        let all = embeddings(&storage, &[]);
        all.iter().for_each(|embedding| step.add(embedding, &keys, None).unwrap());
        // Reading the storage itself would bring its rows to disk.
        let content_now = |number: i64| {
            let copy = scratch.path().join(number.to_string());
            copy_dir(&live, &copy);
            content_of(&copy)
        };
        let (mut entries, mut contents) = (Vec::new(), vec![content_now(0)]);
        let len = || journal::content(&journal_of(&live)).len();
        for made in 0..STEPS {
            let before = len();
            let gradients: Vec<_> =
                GROUPS.iter().map(|(dim, _)| vec![0.5 + made as f32; dim * KEYS]).collect();
            apply(&mut step, &gradients).unwrap();
            entries.push(before..len());
            contents.push(content_now(made + 1));
        }
        copy_dir(&live, &dir);
        Scene { _scratch: scratch, dir, entries, contents }
    }

    /// A byte of each kind in the entry of a step: of the head, of the table's head, and of each
    /// group its line in the table, its keys and its floats. The entry's payload ends with the
    /// file's content or the next entry's head.
    fn places(&self, step: usize) -> Vec<(String, usize)> {
        let entry = self.entries[step].clone();
        let floats: usize = GROUPS.iter().map(|(dim, _)| 4 * dim * KEYS).sum();
        let table = TABLE + SECTION * GROUPS.len();
        let payload = entry.end - table - 8 * KEYS * GROUPS.len() - floats;
        assert!(payload >= entry.start + ENTRY);
        let mut places = vec![
            ("the entry's head".to_owned(), payload - 5),
            ("the number of groups".to_owned(), payload),
        ];
        let mut float = payload + table + 8 * KEYS * GROUPS.len();
        for (group, (dim, _)) in GROUPS.iter().enumerate() {
            let line = payload + TABLE + SECTION * group;
            for (what, at) in [("number", 0), ("configuration", 4), ("step", 8), ("rate", 16)] {
                places.push((format!("group {group}: {what}"), line + at));
            }
            places.push((format!("group {group}: how many keys"), line + 24));
            places.push((format!("group {group}: how many floats"), line + 32));
            let key = payload + table + 8 * KEYS * group;
            places.push((format!("group {group}: a key"), key + 8 * 17));
            places.push((format!("group {group}: the last key"), key + 8 * KEYS - 1));
            places.push((format!("group {group}: a float"), float + 4 * 11 + 2));
            float += 4 * dim * KEYS;
            places.push((format!("group {group}: the last float"), float - 1));
        }
        places
    }
}

fn content_of(dir: &Path) -> Content {
    content(&Storage::open(dir, 0, &params(&[])).unwrap())
}

#[test]
fn damage_in_one_group_of_a_step_takes_the_step_of_all_groups() {
    let scene = Scene::new();
    let scratch = tempfile::tempdir().unwrap();
    assert!(
        content_of(&{
            let whole = scratch.path().join("whole");
            copy_dir(&scene.dir, &whole);
            whole
        }) == scene.contents[STEPS as usize]
    );
    // The last step, one in the middle, and the first: with it, the groups' descriptions.
    for step in [STEPS as usize - 1, 2, 0] {
        for (what, at) in scene.places(step) {
            let place = format!("step {step}, {what}");
            let [copy, out] = ["copy", "out"].map(|name| scratch.path().join(name));
            copy_dir(&scene.dir, &copy);
            let path = journal_of(&copy);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            let before = bytes_and_times(&copy);
            let refused = Storage::open(&copy, 0, &params(&[])).map(|_| ());
            let error = refused.expect_err(&place);
            assert_eq!(error.status(), Status::Corruption, "{place}: {error}");
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(error.message().contains(name), "{place}: {error}");
            let after = bytes_and_times(&copy);
            let bytes = |(path, (bytes, _)): (&PathBuf, &(Vec<u8>, _))| {
                path.starts_with(copy.join("journal")).then(|| (path.clone(), bytes.clone()))
            };
            assert!(before.iter().filter_map(bytes).eq(after.iter().filter_map(bytes)), "{place}");
            let salvaged = salvage(&copy, &out, None, |_| ()).unwrap();
            assert!(!salvaged.is_whole(), "{place}: {salvaged:?}");
            assert_eq!(salvaged.calls_applied, step as u64, "{place}: {salvaged:?}");
            let found = content_of(&out);
            assert!(found.0 == scene.contents[step].0, "{place}: {salvaged:?}");
            if step > 0 {
                assert_eq!(found.1, scene.contents[step].1, "{place}: {salvaged:?}");
            }
            [copy, out].iter().for_each(|dir| fs::remove_dir_all(dir).unwrap());
        }
    }
}
