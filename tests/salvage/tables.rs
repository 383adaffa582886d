//! SST files whose properties are damaged, and files that were kept aside.

use std::fs;
use std::path::Path;

use damo::storage::salvage;

use crate::common::{copy_dir, open, sgd};
use crate::{
    Scene, by_suffix, content, files, find, flip, flip_properties, handed_over, largest,
    make_large_table,
};

/// Without its properties a handed-over file looks like one with the oldest rows.
#[test]
fn a_file_with_damaged_properties_keeps_its_place_in_time() {
    let scene = Scene::new();
    let killed = scene.scratch.path().join("killed");
    assert!(handed_over(&killed).len() >= 3);
    for index in 0..by_suffix(&killed, ".sst").len() {
        for with_manifest in [true, false] {
            let (salvaged, found) = scene.salvage(|dir| {
                flip_properties(&by_suffix(dir, ".sst")[index]);
                if !with_manifest {
                    fs::remove_file(dir.join("CURRENT")).unwrap();
                }
            });
            assert!(
                salvaged.damage.iter().any(|told| told.contains("its properties are damaged")),
                "{salvaged:?}"
            );
            assert!(!salvaged.is_whole() && salvaged.entries_lost == 0, "{salvaged:?}");
            assert_eq!(found, scene.expected, "{index}, {with_manifest}: {salvaged:?}");
        }
    }
}

/// All properties at once, and each byte of a file in turn: an older row never comes unreported.
#[test]
fn no_flipped_bit_brings_an_older_row_back_untold() {
    let scratch = tempfile::tempdir().unwrap();
    let [dir, out] = ["storage", "out"].map(|name| scratch.path().join(name));
    {
        let storage = open(&dir);
        let ones = sgd(&storage, 2, 0.5, &[]);
        let keys: Vec<i64> = (0..50).collect();
        for round in 0..3 {
            ones.apply_gradients(&keys, &[1.0; 100]).unwrap();
            if round == 2 {
                ones.delete(&[7]).unwrap();
            }
            storage.flush().unwrap();
        }
    }
    let expected = content(&dir);
    let file = handed_over(&dir).pop().unwrap();
    let len = fs::metadata(&file).unwrap().len() as usize;
    for at in (0..len).step_by(61) {
        flip(&file, at);
        let salvaged = salvage(&dir, &out, None, |_| ()).unwrap();
        let found = content(&out);
        assert!(found == expected || salvaged.rows_in_doubt > 0, "{at}: {salvaged:?}");
        assert!(!salvaged.is_whole() || found == expected, "{at}: {salvaged:?}");
        fs::remove_dir_all(&out).unwrap();
        flip(&file, at);
    }
    handed_over(&dir).iter().for_each(|file| flip_properties(file));
    let salvaged = salvage(&dir, &out, None, |_| ()).unwrap();
    assert_eq!((salvaged.damage.len(), salvaged.entries_lost), (3, 0), "{salvaged:?}");
    assert_eq!(content(&out), expected);
}

#[test]
fn an_index_of_two_levels_is_known_without_the_properties() {
    let scratch = tempfile::tempdir().unwrap();
    let [dir, out] = ["storage", "out"].map(|name| scratch.path().join(name));
    let expected = make_large_table(&dir);
    let file = largest(&dir);
    let at = find(&file, b"index.type").unwrap();
    flip(&file, at);
    for with_manifest in [true, false] {
        let salvaged = salvage(&dir, &out, None, |_| ()).unwrap();
        assert_eq!((salvaged.blocks_lost, salvaged.entries_lost), (0, 0), "{salvaged:?}");
        assert!(!salvaged.is_whole(), "{salvaged:?}");
        assert_eq!(content(&out), expected, "{with_manifest}");
        fs::remove_dir_all(&out).unwrap();
        if with_manifest {
            fs::rename(dir.join("CURRENT"), scratch.path().join("CURRENT")).unwrap();
        }
    }
    fs::rename(scratch.path().join("CURRENT"), dir.join("CURRENT")).unwrap();
    // Nothing else records how many rows the file had, and salvage reports that.
    flip(&file, 1000);
    let salvaged = salvage(&dir, &out, None, |_| ()).unwrap();
    assert_eq!(salvaged.blocks_lost, 1, "{salvaged:?}");
    assert!(salvaged.damage.iter().any(|told| told.contains("not on record")), "{salvaged:?}");
    let found = content(&out);
    assert!((39_000..40_000).contains(&found.rows.len()));
    assert!(found.rows.iter().all(|(key, row)| expected.rows.get(key) == Some(row)));
}

/// A file whose index is lost still tells how many rows it has.
#[test]
fn the_rows_of_a_file_without_an_index_are_counted() {
    let scene = Scene::new();
    let (salvaged, _) = scene.salvage(|dir| {
        let file = handed_over(dir).remove(0);
        // The index is the block before the properties; the list of blocks has its handle.
        let bytes = fs::read(&file).unwrap();
        let name = find(&file, b"rocksdb.index").unwrap();
        let mut rest = &bytes[name + b"rocksdb.index".len()..];
        let (mut offset, mut shift) = (0, 0);
        while let [byte, after @ ..] = rest {
            offset |= usize::from(byte & 127) << shift;
            shift += 7;
            rest = after;
            if byte & 128 == 0 {
                break;
            }
        }
        flip(&file, offset + 3);
    });
    assert_eq!((salvaged.files_lost, salvaged.entries_lost), (1, 1200), "{salvaged:?}");
    assert!(salvaged.damage[0].ends_with("its index is damaged"), "{salvaged:?}");
}

/// Files that were to be handed over, in the place of missing files.
#[test]
fn a_kept_file_counts_only_as_the_one_that_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let [dir, copy, out] = ["storage", "copy", "out"].map(|name| scratch.path().join(name));
    let keys: Vec<i64> = (0..50).collect();
    {
        let storage = open(&dir);
        let ones = sgd(&storage, 2, 0.5, &[]);
        for _ in 0..3 {
            ones.apply_gradients(&keys, &[1.0; 100]).unwrap();
            storage.flush().unwrap();
        }
        ones.delete(&[7]).unwrap();
        storage.flush().unwrap();
    }
    let expected = content(&dir);
    let table = handed_over(&dir);
    assert_eq!(table.len(), 4);
    let salvaged = |damage: &dyn Fn(&[std::path::PathBuf], &Path)| {
        let _ = fs::remove_dir_all(&copy);
        let _ = fs::remove_dir_all(&out);
        copy_dir(&dir, &copy);
        fs::create_dir_all(copy.join("incoming")).unwrap();
        damage(&handed_over(&copy), &copy.join("incoming/000000.sst"));
        let before = files(&copy);
        let salvaged = salvage(&copy, &out, None, |_| ()).unwrap();
        assert!(files(&copy) == before);
        (salvaged, content(&out))
    };
    // The missing file.
    let (whole, found) = salvaged(&|table, kept| fs::rename(&table[3], kept).unwrap());
    assert!(whole.is_whole() && whole.files_read == 4, "{whole:?}");
    assert_eq!(found, expected);
    // Another file: its keys differ.
    let (other, found) = salvaged(&|table, kept| {
        fs::copy(&table[1], kept).unwrap();
        fs::remove_file(&table[3]).unwrap();
    });
    assert_eq!((other.files_read, other.files_lost, other.rows_in_doubt), (3, 1, 1), "{other:?}");
    let updates = |found: &crate::Content| found.rows[&(0, 1)].0;
    assert_eq!(updates(&found), updates(&expected));
    // One of two missing files that look alike: nobody can tell which.
    let (either, found) = salvaged(&|table, kept| {
        fs::rename(&table[0], kept).unwrap();
        fs::remove_file(&table[1]).unwrap();
    });
    assert_eq!((either.files_read, either.files_lost), (2, 2), "{either:?}");
    assert_eq!(found, expected);
    // One of two missing files that do not look alike.
    let (one, found) = salvaged(&|table, kept| {
        fs::remove_file(&table[3]).unwrap();
        fs::rename(&table[1], kept).unwrap();
    });
    assert_eq!((one.files_read, one.files_lost), (3, 1), "{one:?}");
    assert_eq!(updates(&found), updates(&expected), "the newest of the three that are left");
}
