//! Looks how much of a segment's file is content, without reading the content.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::entry::{MAPPED_HEADER_LEN, SEGMENT_HEADER_LEN, is_mapped, read_end};
use super::names::{failed, first_of, is_spare};
use crate::error::Result;
use crate::files::regular;

/// A process may store the end word while it is read, and a reader see some of it.
const LOOKS: usize = 8;

/// The lengths of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    pub(super) file: u64,
    pub(super) header: u64,
    /// Whether the file has room behind its content.
    pub(super) is_mapped: bool,
    /// Where the content of a mapped segment ends; None when its end word is damaged.
    pub(super) end: Option<u64>,
}

impl Lengths {
    /// # Errors
    /// The system's.
    pub(super) fn of(file: &File) -> io::Result<Lengths> {
        let mut looked = Lengths::look(file)?;
        for _ in 1..LOOKS {
            if !looked.is_mapped || looked.end.is_some() {
                break;
            }
            looked = Lengths::look(file)?;
        }
        Ok(looked)
    }

    fn look(file: &File) -> io::Result<Lengths> {
        let mut bytes = [0; MAPPED_HEADER_LEN];
        let mut found = 0;
        while found < bytes.len() {
            match file.read_at(&mut bytes[found..], found as u64) {
                Ok(0) => break,
                Ok(more) => found += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let is_mapped = is_mapped(&bytes[..found]);
        let header = if is_mapped { MAPPED_HEADER_LEN } else { SEGMENT_HEADER_LEN } as u64;
        let end = if is_mapped && found == bytes.len() { read_end(&bytes) } else { None };
        // A file grows before its content does.
        Ok(Lengths { file: file.metadata()?.len(), header, is_mapped, end })
    }

    /// The length of the content, as far as it can be told.
    fn content(&self) -> u64 {
        self.end.unwrap_or(self.file)
    }
}

fn lengths(path: &Path) -> Result<Lengths> {
    let look = || Lengths::of(&regular::open(path)?);
    look().map_err(|error| failed("read", path, &error))
}

/// The bytes of a segment's header and entries. Of other files: their length.
///
/// # Errors
/// The system's.
pub(crate) fn content_len(path: &Path) -> io::Result<u64> {
    let len = std::fs::metadata(path)?.len();
    match first_of(path) {
        None => Ok(len),
        Some(_) => match regular::open(path).and_then(|file| Lengths::of(&file)) {
            Ok(lengths) => Ok(lengths.content()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // Whoever reads it will tell why it cannot be read.
            Err(_) => Ok(len),
        },
    }
}

/// The bytes of the headers and entries of the segments in a folder. A file that vanishes counts
/// nothing, and neither does a spare.
///
/// # Errors
/// The system's.
pub(crate) fn bytes_in(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if is_spare(&path) {
            continue;
        }
        bytes += match content_len(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            found => found?,
        };
    }
    Ok(bytes)
}

/// Whether a segment has no entry.
///
/// # Errors
/// `IO`.
pub(super) fn is_empty(path: &Path) -> Result<bool> {
    let lengths = lengths(path)?;
    Ok(lengths.content() <= lengths.header)
}

/// How many bytes of content a segment has.
///
/// # Errors
/// `IO`.
pub(super) fn content(path: &Path) -> Result<u64> {
    Ok(lengths(path)?.content())
}

/// Whether a segment's file ends within its header.
///
/// # Errors
/// `IO`.
pub(crate) fn is_headerless(path: &Path) -> Result<bool> {
    let lengths = lengths(path)?;
    Ok(lengths.file < lengths.header)
}
