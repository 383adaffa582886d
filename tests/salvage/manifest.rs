//! A MANIFEST that is whole by its checksums but not the latest: no row is lost, and none comes
//! back in an older version.

use std::fs;
use std::path::{Path, PathBuf};

use damo::embedding::Embedding;
use damo::storage::{Storage, salvage};

use crate::common::{copy_dir, open, sgd};
use crate::{by_suffix, content, files, handed_over, manifest_of};

/// The end of each record of a MANIFEST, all of which are in its first block.
fn ends(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    assert!(bytes.len() < 32 << 10);
    let (mut at, mut ends) = (0, Vec::new());
    while at < bytes.len() {
        at += 7 + u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]) as usize;
        ends.push(at as u64);
    }
    ends
}

/// Writes each row into four files, with more updates each time; the last file deletes one row and
/// has a new one.
fn write_rounds(dir: &Path, between: impl Fn(usize)) -> (Storage, Embedding) {
    let storage = open(dir);
    let ones = sgd(&storage, 2, 0.5, &[]);
    let keys: Vec<i64> = (0..50).collect();
    for round in 0..4 {
        ones.apply_gradients(&keys, &[1.0; 100]).unwrap();
        if round == 3 {
            ones.delete(&[7]).unwrap();
            ones.insert(&[100], &[5.0; 2]).unwrap();
        }
        storage.flush().unwrap();
        between(round);
    }
    (storage, ones)
}

struct Case {
    scratch: tempfile::TempDir,
    dir: PathBuf,
}

impl Case {
    /// Damages a copy of `state`, and expects the whole content from it.
    fn check(&self, state: &Path, damage: impl FnOnce(&Path)) {
        let [copy, out, opened] =
            ["copy", "out", "opened"].map(|name| self.scratch.path().join(name));
        copy_dir(state, &opened);
        let expected = content(&opened);
        copy_dir(state, &copy);
        damage(&copy);
        let before = files(&copy);
        let salvaged = salvage(&copy, &out, None, |_| ()).unwrap();
        assert!(files(&copy) == before, "the damaged storage was changed");
        assert!(!salvaged.is_whole() && salvaged.damage.len() == 1, "{salvaged:?}");
        assert_eq!((salvaged.files_lost, salvaged.rows_in_doubt), (0, 0), "{salvaged:?}");
        assert_eq!(content(&out), expected, "{salvaged:?}");
        [copy, out, opened].iter().for_each(|dir| fs::remove_dir_all(dir).unwrap());
    }
}

#[test]
fn a_manifest_that_lost_its_end_hides_no_file() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("storage");
    let killed = scratch.path().join("killed");
    let open_ones = write_rounds(&dir, |_| ());
    copy_dir(&dir, &killed);
    drop(open_ones);
    let case = Case { scratch, dir };
    for state in [&case.dir, &killed] {
        let ends = ends(&manifest_of(state));
        let cut = |dir: &Path, end: u64| {
            fs::File::options().write(true).open(manifest_of(dir)).unwrap().set_len(end).unwrap();
        };
        assert!(ends.len() > 8, "{ends:?}");
        for end in &ends[3..ends.len() - 1] {
            case.check(state, |dir| cut(dir, *end));
        }
        // Without the inventory the handed-over files tell.
        for end in &ends[ends.len() - 6..ends.len() - 1] {
            case.check(state, |dir| {
                cut(dir, *end);
                fs::remove_file(dir.join("INVENTORY")).unwrap();
            });
        }
    }
}

#[test]
fn an_older_manifest_that_was_put_back_hides_no_file() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, old) = (scratch.path().join("storage"), scratch.path().join("old"));
    drop(write_rounds(&dir, |round| {
        if round == 1 {
            copy_dir(&dir, &old);
        }
    }));
    // The same MANIFEST with fewer records; then one of an earlier opening.
    let case = Case { scratch, dir };
    let put_back = |dir: &Path| {
        let manifest = manifest_of(&old);
        fs::copy(&manifest, dir.join(manifest.file_name().unwrap())).unwrap();
        fs::copy(old.join("CURRENT"), dir.join("CURRENT")).unwrap();
    };
    case.check(&case.dir, put_back);
    drop(open(&case.dir));
    assert_ne!(manifest_of(&case.dir).file_name(), manifest_of(&old).file_name());
    case.check(&case.dir, put_back);
    case.check(&case.dir, |dir| {
        put_back(dir);
        fs::remove_file(dir.join("INVENTORY")).unwrap();
    });
}

/// A checkpoint has its own MANIFEST and list, and is whole.
#[test]
fn a_checkpoint_is_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let [dir, checkpoint, out] =
        ["storage", "checkpoint", "out"].map(|name| scratch.path().join(name));
    let (storage, ones) = write_rounds(&dir, |_| ());
    storage.checkpoint(&checkpoint).unwrap();
    drop((storage, ones));
    let before = files(&checkpoint);
    let salvaged = salvage(&checkpoint, &out, None, |_| ()).unwrap();
    assert!(salvaged.is_whole(), "{salvaged:?}");
    assert!(files(&checkpoint) == before);
    assert_eq!(content(&out), content(&dir));
}

/// The output of a merge that a kill interrupted has no end, or is not in the MANIFEST, which lists
/// the inputs.
#[test]
fn files_that_were_being_merged_are_not_missed() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, out) = (scratch.path().join("storage"), scratch.path().join("out"));
    let expected = {
        let (storage, ones) = write_rounds(&dir, |_| ());
        drop((storage, ones));
        content(&dir)
    };
    let merged = scratch.path().join("merged");
    copy_dir(&dir, &merged);
    open(&merged).compact().unwrap();
    let is_merged = |path: &PathBuf| fs::metadata(path).unwrap().len() > 1500;
    let new = by_suffix(&merged, ".sst").into_iter().rfind(is_merged).unwrap();
    assert!(!handed_over(&merged).contains(&new), "it was merged");
    let bytes = fs::read(&new).unwrap();
    for len in [0, bytes.len() / 2, bytes.len()] {
        fs::write(dir.join("000900.sst"), &bytes[..len]).unwrap();
        let salvaged = salvage(&dir, &out, None, |_| ()).unwrap();
        assert!(salvaged.is_whole(), "{len}: {salvaged:?}");
        assert_eq!(content(&out), expected);
        fs::remove_dir_all(&out).unwrap();
    }
    // Once the inputs are gone, the output has their rows.
    handed_over(&dir).iter().for_each(|path| fs::remove_file(path).unwrap());
    let salvaged = salvage(&dir, &out, None, |_| ()).unwrap();
    assert!(!salvaged.is_whole() && salvaged.damage[0].starts_with("000900.sst"), "{salvaged:?}");
    assert_eq!(content(&out).rows, expected.rows, "{salvaged:?}");
}
