//! What salvage refuses or reports, instead of taking it for something else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use damo::error::Status;
use damo::params::Params;
use damo::storage::{Storage, salvage};

use crate::common::{copy_dir, failure, open};
use crate::{Content, Scene, by_suffix, content, files, handed_over};

#[test]
fn what_cannot_be_salvaged_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let [dir, out] = ["storage", "out"].map(|name| scratch.path().join(name));
    failure(salvage(&dir, &out, None, |_| ()), Status::NotFound);
    fs::create_dir(&dir).unwrap();
    failure(salvage(&dir, &out, None, |_| ()), Status::NotFound);
    let storage = open(&dir);
    failure(salvage(&dir, &out, None, |_| ()), Status::Busy);
    drop(storage);
    fs::create_dir(&out).unwrap();
    failure(salvage(&dir, &out, None, |_| ()), Status::AlreadyExists);
    fs::remove_dir(&out).unwrap();
    assert!(salvage(&dir, &out, None, |_| ()).unwrap().is_whole());
    assert_eq!(content(&out), Content::default());
}

/// Salvage adds no file to the directory, or to the one that describes groups.
#[test]
fn a_new_storage_in_a_directory_that_is_read_is_refused() {
    let scene = Scene::new();
    let [dir, like] = ["killed", "live"].map(|name| scene.scratch.path().join(name));
    let before = (files(&dir), files(&like));
    let link = scene.scratch.path().join("link");
    symlink(&dir, &link).unwrap();
    for out in [dir.join("out"), dir.join("journal/out"), link.join("out"), like.join("out")] {
        let error = failure(salvage(&dir, &out, Some(&like), |_| ()), Status::InvalidArgument);
        assert!(error.message().contains("is within"), "{error}");
    }
    assert!((files(&dir), files(&like)) == before);
    assert!(
        salvage(&dir, &scene.scratch.path().join("killed-2"), None, |_| ()).unwrap().is_whole()
    );
}

#[test]
fn the_second_salvage_to_one_place_is_busy_and_harms_nothing() {
    let scene = Scene::new();
    let [dir, other, out] = ["killed", "live", "out"].map(|name| scene.scratch.path().join(name));
    let mut refused = 0;
    let salvaged = salvage(&dir, &out, None, |_| {
        failure(salvage(&other, &out, None, |_| ()), Status::Busy);
        refused += 1;
    });
    assert!(salvaged.unwrap().is_whole() && refused > 0);
    assert_eq!(content(&out), scene.expected);
    assert!(!scene.scratch.path().join(".out.salvaging").exists());
}

/// Makes something other than a file.
type Maker<'a> = &'a dyn Fn(&Path);

/// A pipe without a writer: opening it would wait for ever.
#[test]
fn what_is_no_file_is_told_and_not_waited_for() {
    let scene = Scene::new();
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let makers: [(&str, Maker); 3] = [
        ("pipe", &pipe),
        ("dangling", &|path| symlink("/nonexistent/file", path).unwrap()),
        ("folder", &|path| fs::create_dir(path).unwrap()),
    ];
    for (what, make) in makers {
        for name in ["000099.sst", "000099.log"] {
            for with_manifest in [true, false] {
                let dir = scene.scratch.path().join("damaged");
                let out = scene.scratch.path().join("out");
                copy_dir(&scene.scratch.path().join("killed"), &dir);
                make(&dir.join(name));
                if !with_manifest {
                    fs::remove_file(dir.join("CURRENT")).unwrap();
                }
                let salvaged = salvage(&dir, &out, None, |_| ()).unwrap();
                let place = format!("{what} {name} {with_manifest}: {salvaged:?}");
                assert!(salvaged.damage.iter().any(|told| told.contains(name)), "{place}");
                let found = content(&out);
                assert!(
                    found.rows.keys().eq(scene.expected.rows.keys()) || !with_manifest,
                    "{place}"
                );
                if with_manifest {
                    assert_eq!(found, scene.expected, "{place}");
                }
                fs::remove_dir_all(&dir).unwrap();
                fs::remove_dir_all(&out).unwrap();
            }
        }
    }
    // Pipes in the place of files that count.
    for name in ["CURRENT", "INVENTORY", "000008.sst", "log", "journal"] {
        let dir = scene.scratch.path().join("damaged");
        let out = scene.scratch.path().join("out");
        copy_dir(&scene.scratch.path().join("killed"), &dir);
        let path = match name {
            "log" => by_suffix(&dir, ".log").pop().unwrap(),
            "journal" => by_suffix(&dir, ".journal").pop().unwrap(),
            "000008.sst" => handed_over(&dir).pop().unwrap(),
            name => dir.join(name),
        };
        fs::remove_file(&path).unwrap();
        pipe(&path);
        let salvaged = salvage(&dir, &out, None, |_| ()).unwrap();
        assert!(!salvaged.is_whole() && !salvaged.damage.is_empty(), "{name}: {salvaged:?}");
        let error = Storage::open(&dir, 0, &Params::new()).unwrap_err();
        assert!([Status::Corruption, Status::Io].contains(&error.status()), "{name}: {error}");
        fs::remove_dir_all(&dir).unwrap();
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_read_is_told() {
    let scene = Scene::new();
    let file_for_folder = |path: &Path| {
        let _ = fs::remove_dir_all(path);
        fs::write(path, "").unwrap();
    };
    // With and without the document of the journal.
    for is_known in [true, false] {
        let (salvaged, _) = scene.salvage(|dir| {
            file_for_folder(&dir.join("journal"));
            if !is_known {
                by_suffix(dir, ".log").iter().for_each(|log| fs::remove_file(log).unwrap());
            }
        });
        assert!(salvaged.damage.iter().any(|told| told.starts_with("journal: ")), "{salvaged:?}");
    }
    // Salvage looks into this folder when a file is missing.
    let (salvaged, _) = scene.salvage(|dir| {
        file_for_folder(&dir.join("incoming"));
        fs::remove_file(handed_over(dir).pop().unwrap()).unwrap();
    });
    assert!(
        salvaged.damage.iter().any(|told| told.contains("incoming' cannot be read")),
        "{salvaged:?}"
    );
    assert_eq!(salvaged.files_lost, 1, "{salvaged:?}");
}

/// A file that cannot be opened for want of descriptors is not damaged.
#[test]
fn with_too_few_descriptors_it_is_an_error_that_says_so() {
    let scene = Scene::new();
    let [dir, out] = ["killed", "out"].map(|name| scene.scratch.path().join(name));
    // More files than salvage holds open: links to one, all of which count without the MANIFEST.
    fs::remove_file(dir.join("CURRENT")).unwrap();
    let file = handed_over(&dir).remove(0);
    for number in 200..280 {
        fs::hard_link(&file, dir.join(format!("{number:06}.sst"))).unwrap();
    }
    let mut outcomes = std::collections::BTreeSet::new();
    for limit in [96, 50, 24, 20, 18, 16, 15, 14, 12, 10] {
        let script = format!("ulimit -n {limit}; exec \"$0\" --json salvage \"$1\" \"$2\"");
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_damo")]).args([&dir, &out]);
        let output = command.output().unwrap();
        let code = output.status.code().unwrap();
        outcomes.insert(code);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if code == 7 {
            assert_eq!(content(&out).rows, scene.expected.rows, "{limit}");
            fs::remove_dir_all(&out).unwrap();
            continue;
        }
        assert_eq!(code, 1, "{limit}: {told}");
        assert!(told.contains("open files") && told.contains("IO"), "{limit}: {told}");
        assert!(!out.exists());
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [1, 7]);
}
