//! Damage to what a clear wrote does not bring rows back silently.

use std::fs;
use std::path::{Path, PathBuf};

use damo::error::{Result, Status};
use damo::params::Params;
use damo::storage::Storage;

use crate::common::journal::content;
use crate::common::{copy_dir, embed, open};

const KEYS: [i64; 4] = [-1, 0, 1, 77];

/// Makes a storage with a group that was cleared. Returns the file with the DeleteRange; the rows
/// are in another file.
fn cleared(dir: &Path) -> PathBuf {
    let storage = open(dir);
    let embeddings = [0, 1].map(|group| embed(&storage, group));
    for embedding in &embeddings {
        embedding.apply_gradients(&KEYS, &[1.0; 4]).unwrap();
    }
    storage.flush().unwrap();
    embeddings[0].clear().unwrap();
    drop((embeddings, storage));
    // Opening flushes RocksDB's log into a file.
    drop(open(dir));
    let has_deletion = |path: &PathBuf| {
        let is_table = path.extension().is_some_and(|extension| extension == "sst");
        is_table && fs::read(path).unwrap().windows(17).any(|word| word == b"rocksdb.range_del")
    };
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(has_deletion).expect("a file with the deletion")
}

fn look(dir: &Path) -> Result<(Vec<u8>, u64)> {
    let storage = Storage::open(dir, 0, &Params::new())?;
    let embedding = embed(&storage, 0);
    let mut weights = [0.0; 4];
    let mut found = [0; 4];
    embedding.peek(&KEYS, &mut weights, Some(&mut found))?;
    storage.verify().map(|verified| (found.to_vec(), verified.rows))
}

#[test]
fn a_damaged_deletion_is_corruption_or_without_effect() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("t");
    let file = cleared(&dir);
    assert_eq!(look(&dir).unwrap(), (vec![0; 4], 4));
    let name = file.file_name().unwrap();
    let len = fs::metadata(&file).unwrap().len() as usize;
    let (mut refused, mut harmless) = (0, 0);
    for at in 0..len {
        let damaged = scratch.path().join("damaged");
        copy_dir(&dir, &damaged);
        let mut bytes = fs::read(&file).unwrap();
        bytes[at] ^= 0x40;
        fs::write(damaged.join(name), bytes).unwrap();
        match look(&damaged) {
            Ok(found) => {
                assert_eq!(found, (vec![0; 4], 4), "byte {at} of {len} brings rows back");
                harmless += 1;
            }
            Err(error) => {
                assert_eq!(error.status(), Status::Corruption, "byte {at}: {error}");
                assert!(error.message().contains(&*name.to_string_lossy()), "byte {at}: {error}");
                refused += 1;
            }
        }
        fs::remove_dir_all(damaged).unwrap();
    }
    assert!(refused > len / 3, "{refused} of {len} bytes were refused, {harmless} harmless");
}

/// A journal of a later release is not reported as damaged.
#[test]
fn a_record_of_an_unknown_kind_is_refused_by_its_kind() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, killed) = (scratch.path().join("t"), scratch.path().join("killed"));
    let storage = open(&dir);
    let embedding = embed(&storage, 0);
    embedding.apply_gradients(&KEYS, &[1.0; 4]).unwrap();
    embedding.clear().unwrap();
    copy_dir(&dir, &killed);
    let files = fs::read_dir(killed.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let journal = files.max().unwrap();
    let ours = content(&journal);
    // The clear is the last entry, of 64 bytes: its checksum is at byte 0, its kind at byte 24.
    let at = ours.len() - 64;
    assert_eq!(ours[at + 24..at + 28], 8u32.to_le_bytes());
    let mut later = ours.clone();
    later[at + 24] = 99;
    let crc = crc32fast::hash(&later[at + 4..]);
    later[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    fs::write(&journal, &later).unwrap();
    let error = look(&killed).unwrap_err();
    assert_eq!(error.status(), Status::NotSupported, "{error}");
    for word in ["kind 99", "later release", &*journal.to_string_lossy()] {
        assert!(error.message().contains(word), "{error}");
    }
    // Nothing has changed: a release that knows the entry opens it.
    fs::write(&journal, &ours).unwrap();
    assert_eq!(look(&killed).unwrap(), (vec![0; 4], 0));
}
