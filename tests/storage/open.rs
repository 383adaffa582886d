//! Opening: what it creates, what it refuses, and that refusing changes nothing.

use std::fs::{self, File};
use std::path::Path;

use damo::error::Status;
use damo::params::Params;
use damo::storage::Storage;

use crate::common::{self, failure, float, int, lookup, open, params, sgd, text};

fn refused(dir: &Path, status: Status) -> String {
    failure(Storage::open(dir, 0, &Params::new()), status).message().to_owned()
}

#[test]
fn a_new_path_and_its_parents_are_created() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b/table");
    let storage = open(&nested);
    assert!(nested.join("CURRENT").is_file());
    assert_eq!(storage.dir(), nested.canonicalize().unwrap());
}

#[test]
fn a_directory_is_itself_under_every_spelling() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("t");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&table, &link).unwrap();
    let storage = open(&table);
    let spellings = ["t/", "./t", "t/.", "../t", "t/../t"].map(|spelling| {
        let base = if spelling.starts_with("..") { &table } else { dir.path() };
        base.join(spelling)
    });
    for spelling in spellings.iter().chain([&link]) {
        let message = refused(spelling, Status::Busy);
        assert!(message.contains("another storage handle of this process"), "{message}");
    }
    // And the lock still holds against others: another process would be told too.
    drop(storage);
    open(&link);
}

#[test]
fn a_directory_that_was_moved_while_open_is_still_taken_under_both_names() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (dir.path().join("before"), dir.path().join("after"));
    let storage = open(&before);
    fs::rename(&before, &after).unwrap();
    refused(&after, Status::Busy);
    refused(&before, Status::Busy);
    assert!(
        !before.exists(),
        "a refused opening must not make the directory that the open storage would write to"
    );
    drop(storage);
    open(&after);
}

#[test]
fn nothing_is_left_of_a_path_that_could_not_be_created_whole() {
    let dir = tempfile::tempdir().unwrap();
    let too_long = dir.path().join("a").join("b").join("c".repeat(300));
    refused(&too_long, Status::Io);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn table_files_without_their_current_file_are_not_taken_for_a_new_storage() {
    let dir = tempfile::tempdir().unwrap();
    lookup(&sgd(&open(dir.path()), 1, 0.1, &[]), &[1, 2, 3]);
    let current = fs::read(dir.path().join("CURRENT")).unwrap();
    fs::remove_file(dir.path().join("CURRENT")).unwrap();
    for _ in 0..2 {
        let message = refused(dir.path(), Status::Corruption);
        assert!(message.contains("CURRENT' is missing"), "{message}");
    }
    fs::write(dir.path().join("CURRENT"), current).unwrap();
    assert_eq!(common::peek(&sgd(&open(dir.path()), 1, 0.1, &[]), &[1, 2, 3]).1, [1, 1, 1]);

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("000123.sst"), "somebody's").unwrap();
    refused(other.path(), Status::Corruption);
    assert_eq!(fs::read_to_string(other.path().join("000123.sst")).unwrap(), "somebody's");
}

#[test]
fn files_of_others_whose_names_look_like_rocksdbs_are_not_taken_for_a_damaged_storage() {
    for name in [
        "train.log",
        "OPTIONS-run3.yaml",
        "MANIFEST-notes.txt",
        "rows.sst",
        "a.dbtmp",
        "LOG.old.mine",
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join(name);
        std::fs::write(&file, "precious").unwrap();
        let message = refused(scratch.path(), Status::InvalidArgument);
        assert!(message.contains(&format!("it holds '{name}' and no damo storage")), "{message}");
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    }
}

#[test]
fn formats_and_families_of_others_are_told_apart() {
    for (family, key, value, status, words) in [
        ("damo", "format", "damo 7", Status::NotSupported, "its format is 'damo 7'"),
        ("damo", "something", "x", Status::InvalidArgument, "damo did not write"),
        ("theirs", "format", "damo 1", Status::InvalidArgument, "damo did not write"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        {
            let mut options = rust_rocksdb::Options::default();
            options.create_if_missing(true);
            options.create_missing_column_families(true);
            let db =
                rust_rocksdb::DB::open_cf(&options, dir.path(), ["default", family, "journal"])
                    .unwrap();
            db.put_cf(db.cf_handle(family).unwrap(), key, value).unwrap();
        }
        let message = refused(dir.path(), status);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn paths_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    lookup(&sgd(&open(&odd), 1, 0.1, &[]), &[1]);
    assert_eq!(open(&odd).stat("groups").unwrap(), 1);
}

#[test]
fn a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("table");
    fs::write(&file, "mine").unwrap();
    let message = refused(&file, Status::InvalidArgument);
    assert!(message.contains(&format!("data_dir '{}' is a file", file.display())), "{message}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_directory_with_other_contents_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("holiday.jpg"), "").unwrap();
    let message = refused(dir.path(), Status::InvalidArgument);
    assert!(message.contains("holiday.jpg"), "{message}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_database_of_somebody_else_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = rust_rocksdb::DB::open_default(dir.path()).unwrap();
        db.put(b"their key", b"their value").unwrap();
    }
    let message = refused(dir.path(), Status::InvalidArgument);
    assert!(message.contains("damo did not write"), "{message}");
    let db = rust_rocksdb::DB::open_default(dir.path()).unwrap();
    assert_eq!(db.get(b"their key").unwrap().as_deref(), Some(b"their value".as_slice()));
}

#[test]
fn a_first_opening_that_was_killed_half_way_is_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    // Files from before CURRENT exists; later a database without its second family.
    fs::write(dir.path().join("LOCK"), "").unwrap();
    fs::write(dir.path().join("LOG"), "").unwrap();
    fs::write(dir.path().join("000001.dbtmp"), "").unwrap();
    drop(open(dir.path()));
    let other = tempfile::tempdir().unwrap();
    drop(rust_rocksdb::DB::open_default(other.path()).unwrap());
    drop(open(other.path()));
}

#[test]
fn a_second_handle_is_told_busy_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let message = refused(dir.path(), Status::Busy);
    assert!(message.contains(&dir.path().display().to_string()), "{message}");
    assert_eq!(lookup(&sgd(&storage, 1, 0.1, &[]), &[1]), [1.0]);
    let clone = storage.clone();
    drop(storage);
    refused(dir.path(), Status::Busy);
    drop(clone);
    open(dir.path());
}

/// An error in looking at a lock means neither a lock of somebody else nor none.
#[test]
fn locks_that_the_system_refuses_are_named_and_are_not_busy() {
    for lock in [".damo-lock", "LOCK"] {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("t");
        drop(open(&dir));
        let path = dir.join(lock);
        fs::remove_file(&path).unwrap();
        // No user can open a folder for writing, or a circular link at all.
        fs::create_dir(&path).unwrap();
        let message = refused(&dir, Status::Io);
        assert!(message.contains(lock) && message.contains("Is a directory"), "{message}");
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let message = refused(&dir, Status::Io);
        assert!(message.contains(lock) && message.contains("os error 40"), "{message}");
        fs::remove_file(&path).unwrap();
        drop(open(&dir));
    }
}

#[test]
fn a_storage_that_may_only_be_read_is_refused_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    for lock in [".damo-lock", "LOCK"] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        let path = dir.path().join(lock);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        if File::options().write(true).open(&path).is_ok() {
            println!("SKIPPED: this user may write everything");
            return;
        }
        let message = refused(dir.path(), Status::Io);
        assert!(message.contains(lock) && message.contains("let this user write"), "{message}");
    }
}

/// A parent that cannot be looked at is not missing.
#[test]
fn a_path_that_cannot_be_looked_at_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let circle = dir.path().join("circle");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    for path in [circle.clone(), circle.join("t")] {
        let message = refused(&path, Status::Io);
        assert!(message.contains("os error 40"), "{message}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn places_that_cannot_be_written_are_refused_with_the_reason() {
    for path in ["/proc/damo", "/proc/self/damo"] {
        let message = refused(Path::new(path), Status::Io);
        assert!(message.contains(&format!("data_dir '{path}' cannot be created")), "{message}");
    }
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(dir.path().join("probe"), "").is_ok() {
        println!("SKIPPED the read-only directory: this user may write everywhere");
        return;
    }
    let message = refused(dir.path(), Status::Io);
    assert!(message.contains("Permission denied"), "{message}");
}

#[test]
fn options_are_checked_before_anything_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("never");
    for (key, value, words) in [
        ("durability", text("fast"), "one of 'process', 'power', 'checkpoint'"),
        ("durability", int(1), "one of 'process'"),
        ("cache_bytes", int(1000), "65536"),
        ("cache_bytes", float(1e9), "an int"),
        ("threads", int(0), "an int from 1 to 1024"),
        ("mapped_reads", text("on"), "'mapped_reads' is \"on\" (string); one of 'auto', 'off'"),
        ("mapped_reads", int(0), "one of 'auto', 'off'"),
        ("io_uring", text("yes"), "'io_uring' is \"yes\" (string); one of 'auto', 'off'"),
        ("cachebytes", int(1 << 30), "valid names are 'cache_bytes', 'durability', 'threads'"),
    ] {
        let error =
            failure(Storage::open(&path, 0, &params(&[(key, value)])), Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
        assert!(!path.exists());
    }
    failure(Storage::open(&path, -1, &Params::new()), Status::InvalidArgument);
    failure(Storage::open("", 0, &Params::new()), Status::InvalidArgument);
    assert!(!path.exists());
}

#[test]
fn every_durability_keeps_what_was_closed() {
    for durability in ["process", "power", "checkpoint"] {
        let dir = tempfile::tempdir().unwrap();
        let options = params(&[("durability", text(durability)), ("threads", int(1))]);
        {
            let storage = Storage::open(dir.path(), 0, &options).unwrap();
            sgd(&storage, 1, 0.5, &[]).apply_gradients(&[1, 2], &[1.0, 2.0]).unwrap();
        }
        let storage = Storage::open(dir.path(), 0, &options).unwrap();
        let embedding = sgd(&storage, 1, 0.5, &[]);
        assert_eq!(common::peek(&embedding, &[1, 2]), (vec![0.5, 0.0], vec![1, 1]), "{durability}");
        assert_eq!(embedding.step().unwrap(), 1);
    }
}

#[test]
fn statistics_count_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = sgd(&storage, 16, 0.5, &[]);
    let keys: Vec<i64> = (0..5000).collect();
    lookup(&embedding, &keys);
    embedding.apply_gradients(&[1, 1, 2], &[1.0; 48]).unwrap();
    let stat = |name| storage.stat(name).unwrap();
    assert_eq!(
        (stat("groups"), stat("rows_created"), stat("rows_read"), stat("rows_updated")),
        (1, 5000, 5000, 3)
    );
    storage.flush().unwrap();
    // The estimate may count the two rows that were written twice.
    assert!((5000..=5002).contains(&stat("rows_estimate")), "{}", stat("rows_estimate"));
    assert!(stat("bytes_on_disk") > 5000 * 16 * 4 / 4, "{}", stat("bytes_on_disk"));
    assert!(stat("bytes_in_memory") > 0);
    assert!(stat("cache_bytes") >= 64 << 20, "a quarter of this machine's memory");
    let error = failure(storage.stat("rows"), Status::InvalidArgument);
    for name in Storage::stat_names() {
        assert!(error.message().contains(name), "{error}");
    }
}
