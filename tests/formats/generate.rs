//! Writes the fixtures of the current format.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use damo::storage::{DumpOptions, Storage};

use crate::common::{copy_dir, int, open, params, rerun, text};
use crate::history::{content, filter, go_on};
use crate::{CALLS, files, fixtures};

const CHILD: &str = "DAMO_FORMATS_CHILD";
/// The path of the filter in the checkpoint, which must not reveal the machine.
const WORK: &str = "/tmp/damo-formats";

/// The format of a storage, such as "damo 2", from the bytes of its database.
pub fn format_of(dir: &Path) -> Option<String> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).find_map(|path| {
        let bytes = fs::read(path).unwrap();
        // The key, length bytes of RocksDB's, the value.
        let key = bytes.windows(6).position(|window| window == b"format")?;
        let near = &bytes[key + 6..bytes.len().min(key + 24)];
        let value = near.windows(5).position(|window| window == b"damo ")?;
        let digits = near[value + 5..].iter().take_while(|byte| byte.is_ascii_digit());
        let number: String = digits.map(|digit| char::from(*digit)).collect();
        (!number.is_empty()).then(|| format!("damo {number}"))
    })
}

/// The format in which this release writes storages.
pub fn present_format() -> String {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    format_of(dir.path()).unwrap()
}

/// Copies a storage for git: without RocksDB's logs for people, which name the machine.
fn keep(from: &Path, to: &Path) {
    copy_dir(from, to);
    for entry in fs::read_dir(to).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == "LOG" || name.starts_with("LOG.old") || name == ".damo-lock" || name == "LOCK" {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// Half of the calls are on disk, the other half in the journal only.
fn train_and_die(dir: &Path) {
    let storage = Storage::open(dir, 0, &params(&[("cache_bytes", int(64 << 10))])).unwrap();
    go_on(&storage, None, 0..CALLS / 2);
    storage.flush().unwrap();
    go_on(&storage, None, CALLS / 2..CALLS);
    // SAFETY: raise takes a number and touches no memory.
    unsafe { libc::raise(libc::SIGKILL) };
}

#[test]
#[ignore = "writes fixtures into the checkout, once a format: DAMO_WRITE_FIXTURES=1 and --ignored"]
fn write_fixtures() {
    let work = Path::new(WORK);
    let dir = |name: &str| work.join(name);
    if std::env::var_os(CHILD).is_some() {
        return train_and_die(&dir("killed"));
    }
    assert!(std::env::var_os("DAMO_WRITE_FIXTURES").is_some(), "DAMO_WRITE_FIXTURES is not set");
    let _ = fs::remove_dir_all(work);
    files::add_missing(&fixtures().join("files"));
    let target = fixtures().join(present_format().replace(' ', "-"));
    if target.exists() {
        return println!("{} is there; a fixture of its format stays as it is", target.display());
    }

    let storage = open(&dir("closed"));
    go_on(&storage, None, 0..CALLS / 2);
    fs::create_dir_all(&target).unwrap();
    let table = DumpOptions::read(&params(&[("format", text("table"))])).unwrap();
    storage.dump(target.join("closed.base.table"), table, |_, _| true).unwrap();
    go_on(&storage, None, CALLS / 2..CALLS);
    let expected = content(&storage);
    drop(storage);
    keep(&dir("closed"), &target.join("closed"));

    let status = rerun(write_fixtures).arg("--ignored").env(CHILD, "1").status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    keep(&dir("killed"), &target.join("killed"));
    fs::write(target.join("calls.txt"), &expected).unwrap();

    let storage = open(&dir("trained"));
    let seen = filter(&dir("seen.filter"));
    let attached = go_on(&storage, Some(&seen), 0..CALLS);
    storage.checkpoint(dir("checkpoint")).unwrap();
    fs::write(target.join("admitted_calls.txt"), content(&storage)).unwrap();
    drop((attached, storage));
    keep(&dir("checkpoint"), &target.join("checkpoint"));
    fs::remove_dir_all(work).unwrap();
}
