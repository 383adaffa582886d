//! Opens regular files only. A pipe would block the caller for ever, and opening a device may have
//! effects.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, Result};

/// Opens a regular file, or a link to one, for reading.
///
/// # Errors
/// The system's error; `Other` for anything that is not a regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    check(&fs::metadata(path)?)?;
    // Something else may have got the name meanwhile, and opening it must not block.
    let file =
        File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Opens a regular file, or a link to one, that an argument names, and says why if it cannot.
/// `shown` is how messages name it, and `needed` what they ask for. Returns also what it was found
/// to be.
///
/// # Errors
/// `NOT_FOUND`; `INVALID_ARGUMENT` for anything that is not a regular file; `IO`.
pub(crate) fn open_argument(
    path: &Path,
    shown: &str,
    needed: &str,
) -> Result<(File, fs::Metadata)> {
    let unreadable = |error: io::Error| {
        let message = format!("{shown} cannot be read: {error}");
        match error.kind() {
            io::ErrorKind::NotFound => Error::not_found(message),
            _ => Error::io(message),
        }
    };
    // Opening a pipe would wait for a writer.
    let found = fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        let what = if found.is_dir() { "a directory" } else { "no regular file" };
        return Err(Error::invalid(format!("{shown} is {what}; {needed}")));
    }
    Ok((File::open(path).map_err(unreadable)?, found))
}

/// The content of a regular file.
///
/// # Errors
/// As [`open`].
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The content of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open`]; `InvalidData` for a larger one.
pub(crate) fn read_small(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has more than {most} bytes"),
        )),
        false => Ok(bytes),
    }
}

/// Tells a shortage from damage. A file that could not be read for want of descriptors or memory is
/// not damaged. `text` is an error message of the system or RocksDB.
///
/// # Errors
/// `IO`, `OUT_OF_MEMORY`, where `text` says so.
pub(crate) fn check_no_shortage(text: &str) -> Result<()> {
    let has = |texts: &[&str]| texts.iter().any(|found| text.contains(found));
    if has(&["(os error 23)", "(os error 24)", "Too many open files"]) {
        return Err(Error::io(format!(
            "too few files can be open at once to tell what is damaged; raise the limit (ulimit \
             -n): {text}"
        )));
    }
    if has(&["(os error 12)", "Cannot allocate memory"]) {
        return Err(Error::out_of_memory(text));
    }
    Ok(())
}

fn check(found: &fs::Metadata) -> io::Result<()> {
    if found.is_file() { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn a_shortage_is_told_from_damage() {
        let status = |text: &str| check_no_shortage(text).map_err(|error| error.status());
        let system = |code: i32| io::Error::from_raw_os_error(code).to_string();
        assert_eq!(status(&system(24)), Err(Status::Io));
        assert_eq!(
            status("IO error: While open a file for random read: x.sst: Too many open files"),
            Err(Status::Io)
        );
        assert_eq!(status(&system(12)), Err(Status::OutOfMemory));
        assert_eq!([status(&system(5)), status("block 24 is damaged")], [Ok(()); 2]);
    }

    #[test]
    fn only_files_are_opened() {
        let scratch = tempfile::tempdir().unwrap();
        let [file, link, pipe, dangling] =
            ["file", "link", "pipe", "dangling"].map(|name| scratch.path().join(name));
        fs::write(&file, "content").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::os::unix::fs::symlink(scratch.path().join("nothing"), &dangling).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!([read(&file).unwrap(), read(&link).unwrap()], [b"content"; 2]);
        assert_eq!(read_small(&file, 7).unwrap(), b"content");
        assert_eq!(read_small(&file, 6).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(open(&dangling).unwrap_err().kind(), io::ErrorKind::NotFound);
        for path in [&pipe, &scratch.path().to_owned()] {
            assert!(open(path).unwrap_err().to_string().contains("not a regular file"), "{path:?}");
        }
    }
}
