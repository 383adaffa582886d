//! A damaged checkpoint that is opened as a storage is refused, or its damage is reported when it
//! is read; its content never differs silently. Loading damaged checkpoints is in `checkpoint`.

use std::fs;
use std::path::Path;

use damo::error::{Error, Result, Status};
use damo::params::Params;
use damo::storage::Storage;

use crate::common::{copy_dir, failure, open, sgd};

type Content = Vec<(u16, i64, u64, Vec<u32>)>;

fn content(storage: &Storage) -> Result<Content> {
    let (mut rows, mut all) = (storage.rows(None)?, Vec::new());
    loop {
        match rows.next_row() {
            Ok(Some(row)) => {
                all.push((
                    row.group,
                    row.key,
                    row.update_num,
                    row.data.iter().map(|x| x.to_bits()).collect(),
                ));
            }
            Ok(None) => return Ok(all),
            Err(error) => {
                // Rows are missing from here on: the next call must not report the end.
                assert_eq!(rows.next_row().unwrap_err().message(), error.message());
                return Err(error);
            }
        }
    }
}

/// Opens a checkpoint and reads everything in every way.
fn open_and_read(dir: &Path) -> Result<Content> {
    let storage = Storage::open(dir, 0, &Params::new())?;
    let read = content(&storage);
    let verified = storage.verify();
    if let Err(error) = &read {
        assert_eq!(verified.unwrap_err().status(), error.status());
    } else {
        verified?;
    }
    read
}

#[test]
fn a_damaged_checkpoint_is_no_storage_or_says_what_is_damaged() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = |name: &str| scratch.path().join(name);
    let before = {
        let storage = open(&dir("a"));
        let embedding = sgd(&storage, 4, 0.5, &[]);
        let keys: Vec<i64> = (0..40_000).collect();
        embedding.apply_gradients(&keys, &vec![1.0; 4 * keys.len()]).unwrap();
        storage.checkpoint(dir("cp")).unwrap();
        content(&storage).unwrap()
    };
    let mut files = vec![("checkpoint.json".to_owned(), 0)];
    let list: serde_json::Value =
        serde_json::from_slice(&fs::read(dir("cp").join("checkpoint.json")).unwrap()).unwrap();
    for file in list["files"].as_array().unwrap() {
        files.push((file[0].as_str().unwrap().to_owned(), file[1].as_u64().unwrap()));
    }
    let (mut refused, mut told, mut harmless) = (0, 0, 0);
    for (name, bytes) in files {
        for damage in ["missing", "short", "half", "first", "middle", "last"] {
            let copy = dir("copy");
            let _ = fs::remove_dir_all(&copy);
            copy_dir(&dir("cp"), &copy);
            let path = copy.join(&name);
            let mut contents = fs::read(&path).unwrap();
            let len = contents.len();
            let flipped = match damage {
                "missing" => None,
                _ if len == 0 => continue,
                "short" => Some(contents[..len - 1].to_vec()),
                "half" => Some(contents[..len / 2].to_vec()),
                place => {
                    contents[match place {
                        "first" => 0,
                        "middle" => len / 2,
                        _ => len - 1,
                    }] ^= 1;
                    Some(contents)
                }
            };
            match flipped {
                None => fs::remove_file(&path).unwrap(),
                Some(contents) => fs::write(&path, contents).unwrap(),
            }
            let is_listed_wrong = bytes > 0 && ["missing", "short", "half"].contains(&damage);
            match open_and_read(&copy) {
                Ok(content) => {
                    assert!(content == before, "{name} {damage}: it holds something else");
                    assert!(!is_listed_wrong, "{name} {damage} was not noticed");
                    harmless += 1;
                }
                Err(error) => {
                    let listed = error.message().contains("when the checkpoint was made")
                        || error.message().contains("cannot be read");
                    if is_listed_wrong && !["CURRENT", "INVENTORY"].contains(&name.as_str()) {
                        assert!(listed, "{name} {damage}: {error}");
                    }
                    assert!(error.message().contains(&name), "{name} {damage}: {error}");
                    check_error(&error, &format!("{name} {damage}"));
                    if listed { refused += 1 } else { told += 1 }
                }
            }
        }
    }
    println!("{refused} refused by the list, {told} told of otherwise, {harmless} without harm");
    assert!(refused > 8 && told > 3);
    // Bits of the list itself.
    let copy = dir("copy");
    let _ = fs::remove_dir_all(&copy);
    copy_dir(&dir("cp"), &copy);
    let list = fs::read(copy.join("checkpoint.json")).unwrap();
    for (at, bit) in (0..list.len()).step_by(7).map(|at| (at, at % 8)) {
        let mut flipped = list.clone();
        flipped[at] ^= 1 << bit;
        fs::write(copy.join("checkpoint.json"), flipped).unwrap();
        let error = open_and_read(&copy).unwrap_err();
        assert!(
            error.message().contains("checkpoint.json") || error.message().contains("format"),
            "{at} {bit}: {error}"
        );
    }
    // The original is good.
    assert!(open_and_read(&dir("cp")).unwrap() == before);
}

fn check_error(error: &Error, what: &str) {
    assert_eq!(error.status(), Status::Corruption, "{what}: {error}");
    assert!(error.message().contains("copy"), "{what}: {error}");
}

/// Opening removes the list before it changes the first file: a storage that was a checkpoint loads
/// like any closed storage.
#[test]
fn a_checkpoint_that_became_a_storage_is_not_compared_with_its_list() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = |name: &str| scratch.path().join(name);
    let storage = open(&dir("a"));
    sgd(&storage, 4, 0.5, &[]).apply_gradients(&[1], &[1.0; 4]).unwrap();
    storage.checkpoint(dir("cp")).unwrap();
    let list = dir("cp").join("checkpoint.json");
    fs::write(&list, fs::read_to_string(&list).unwrap().replace("checkpoint 2", "checkpoint 3"))
        .unwrap();
    failure(Storage::open(dir("cp"), 0, &Params::new()).map(drop), Status::NotSupported);
    fs::write(&list, fs::read_to_string(&list).unwrap().replace("checkpoint 3", "checkpoint 2"))
        .unwrap();
    {
        let opened = open(&dir("cp"));
        assert!(!list.exists());
        sgd(&opened, 4, 0.5, &[]).apply_gradients(&[1, 2], &[1.0; 8]).unwrap();
    }
    storage.load_from_checkpoint(dir("cp")).unwrap();
    assert_eq!(content(&storage).unwrap().len(), 2);
}
