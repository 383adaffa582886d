//! Files that stay readable after their names are removed.
//!
//! The process that has a storage open merges its SST files and removes those it has merged. It
//! also removes files of the journal. A descriptor keeps such a file alive, and the path
//! `/proc/thread-self/fd/N` opens it again, in any code that takes a path. The process also uses
//! files of the journal again, but none that a reader has locked (`journal::hold`). A hard link
//! would need no descriptor. But it changes the file's link count, needs the folder to be on the
//! same file system, and stays when the process is killed. Only checkpoints are made of hard links.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::files::folder::is_same_file;
use crate::files::regular;
use crate::journal;
use crate::rocks::MAX_OPEN_FILES;

/// Descriptors left to the program, and to what damo opens beside the SST files that RocksDB opens:
/// at least `LEFT`, and the limit divided by `PART_LEFT`. Loads take up to half of that part.
const LEFT: usize = 64;
const PART_LEFT: usize = 4;

/// The calling thread's descriptors. `/proc/self/fd` has none once the process's first thread has
/// ended.
const DESCRIPTORS: &str = "/proc/thread-self/fd";

/// The files that are held open, until this is dropped.
pub(super) struct Held {
    files: Vec<File>,
    /// How many files may be held.
    room: usize,
    /// How many existing files are linked by their paths and not held.
    pub(super) passed_over: usize,
}

impl Held {
    /// Makes room for as many files as the process may still open, less those that RocksDB will
    /// open of `sst_files`, and those left to the program.
    pub(super) fn new(sst_files: usize) -> Held {
        let open = fs::read_dir(DESCRIPTORS).map_or(usize::MAX, Iterator::count);
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let needed = LEFT.max(limit / PART_LEFT) + sst_files.min(MAX_OPEN_FILES);
        let room = limit.saturating_sub(open).saturating_sub(needed);
        Held { files: Vec::new(), room, passed_over: 0 }
    }

    /// How many files are held.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Makes `to` a link to the file `from`, which is held if possible.
    ///
    /// # Errors
    /// When the link cannot be made.
    pub(super) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.files.len() < self.room
            && let Ok(file) = regular::open(from)
            && journal::hold(&file, from)
            && let Some(link) = link_to(&file)
        {
            symlink(link, to)?;
            self.files.push(file);
            return Ok(());
        }
        // A file that is gone already, or is no file, does not count as passed over: opening the
        // link reports it.
        self.passed_over += usize::from(fs::metadata(from).is_ok_and(|found| found.is_file()));
        symlink(from, to)
    }
}

/// A path that opens the file again, whatever has become of its name. None without /proc.
fn link_to(file: &File) -> Option<PathBuf> {
    let path = Path::new(DESCRIPTORS).join(file.as_raw_fd().to_string());
    is_same_file(file, fs::metadata(&path)).ok()?.then_some(path)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_removed_is_read_through_its_link() {
        let scratch = tempfile::tempdir().unwrap();
        let [file, other, link, plain, dangling] =
            ["file", "other", "link", "plain", "dangling"].map(|name| scratch.path().join(name));
        fs::write(&file, "content").unwrap();
        fs::write(&other, "other").unwrap();
        let mut held = Held { files: Vec::new(), room: 1, passed_over: 0 };
        held.link(&file, &link).unwrap();
        held.link(&other, &plain).unwrap();
        held.link(&scratch.path().join("missing"), &dangling).unwrap();
        assert_eq!((held.len(), held.passed_over), (1, 1));
        fs::remove_file(&file).unwrap();
        fs::write(&file, "another").unwrap();
        assert_eq!(fs::read_to_string(&link).unwrap(), "content");
        assert_eq!(
            std::thread::spawn(move || fs::read_to_string(&link).unwrap()).join().unwrap(),
            "content"
        );
        assert_eq!(fs::read_to_string(&plain).unwrap(), "other");
    }

    #[test]
    fn rocksdb_and_the_program_keep_their_descriptors() {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) as usize;
        let (few, many) = (Held::new(10).room, Held::new(100_000).room);
        assert!(few + 10 + LEFT <= limit && many + MAX_OPEN_FILES.min(limit) <= limit);
        assert!(few > many || few == 0);
    }
}
