//! Copies a file, even while signals arrive.
//!
//! `std::fs::copy` gives up at a signal whose handler was installed without SA_RESTART. Python
//! installs its handlers so.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::copy_file_range;
use rustix::io::Errno;

use super::regular;

/// Bytes that the system is asked to copy at once. A signal costs what was copied since the last
/// piece.
const PIECE: usize = 64 << 20;
/// Bytes that are read at once where the system does not copy.
const BUFFER: usize = 1 << 20;

/// Copies the content of the regular file `from` to `to`, replacing an existing file.
///
/// # Errors
/// The system's error; `Other` when `from` is not a regular file.
pub(crate) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    copy(regular::open(from)?, File::create(to)?)
}

/// As [`copy_file`], but `to` must not exist: no link is followed, and nothing is replaced.
///
/// # Errors
/// As [`copy_file`]; `AlreadyExists`.
pub(crate) fn copy_to_new_file(from: &Path, to: &Path) -> io::Result<()> {
    copy(regular::open(from)?, File::create_new(to)?)
}

fn copy(source: File, target: File) -> io::Result<()> {
    loop {
        match copy_file_range(&source, None, &target, None, PIECE) {
            // The end of the file, or a file system that does not know where it is.
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            // The system cannot copy between these two files. Reading goes on from here.
            Err(_) => break,
        }
    }
    copy_rest(source, target)
}

fn copy_rest(mut source: impl Read, mut target: impl Write) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        // Both this and `write_all` go on after a signal.
        if source.by_ref().take(BUFFER as u64).read_to_end(&mut buffer)? == 0 {
            return Ok(());
        }
        target.write_all(&buffer)?;
    }
}

/// Copies a file, and syncs the copy.
///
/// # Errors
/// As [`copy_file`].
pub(crate) fn copy_for_good(from: &Path, to: &Path) -> std::io::Result<()> {
    copy_file(from, to)?;
    File::open(to)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::fs;

    use super::*;

    #[test]
    fn a_copy_is_the_same() {
        let scratch = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| scratch.path().join(name));
        for len in [0, 1, BUFFER, 2 * BUFFER + 17] {
            let bytes: Vec<u8> = (0..len).map(|index| (index * 31 % 251) as u8).collect();
            fs::write(&from, &bytes).unwrap();
            copy_file(&from, &to).unwrap();
            assert!(fs::read(&to).unwrap() == bytes, "{len} bytes");
        }
        assert_eq!(
            copy_file(&scratch.path().join("no"), &to).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(copy_file(scratch.path(), &to).is_err());
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink(&from, &link).unwrap();
        for there in [&to, &link] {
            assert_eq!(
                copy_to_new_file(&from, there).unwrap_err().kind(),
                io::ErrorKind::AlreadyExists
            );
        }
        let new = scratch.path().join("new");
        copy_to_new_file(&link, &new).unwrap();
        assert_eq!(fs::read(&new).unwrap(), fs::read(&from).unwrap());
    }

    /// A reader that gives the listed pieces and errors one at a time.
    struct Pieces(VecDeque<io::Result<&'static [u8]>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.pop_front().unwrap_or(Ok(&[]))?;
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn a_signal_is_no_end_and_an_error_is_no_signal() {
        let interrupted = || Err(io::ErrorKind::Interrupted.into());
        let pieces = [interrupted(), Ok(&b"ab"[..]), interrupted(), interrupted(), Ok(b"c")];
        let mut copied = Vec::new();
        copy_rest(Pieces(pieces.into()), &mut copied).unwrap();
        assert_eq!(copied, b"abc");
        let failing = [Ok(&b"ab"[..]), Err(io::Error::from_raw_os_error(5))];
        assert_eq!(
            copy_rest(Pieces(failing.into()), &mut copied).unwrap_err().raw_os_error(),
            Some(5)
        );
    }
}
