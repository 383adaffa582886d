//! Salvage: whatever file is damaged, every readable row gets into a fresh storage, what is lost is
//! counted, and the damaged directory stays byte for byte as it is.

#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod journal;
mod manifest;
mod refused;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{copy_dir, float, initializer, int, open, optimizer, params, sgd, text, walk};
use damo::embedding::Embedding;
use damo::storage::{Salvaged, Storage, salvage};

/// Update count and floats of each row, and the step and name of each group.
#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    rows: BTreeMap<(u16, i64), (u64, u64, Vec<u32>)>,
    groups: BTreeMap<u16, (i64, Option<String>)>,
}

fn content(dir: &Path) -> Content {
    let storage = open(dir);
    let mut content = Content::default();
    let mut rows = storage.rows(None).unwrap();
    while let Some(row) = rows.next_row().unwrap() {
        let floats = row.data.iter().map(|float| float.to_bits()).collect();
        content.rows.insert((row.group, row.key), (row.update_num, row.update_time, floats));
    }
    for group in storage.groups() {
        content.groups.insert(group.id(), (group.step(), group.name()));
    }
    content
}

/// Every file of a directory, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = walk(dir).into_iter().filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

fn adam(storage: &Storage) -> Embedding {
    let adam = optimizer("adam", &[("gamma", float(0.01))]);
    let normal = initializer("random_normal", &[("stddev", float(0.1))]);
    let options = params(&[("duplicates", text("sum")), ("name", text("users"))]);
    Embedding::new(storage.clone(), adam, normal, 4, 3, &options).unwrap()
}

struct Scene {
    scratch: tempfile::TempDir,
    /// A killed process's content: rows in several files, and calls that only the journal has.
    expected: Content,
    /// The content without the calls that only the journal has.
    on_disk: Content,
}

impl Scene {
    fn new() -> Scene {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("live");
        let storage = open(&dir);
        let (ones, users) = (sgd(&storage, 2, 0.5, &[]), adam(&storage));
        let keys = |from: i64| (from..from + 600).collect::<Vec<i64>>();
        for round in 0..4 {
            ones.apply_gradients(&keys(round * 300), &[1.0; 1200]).unwrap();
            users.apply_gradients(&keys(round * 200), &[0.25; 2400]).unwrap();
            users.delete(&[round * 200 + 7]).unwrap();
            storage.flush().unwrap();
        }
        copy_dir(&dir, &scratch.path().join("flushed"));
        for round in 0..3 {
            ones.apply_gradients(&keys(round * 400), &[1.0; 1200]).unwrap();
            users.apply_gradients(&keys(round * 100 + 5000), &[0.25; 2400]).unwrap();
            ones.insert(&[-round, 5], &[7.0; 4]).unwrap();
            users.delete(&[20 + round]).unwrap();
        }
        copy_dir(&dir, &scratch.path().join("killed"));
        drop((ones, users, storage));
        let opened = |name: &str| {
            let copy = scratch.path().join("opened");
            copy_dir(&scratch.path().join(name), &copy);
            let content = content(&copy);
            fs::remove_dir_all(&copy).unwrap();
            content
        };
        let (expected, on_disk) = (opened("killed"), opened("flushed"));
        Scene { scratch, expected, on_disk }
    }

    /// Damages a copy, and salvages it.
    fn salvage(&self, damage: impl FnOnce(&Path)) -> (Salvaged, Content) {
        let dir = self.scratch.path().join("damaged");
        let out = self.scratch.path().join("out");
        copy_dir(&self.scratch.path().join("killed"), &dir);
        damage(&dir);
        let before = files(&dir);
        let salvaged = salvage(&dir, &out, None, |_| ()).unwrap();
        assert!(files(&dir) == before, "the damaged storage was changed");
        let mut names: Vec<_> =
            fs::read_dir(self.scratch.path()).unwrap().map(|x| x.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(
            names,
            ["damaged", "flushed", "killed", "live", "out"],
            "something was left behind"
        );
        let content = content(&out);
        assert_eq!(salvaged.rows, content.rows.len() as u64);
        fs::remove_dir_all(&dir).unwrap();
        fs::remove_dir_all(&out).unwrap();
        (salvaged, content)
    }

    /// Nothing new was made up, and at least what is missing or older is reported as lost.
    fn check_part(&self, salvaged: &Salvaged, found: &Content) {
        assert!(!salvaged.is_whole(), "{salvaged:?}");
        assert!(!salvaged.damage.is_empty(), "{salvaged:?}");
        for (key, row) in &found.rows {
            let (latest, earlier) = (self.expected.rows.get(key), self.on_disk.rows.get(key));
            let is_one = latest == Some(row) || earlier == Some(row);
            // An older version has fewer updates, or the row was deleted.
            let is_older = latest.is_none_or(|latest| row.0 < latest.0);
            assert!(
                is_one || (is_older && salvaged.rows_in_doubt > 0),
                "{key:?}: {row:?}, not {latest:?}: {salvaged:?}"
            );
        }
    }
}

fn by_suffix(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        files(dir).into_keys().filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    found.sort();
    found
}

/// The last position of bytes in a file.
fn find(path: &Path, bytes: &[u8]) -> Option<usize> {
    fs::read(path).unwrap().windows(bytes.len()).rposition(|found| found == bytes)
}

/// The largest SST file.
fn largest(dir: &Path) -> PathBuf {
    let len = |path: &PathBuf| fs::metadata(path).unwrap().len();
    by_suffix(dir, ".sst").into_iter().max_by_key(len).unwrap()
}

/// The SST files that rounds handed over and that were not merged.
fn handed_over(dir: &Path) -> Vec<PathBuf> {
    by_suffix(dir, ".sst")
        .into_iter()
        .filter(|path| find(path, b"external_sst_file").is_some())
        .collect()
}

/// Damages the properties of an SST file.
fn flip_properties(path: &Path) {
    flip(path, find(path, b"um.data.blocks").unwrap());
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn manifest_of(dir: &Path) -> PathBuf {
    dir.join(fs::read_to_string(dir.join("CURRENT")).unwrap().trim())
}

#[test]
fn what_is_not_damaged_comes_whole() {
    let scene = Scene::new();
    assert!(scene.expected != scene.on_disk && scene.expected.rows.len() > 1500);
    let (salvaged, found) = scene.salvage(|_| ());
    assert!(salvaged.is_whole(), "{salvaged:?}");
    assert_eq!(found, scene.expected);
    assert!(salvaged.calls_applied >= 12 && salvaged.files_read >= 4, "{salvaged:?}");
    // A closed storage salvages whole, too.
    let closed = scene.scratch.path().join("live");
    let out = scene.scratch.path().join("out");
    let before = files(&closed);
    assert!(salvage(&closed, &out, None, |_| ()).unwrap().is_whole());
    assert!(files(&closed) == before);
    assert_eq!(content(&out), scene.expected);
}

/// Without INVENTORY, CURRENT or MANIFEST, the SST files themselves tell which version is newer.
#[test]
fn without_what_says_which_files_count_no_row_is_lost() {
    let scene = Scene::new();
    let (salvaged, found) = scene.salvage(|dir| fs::remove_file(dir.join("INVENTORY")).unwrap());
    assert!(salvaged.is_whole() && found == scene.expected, "{salvaged:?}");
    let damages: [fn(&Path); 4] = [
        |dir| fs::remove_file(dir.join("CURRENT")).unwrap(),
        |dir| fs::write(dir.join("CURRENT"), "nonsense").unwrap(),
        |dir| fs::remove_file(manifest_of(dir)).unwrap(),
        |dir| flip(&manifest_of(dir), 20),
    ];
    for damage in damages {
        let (salvaged, found) = scene.salvage(damage);
        assert!(!salvaged.is_whole() && salvaged.damage.len() == 1, "{salvaged:?}");
        assert_eq!(found, scene.expected, "{salvaged:?}");
    }
}

#[test]
fn a_damaged_block_costs_its_rows_and_no_others() {
    let scene = Scene::new();
    let count = by_suffix(&scene.scratch.path().join("killed"), ".sst").len();
    for index in 0..count {
        let mut is_documents = false;
        let (salvaged, found) = scene.salvage(|dir| {
            let file = &by_suffix(dir, ".sst")[index];
            is_documents = fs::metadata(file).unwrap().len() < 4000;
            flip(file, 500);
        });
        if is_documents {
            continue;
        }
        assert_eq!((salvaged.blocks_lost, salvaged.files_lost), (1, 0), "{salvaged:?}");
        assert!((10..300).contains(&salvaged.entries_lost), "{salvaged:?}");
        scene.check_part(&salvaged, &found);
        let missing =
            scene.expected.rows.keys().filter(|key| !found.rows.contains_key(key)).count();
        assert!(
            missing as u64 <= salvaged.entries_lost,
            "{missing} rows are missing: {salvaged:?}"
        );
        assert_eq!(found.groups, scene.expected.groups);
    }
}

#[test]
fn a_file_that_is_gone_or_cut_off_costs_its_rows_and_no_others() {
    let scene = Scene::new();
    let count = by_suffix(&scene.scratch.path().join("killed"), ".sst").len();
    for index in 0..count {
        for is_gone in [true, false] {
            let (salvaged, found) = scene.salvage(|dir| {
                let file = &by_suffix(dir, ".sst")[index];
                match is_gone {
                    true => fs::remove_file(file).unwrap(),
                    false => fs::write(file, &fs::read(file).unwrap()[..1000]).unwrap(),
                }
            });
            scene.check_part(&salvaged, &found);
            assert_eq!(found.groups.len(), 2, "{salvaged:?}");
        }
    }
}

#[test]
fn calls_are_made_again_up_to_the_first_damage() {
    let scene = Scene::new();
    let journal = |dir: &Path| by_suffix(dir, ".journal").pop().unwrap();
    let bytes = common::journal::content(&journal(&scene.scratch.path().join("killed")));
    let (header, len) = (common::journal::header_len(&bytes), bytes.len());
    let mut applied = Vec::new();
    for at in [header + 16, len / 3, len / 2, len - 100] {
        let (salvaged, found) = scene.salvage(|dir| flip(&journal(dir), at));
        assert!(!salvaged.is_whole() && salvaged.damage.len() == 1, "{salvaged:?}");
        applied.push(salvaged.calls_applied);
        // Salvage stops where a kill right before the damaged entry would have.
        let (_, rest) = salvaged.damage[0].split_once("at byte ").unwrap();
        let end: usize = rest.split(':').next().unwrap().parse().unwrap();
        let cut = scene.scratch.path().join("cut");
        copy_dir(&scene.scratch.path().join("killed"), &cut);
        fs::write(journal(&cut), common::journal::cut(&bytes, end)).unwrap();
        assert_eq!(found, content(&cut), "{at}");
        fs::remove_dir_all(cut).unwrap();
    }
    assert!(applied.is_sorted() && applied[0] < applied[3], "{applied:?}");
    // Without any journal the rows are those on disk.
    let (salvaged, found) = scene.salvage(|dir| fs::remove_file(journal(dir)).unwrap());
    scene.check_part(&salvaged, &found);
    assert_eq!(found.rows, scene.on_disk.rows);
}

#[test]
fn a_log_that_is_damaged_costs_no_row() {
    let scene = Scene::new();
    let logs = by_suffix(&scene.scratch.path().join("killed"), ".log").len();
    for index in 0..logs {
        let mut is_empty = false;
        let (salvaged, found) = scene.salvage(|dir| {
            let log = &by_suffix(dir, ".log")[index];
            is_empty = fs::metadata(log).unwrap().len() < 30;
            if !is_empty {
                flip(log, 20);
            }
        });
        if is_empty {
            continue;
        }
        assert!(!salvaged.is_whole(), "{salvaged:?}");
        // The journal describes groups, too, but without their names.
        let keys = |content: &Content| content.rows.keys().copied().collect::<Vec<_>>();
        assert_eq!(keys(&found), keys(&scene.expected), "{salvaged:?}");
    }
}

/// A closed storage of 40,000 rows in files with an index of two levels, like large tables.
fn make_large_table(dir: &Path) -> Content {
    let options = params(&[("cache_bytes", int(64 << 10))]);
    let keys: Vec<i64> = (0..40_000).collect();
    {
        let storage = Storage::open(dir, 0, &options).unwrap();
        sgd(&storage, 2, 0.5, &[]).apply_gradients(&keys, &vec![0.0; 80_000]).unwrap();
        storage.flush().unwrap();
    }
    Storage::open(dir, 0, &options).unwrap().compact().unwrap();
    content(dir)
}

#[test]
fn files_of_large_tables_are_read_too() {
    let scratch = tempfile::tempdir().unwrap();
    let [dir, out] = ["storage", "out"].map(|name| scratch.path().join(name));
    let expected = make_large_table(&dir);
    assert_eq!(expected.rows.len(), 40_000);
    assert!(salvage(&dir, &out, None, |_| ()).unwrap().is_whole());
    assert_eq!(content(&out), expected);
    fs::remove_dir_all(&out).unwrap();
    let file = largest(&dir);
    let bytes = fs::read(&file).unwrap();
    assert!(
        bytes.windows(12).any(|name| name == b"rocksdb.inde"),
        "the index is not where it was looked for"
    );
    // Damage in turn: rows, filters, and the parts of the index behind them. The top of the index,
    // without which nothing of the file is read, is in the last 2,500 bytes.
    let mut lost = 0;
    let (len, end) = (bytes.len(), bytes.len() - 2500);
    for at in (1000..end).step_by(len / 8).chain((end - len / 10..end).step_by(len / 90)) {
        flip(&file, at);
        let salvaged = salvage(&dir, &out, None, |_| ()).unwrap();
        let found = content(&out);
        assert!(found.rows.iter().all(|(key, row)| expected.rows.get(key) == Some(row)));
        let missing = (expected.rows.len() - found.rows.len()) as u64;
        assert_eq!(missing, salvaged.entries_lost, "{at}: {salvaged:?}");
        assert!(missing < 20_000, "{at}: {salvaged:?}");
        lost += u64::from(missing > 0);
        fs::remove_dir_all(&out).unwrap();
        flip(&file, at);
    }
    assert!(lost > 8, "{lost}");
}

/// An early build of damo compressed rows.
#[test]
fn compressed_files_are_read_too() {
    let scratch = tempfile::tempdir().unwrap();
    let [dir, out] = ["storage", "out"].map(|name| scratch.path().join(name));
    copy_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats/lz4"), &dir);
    assert!(salvage(&dir, &out, None, |_| ()).unwrap().is_whole());
    let expected = content(&dir);
    assert_eq!((content(&out), expected.rows.len()), (expected, 400));
}

/// The tool's exit code tells whether anything was lost.
#[test]
fn the_tool_tells_what_was_lost() {
    let scene = Scene::new();
    let [dir, out] = ["killed", "out"].map(|name| scene.scratch.path().join(name));
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_damo"));
        let output = command.arg("salvage").args([&dir, &out]).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&["--json"]);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, told["whole"].as_bool()), (0, Some(true)), "{text}");
    assert_eq!(told["rows"].as_u64().unwrap(), scene.expected.rows.len() as u64);
    assert_eq!(run(&[]).0, 6, "out is there");
    fs::remove_dir_all(&out).unwrap();
    flip(&by_suffix(&dir, ".sst")[1], 500);
    let (code, text) = run(&[]);
    assert_eq!(code, 7, "{text}");
    assert!(text.contains("blocks lost") && text.contains("block 0 is damaged"), "{text}");
}

/// A young closed storage has the descriptions of its groups in the log only.
#[test]
fn descriptions_of_groups_are_read_behind_damage_and_can_be_had_elsewhere() {
    let scene = Scene::new();
    let [closed, out, checkpoint] =
        ["live", "out", "checkpoint"].map(|name| scene.scratch.path().join(name));
    open(&closed).checkpoint(&checkpoint).unwrap();
    let expected = content(&closed);
    let log = by_suffix(&closed, ".log")
        .into_iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let len = fs::metadata(&log).unwrap().len() as usize;
    let mut whole = 0;
    for at in (10..len).step_by(len / 8) {
        flip(&log, at);
        let salvaged = salvage(&closed, &out, None, |_| ()).unwrap();
        assert!(!salvaged.is_whole());
        let found = content(&out);
        assert!(
            found.rows.iter().all(|(key, row)| expected.rows.get(key) == Some(row)),
            "{salvaged:?}"
        );
        let missing = expected.rows.len() - found.rows.len();
        assert!(missing == 0 || salvaged.rows_refused >= missing as u64, "{salvaged:?}");
        whole += usize::from(missing == 0);
        fs::remove_dir_all(&out).unwrap();
        // A checkpoint provides the descriptions of the groups.
        let before = files(&checkpoint);
        salvage(&closed, &out, Some(&checkpoint), |_| ()).unwrap();
        assert!(files(&checkpoint) == before);
        assert_eq!(content(&out).rows, expected.rows, "{at}");
        fs::remove_dir_all(&out).unwrap();
        flip(&log, at);
    }
    assert!(whole > 4, "{whole}");
    // A missing log is noticed, too.
    fs::remove_file(&log).unwrap();
    assert!(!salvage(&closed, &out, None, |_| ()).unwrap().is_whole());
    fs::remove_dir_all(&out).unwrap();
    let salvaged = salvage(&closed, &out, Some(&checkpoint), |_| ()).unwrap();
    assert!(!salvaged.is_whole());
    assert_eq!(content(&out).rows, expected.rows, "{salvaged:?}");
}
