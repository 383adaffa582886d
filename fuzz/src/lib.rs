//! Shared by the fuzz targets: a scratch folder, corrected checksums, programs read from bytes, a
//! plain model.

pub mod bytes;
pub mod checksums;
mod dumps;
pub mod model;
pub mod session;
pub mod sst;
pub mod storage;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

/// A folder of this process, on a file system in memory where there is one. `scripts/fuzz` removes
/// leftovers.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| new_folder(&base()).keep())
}

/// A folder for one input, gone when it is dropped.
pub fn fresh_folder() -> TempDir {
    new_folder(scratch())
}

fn base() -> PathBuf {
    match std::env::var_os("DAMO_FUZZ_SCRATCH") {
        Some(folder) => folder.into(),
        None if Path::new("/dev/shm").is_dir() => "/dev/shm".into(),
        None => std::env::temp_dir(),
    }
}

fn new_folder(within: &Path) -> TempDir {
    tempfile::Builder::new().prefix("damo-fuzz.").tempdir_in(within).expect("a scratch folder")
}

/// Writes an input to a file of the scratch folder, replacing the one before.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    std::fs::write(&path, bytes).expect("a scratch file");
    path
}
