//! A segment: one file of the journal, named after the sequence number of its first call.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{MAPPED_HEADER_LEN, SEGMENT_HEADER_LEN, mapped_header, segment_header};
use super::mapped::Mapped;
use super::mapping;
use super::names::{failed, first_of, is_spare, name};
use super::room;
use super::spare::{self, Spare};
use super::write::write_all_vectored;
use crate::error::{Error, Result};
use crate::files::folder::sync_dir;
use crate::seqno::Seqno;

/// The segment that is being written.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// Shared with the thread that is syncing it.
    pub(super) file: Arc<File>,
    /// Bytes of the header and of whole entries.
    pub(super) len: u64,
    /// The ids of the configurations in it.
    pub(super) configs: Vec<u32>,
    /// Set when entries are copied into the mapped file; otherwise they are written.
    pub(super) mapped: Option<Mapped>,
}

/// Why an append failed, and what the file looks like.
pub(super) enum AppendError {
    /// The file is as long as before.
    CutOff(Error),
    /// Part of the entry could not be cut off.
    Torn(Error),
}

impl Segment {
    /// Creates the file for calls from `first` on. With `sync` it survives a loss of power. An
    /// existing file of that name has no call: a failed attempt left it.
    ///
    /// # Errors
    /// `IO`. No file of that name, or one without a call, remains.
    pub(super) fn create(dir: &Path, first: Seqno, sync: bool) -> Result<Segment> {
        let path = dir.join(name(first));
        let make = || -> io::Result<File> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
            file.write_all(&segment_header(first))?;
            if sync {
                file.sync_all()?;
                sync_dir(dir)?;
            }
            Ok(file)
        };
        match make() {
            Ok(file) => Ok(Segment {
                path,
                file: Arc::new(file),
                len: SEGMENT_HEADER_LEN as u64,
                configs: Vec::new(),
                mapped: None,
            }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(failed("made", &path, &error))
            }
        }
    }

    /// As [`Segment::create`], for a segment whose entries are copied into the mapped file, with
    /// `room` bytes of room. Takes a spare's file if there is one. Where files cannot be mapped,
    /// entries are written.
    ///
    /// # Errors
    /// As [`Segment::create`].
    pub(super) fn create_mapped(
        dir: &Path,
        first: Seqno,
        sync: bool,
        room: u64,
        spare: Option<Spare>,
    ) -> Result<Segment> {
        let path = dir.join(name(first));
        if let Some(renewed) = spare.and_then(|spare| Segment::renew(&spare, &path, first)) {
            return Ok(renewed);
        }
        let make = || -> io::Result<Option<(File, Mapped)>> {
            let mut file =
                File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
            if !mapping::is_reliable(&file) {
                return Ok(None);
            }
            // The header comes first: whoever finds the file finds it whole.
            file.write_all(&mapped_header(first))?;
            if sync {
                file.sync_all()?;
                sync_dir(dir)?;
            }
            let ready = match room::reserve(&file, 0, room, room::LEAST) {
                Err(error) if room::is_refused(&error) => return Ok(None),
                reserved => reserved?,
            };
            let mapped = Mapped::new(&file, first, ready, 0).ok();
            Ok(mapped.map(|mapped| (file, mapped)))
        };
        match make() {
            Ok(Some((file, mapped))) => Ok(Segment::of_mapped(path, file, mapped)),
            Ok(None) => Segment::create(dir, first, sync),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(failed("made", &path, &error))
            }
        }
    }

    /// Makes a spare the segment's file. None, and the spare is deleted, when that is not possible.
    fn renew(spare: &Spare, path: &Path, first: Seqno) -> Option<Segment> {
        let renew = || -> io::Result<Segment> {
            let (file, len) = spare::renew(&spare.path, path, first)?;
            let mapped = Mapped::new(&file, first, len, spare.filled.min(len))?;
            Ok(Segment::of_mapped(path.to_owned(), file, mapped))
        };
        // A new file will do. If it cannot be made either, that error is the one to report.
        let renewed = renew().ok();
        if renewed.is_none() {
            let _ = spare::delete(&spare.path);
        }
        renewed
    }

    fn of_mapped(path: PathBuf, file: File, mapped: Mapped) -> Segment {
        Segment {
            path,
            file: Arc::new(file),
            len: MAPPED_HEADER_LEN as u64,
            configs: Vec::new(),
            mapped: Some(mapped),
        }
    }

    /// Bytes of the header.
    pub(super) fn header_len(&self) -> u64 {
        let len = if self.mapped.is_some() { MAPPED_HEADER_LEN } else { SEGMENT_HEADER_LEN };
        len as u64
    }

    /// Whether it has no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.len == self.header_len()
    }

    /// Appends all of the pieces or nothing.
    ///
    /// # Errors
    /// `IO`; [`AppendError::Torn`] when the file could not be cut back to its length before.
    pub(super) fn append(
        &mut self,
        pieces: &mut [IoSlice<'_>],
    ) -> std::result::Result<(), AppendError> {
        let len: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let Err(error) = write_all_vectored(&self.file, pieces) else {
            self.len += len;
            return Ok(());
        };
        let error = failed("written", &self.path, &error);
        Err(match self.cut_off() {
            Ok(()) => AppendError::CutOff(error),
            Err(_) => AppendError::Torn(error),
        })
    }

    /// Cuts the file off behind the last whole entry.
    pub(super) fn cut_off(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)?;
        (&*self.file).seek(SeekFrom::Start(self.len)).map(drop)
    }
}

/// Lists the segments of a directory in order: the first call's sequence number and the path.
/// Ignores spares.
///
/// # Errors
/// `IO`; `CORRUPTION` for any other file.
pub(super) fn list(dir: &Path) -> Result<Vec<(Seqno, PathBuf)>> {
    let unreadable = |error: io::Error| failed("read", dir, &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_spare(&path) {
            continue;
        }
        let first = first_of(&path).ok_or_else(|| {
            Error::corruption(format!(
                "'{}' is not a file of the journal; move it away",
                path.display()
            ))
        })?;
        found.push((first, path));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::names::MAX_SEQNO;
    use super::*;

    #[test]
    fn files_that_no_call_can_begin_are_refused() {
        for (name, first) in [
            ("00000000000000000001.journal", Some(Seqno::new(1))),
            ("00072057594037927935.journal", Some(MAX_SEQNO)),
            ("00000000000000000000.journal", None),
            ("00072057594037927936.journal", None),
            ("18446744073709551615.journal", None),
            ("00000000000000000001.txt", None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), "").unwrap();
            let found = list(dir.path());
            match first {
                Some(first) => assert_eq!(found.unwrap(), [(first, dir.path().join(name))]),
                None => assert!(found.unwrap_err().message().contains(name), "{name}"),
            }
        }
    }
}
