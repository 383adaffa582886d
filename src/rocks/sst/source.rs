//! Where a file's bytes come from: a system call each time, or memory that has all of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

#[cfg(target_os = "linux")]
use rustix::io::{ReadWriteFlags, preadv2};

use super::block::{Handle, TRAILER, content};
use super::mapping::Mapping;
use crate::error::Error;
use crate::memory::filled;

/// A file's bytes.
pub(crate) trait Source: Send + Sync {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// All bytes, where memory has them: a mapping, or a file that was read whole.
    fn whole(&self) -> Option<&[u8]>;

    /// Fills `buffer` with the bytes from `at` on.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` beyond the end.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Notes a failure that may pass, and says nothing about the file's content.
    fn note_passing(&self) {}

    /// Notes that memory was refused, which may pass, too.
    fn note_shortage(&self) {}

    /// The file, where the bytes are those of one.
    fn open_file(&self) -> Option<&OpenFile> {
        None
    }
}

/// Whether a read has failed, or memory was refused. Then the file is not known to be damaged.
#[derive(Clone, Default)]
pub(in crate::rocks) struct Passing(Arc<AtomicBool>);

impl Passing {
    pub(in crate::rocks) fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A part of a file, to be read.
#[derive(Clone, Copy)]
pub(in crate::rocks) struct FileRead<'a> {
    pub(in crate::rocks) file: &'a File,
    pub(in crate::rocks) offset: u64,
    pub(in crate::rocks) len: usize,
}

impl FileRead<'_> {
    /// Fills `buffer`, which has `len` bytes, if the page cache has them. False where a call would
    /// wait for the disk or fails, and where the system cannot tell.
    #[cfg(target_os = "linux")]
    pub(in crate::rocks) fn read_at_once(&self, buffer: &mut [u8]) -> bool {
        let wanted = buffer.len();
        let mut buffers = [io::IoSliceMut::new(buffer)];
        preadv2(self.file, &mut buffers, self.offset, ReadWriteFlags::NOWAIT) == Ok(wanted)
    }

    #[cfg(not(target_os = "linux"))]
    pub(in crate::rocks) fn read_at_once(&self, _buffer: &mut [u8]) -> bool {
        false
    }
}

/// An open file, of which each read is a system call. A failing disk is an error, where reading a
/// mapping would end the process.
pub(crate) struct OpenFile {
    file: File,
    len: u64,
    passing: Passing,
    /// Memory was refused for a block.
    is_short: AtomicBool,
    /// Made when lookups first want it. None where the file cannot be mapped.
    mapping: OnceLock<Option<Arc<Mapping>>>,
}

impl OpenFile {
    /// # Errors
    /// The system's.
    pub(crate) fn new(file: File) -> io::Result<OpenFile> {
        let len = file.metadata()?.len();
        let (passing, is_short) = (Passing::default(), AtomicBool::new(false));
        Ok(OpenFile { file, len, passing, is_short, mapping: OnceLock::new() })
    }

    /// Announces that single blocks will be read: the system then reads none ahead.
    pub(in crate::rocks) fn expect_random_reads(&self) {
        // Advice, so errors are ignored.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Random);
    }

    /// A part of the file.
    pub(in crate::rocks) fn part(&self, offset: u64, len: usize) -> FileRead<'_> {
        FileRead { file: &self.file, offset, len }
    }

    /// The file in memory, which is mapped at the first call.
    pub(in crate::rocks) fn mapping(&self) -> Option<&Mapping> {
        self.mapping.get_or_init(|| Mapping::new(&self.file, self.len)).as_deref()
    }

    /// Whether nobody has cut the file off since it was opened.
    pub(in crate::rocks) fn has_its_length(&self) -> bool {
        self.file.metadata().is_ok_and(|known| known.len() >= self.len)
    }

    /// Whether memory was refused for a block of the file.
    pub(in crate::rocks) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    /// Tells whether reads of this file have failed, also after the file was handed on.
    pub(in crate::rocks) fn passing(&self) -> Passing {
        self.passing.clone()
    }
}

impl Source for OpenFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn whole(&self) -> Option<&[u8]> {
        None
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, at).inspect_err(|error| {
            // A file that has become shorter is damaged.
            if error.kind() != io::ErrorKind::UnexpectedEof {
                self.note_passing();
            }
        })
    }

    fn note_passing(&self) {
        self.passing.note();
    }

    fn note_shortage(&self) {
        self.passing.note();
        self.is_short.store(true, Ordering::Relaxed);
    }

    fn open_file(&self) -> Option<&OpenFile> {
        Some(self)
    }
}

impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn whole(&self) -> Option<&[u8]> {
        Some(self)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let start = usize::try_from(at).ok();
        let bytes = start.and_then(|start| self.get(start..)?.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The content of a block of at most `limit` bytes whose checksum fits. `base` is the number that
/// the file's checksums are mixed with.
///
/// # Errors
/// What is wrong with the block, in words that follow its name.
pub(super) fn read_block(
    source: &dyn Source,
    base: u32,
    handle: Handle,
    limit: u64,
) -> Result<Vec<u8>, String> {
    let damaged = || "is damaged".to_owned();
    if handle.size > limit || handle.end().is_none_or(|end| end > source.len()) {
        return Err(damaged());
    }
    let no_memory = |error: Error| {
        source.note_shortage();
        format!("cannot be read: {}", error.message())
    };
    let mut bytes = filled(0, handle.size as usize + TRAILER).map_err(no_memory)?;
    source
        .read_at(&mut bytes, handle.offset)
        .map_err(|error| format!("cannot be read: {error}"))?;
    content(bytes, base, handle.offset, limit).map_err(no_memory)?.ok_or_else(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_read_is_passing_and_a_file_that_is_cut_off_is_damaged() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(10).unwrap();
        let read = |file: File, at: u64| {
            let source = OpenFile::new(file).unwrap();
            let passing = source.passing();
            let is_read = source.read_at(&mut [0; 10], at).is_ok();
            (is_read, passing.is_noted())
        };
        let open = || File::open(file.path()).unwrap();
        assert_eq!(read(open(), 0), (true, false));
        assert_eq!(read(open(), 1), (false, false), "the file is shorter");
        let unreadable = File::options().write(true).open(file.path()).unwrap();
        assert_eq!(read(unreadable, 0), (false, true), "the system refuses to read it");
    }
}
