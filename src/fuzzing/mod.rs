//! The parts of damo's inside that the fuzz targets in `fuzz/` call. The module exists only under
//! `--cfg fuzzing`, which cargo-fuzz sets, and in unit tests; a normal build has nothing of it.
//!
//! Each function takes bytes as a damaged file may hold them. It returns whatever the bytes are,
//! and panics where damo breaks a promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod journal;

pub use crate::rocks::fuzzing::sst;
pub use crate::storage::fuzzing::{checkpoint_list, documents, filter_list, row};
pub use journal::{read_journal, write_journal};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{documents, read_journal, row, sst, write_journal};

    /// The committed inputs of a target.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files = fs::read_dir(folder).unwrap();
        let inputs: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(!inputs.is_empty(), "{target} has no inputs");
        inputs
    }

    #[test]
    fn committed_rows_and_documents_keep_their_promises() {
        for bytes in corpus("row").into_iter().chain(corpus("checkpoint_list")) {
            row(&bytes);
            documents(&bytes);
        }
    }

    #[test]
    fn committed_files_of_rows_keep_their_promises() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("000009.sst");
        let mut with_rows = 0;
        for bytes in corpus("sst") {
            fs::write(&path, bytes).unwrap();
            with_rows += usize::from(sst(&path).is_some_and(|rows| rows > 0));
        }
        assert!(with_rows > 3, "{with_rows} files are read");
    }

    #[test]
    fn committed_journals_keep_their_promises() {
        let scratch = tempfile::tempdir().unwrap();
        for (index, bytes) in corpus("journal_write").into_iter().enumerate() {
            write_journal(&scratch.path().join(format!("written{index}")), &bytes);
        }
        for (index, bytes) in corpus("journal_read").into_iter().enumerate() {
            let folder = scratch.path().join(format!("read{index}"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("00000000000000000001.journal"), bytes).unwrap();
            read_journal(&folder);
        }
    }
}
