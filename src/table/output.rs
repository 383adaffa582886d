//! The bytes of a new file. They are gathered in buffers. A thread sums the buffers up section by
//! section, writes them, and asks the system to begin with the disk's part at once.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::{io, mem};

use super::file::PartialFile;
use super::format::ALIGN;
use super::system::begin_writing_back;
use crate::error::{Error, Result};
use crate::file_size_limit::start_thread;
use crate::memory::{filled, reserve};

/// The unit of writing, and its alignment in the file: a huge page. Where the file system can, the
/// page cache then holds it as one. A process that maps the file while it is cached finds twice as
/// many rows a second.
const BLOCK: usize = 2 << 20;
/// Buffers waiting to be written, beside the one that is being filled.
const AHEAD: usize = 4;
/// How much the system is asked to write back at once.
const PIECE: u64 = 16 << 20;

pub(super) struct SectionOutput {
    file: PartialFile,
    buffer: Vec<u8>,
    used: usize,
    /// The offsets in the buffer at which sections end.
    ends: Vec<usize>,
    /// The offset in the file at which the buffer begins.
    start: u64,
    /// Started with the first full buffer.
    worker: Option<Worker>,
    /// The first error; the file cannot be finished after it.
    broken: Option<Error>,
}

impl SectionOutput {
    /// Creates the file and leaves `head` bytes at its beginning, to be written last. `piece` is
    /// the largest request for room.
    ///
    /// # Errors
    /// As `PartialFile::create`; `OUT_OF_MEMORY`.
    pub(super) fn create(path: &Path, head: usize, piece: usize) -> Result<SectionOutput> {
        let file = PartialFile::create(path)?;
        // When a request does not fit, at least one whole block can be flushed.
        let buffer = filled(0, BLOCK + piece.max(1))?;
        let mut output = SectionOutput {
            file,
            buffer,
            used: 0,
            ends: Vec::new(),
            start: 0,
            worker: None,
            broken: None,
        };
        let zeros = filled(0, head)?;
        output.write(&zeros)?;
        // The head counts as a section, whose checksum is not used.
        output.ends.push(output.used);
        Ok(output)
    }

    pub(super) fn file(&self) -> &PartialFile {
        &self.file
    }

    /// The number of bytes of the file so far.
    pub(super) fn position(&self) -> u64 {
        self.start + self.used as u64
    }

    /// Room for at least `bytes`; [`SectionOutput::advance`] then tells how many of them were used.
    ///
    /// # Errors
    /// `IO`, of this or of an earlier write. Every later call returns the same error, since the
    /// file then lacks bytes.
    #[inline]
    pub(super) fn room(&mut self, bytes: usize) -> Result<&mut [u8]> {
        if self.buffer.len() - self.used < bytes {
            self.flush()?;
        }
        Ok(&mut self.buffer[self.used..])
    }

    #[inline]
    pub(super) fn advance(&mut self, bytes: usize) {
        self.used += bytes;
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// As [`SectionOutput::room`].
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.room(1)?;
            let len = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(len);
            room[..len].copy_from_slice(now);
            self.advance(len);
            bytes = later;
        }
        Ok(())
    }

    /// Ends the section: fills it up with zeros. `finish` has its checksum.
    ///
    /// # Errors
    /// As [`SectionOutput::room`].
    pub(super) fn end_section(&mut self) -> Result<()> {
        let padding = self.position().next_multiple_of(ALIGN) - self.position();
        self.write(&[0; ALIGN as usize][..padding as usize])?;
        reserve(&mut self.ends, 1)?;
        self.ends.push(self.used);
        Ok(())
    }

    /// Writes the head, made from the checksums of all sections in order, and gives the file its
    /// name.
    ///
    /// # Errors
    /// As [`SectionOutput::room`].
    pub(super) fn finish(mut self, head: impl FnOnce(&[u32]) -> Vec<u8>) -> Result<()> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let failed = |error: io::Error| self.file.failed("be written", &error);
        let last =
            FilledBuffer { bytes: self.buffer, len: self.used, start: self.start, ends: self.ends };
        let sums = match self.worker.take() {
            Some(mut worker) => {
                worker.write(last);
                worker.join().map_err(failed)?
            }
            None => {
                let mut sink = Sink::default();
                sink.write(self.file.file(), &last).map_err(failed)?;
                sink.sums
            }
        };
        self.file.file().write_all_at(&head(&sums[1..]), 0).map_err(failed)?;
        self.file.finish()
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let result = self.pass_on();
        self.broken = result.as_ref().err().cloned();
        result
    }

    /// Hands the buffer to the thread, up to the last end of a block in it, and continues with an
    /// empty one.
    fn pass_on(&mut self) -> Result<()> {
        let failed = |error: io::Error| self.file.failed("be written", &error);
        let worker = match &mut self.worker {
            Some(worker) => worker,
            None => {
                let file = self.file.file().try_clone().map_err(failed)?;
                self.worker.insert(Worker::new(file, self.buffer.len())?.map_err(failed)?)
            }
        };
        let mut next = worker.empty().map_err(failed)?;
        let end = self.start + self.used as u64;
        let len = (end - end % BLOCK as u64).saturating_sub(self.start) as usize;
        let rest = &self.buffer[len..self.used];
        next[..rest.len()].copy_from_slice(rest);
        self.used = rest.len();
        let later = self.ends.partition_point(|end| *end <= len);
        let later: Vec<usize> = self.ends.drain(later..).map(|end| end - len).collect();
        let (bytes, ends) =
            (mem::replace(&mut self.buffer, next), mem::replace(&mut self.ends, later));
        worker.write(FilledBuffer { bytes, len, start: self.start, ends });
        self.start += len as u64;
        Ok(())
    }
}

/// A buffer to be written, and the offsets in it at which sections end.
struct FilledBuffer {
    bytes: Vec<u8>,
    len: usize,
    start: u64,
    ends: Vec<usize>,
}

/// The receiver of buffers: writes them and keeps the checksums.
#[derive(Default)]
struct Sink {
    crc: crc32fast::Hasher,
    sums: Vec<u32>,
    /// The offset up to which the system was asked to write back.
    handed_over: Option<u64>,
}

impl Sink {
    fn write(&mut self, file: &File, full: &FilledBuffer) -> io::Result<()> {
        let bytes = &full.bytes[..full.len];
        let mut summed = 0;
        self.sums.try_reserve(full.ends.len())?;
        for end in &full.ends {
            self.crc.update(&bytes[summed..*end]);
            self.sums.push(mem::take(&mut self.crc).finalize());
            summed = *end;
        }
        self.crc.update(&bytes[summed..]);
        file.write_all_at(bytes, full.start)?;
        let (from, end) =
            (*self.handed_over.get_or_insert(full.start), full.start + full.len as u64);
        if end - from >= PIECE {
            begin_writing_back(file, from, end - from);
            self.handed_over = Some(end);
        }
        Ok(())
    }
}

/// The thread that writes. It ends when no buffer can come any more, or after an error.
struct Worker {
    full: Option<SyncSender<FilledBuffer>>,
    empty: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<io::Result<Vec<u32>>>>,
}

impl Worker {
    fn new(file: File, buffer: usize) -> Result<io::Result<Worker>> {
        let (full, to_write) = sync_channel(AHEAD);
        let (written, empty) = sync_channel(AHEAD + 2);
        for _ in 0..AHEAD {
            // It cannot fail: the channel has room, and a receiver.
            let _ = written.send(filled(0, buffer)?);
        }
        let body = move || write_all(&file, &to_write, &written);
        let thread = start_thread(thread::Builder::new().name("damo-dump".to_owned()), body);
        Ok(thread.map(|thread| Worker { full: Some(full), empty, thread: Some(thread) }))
    }

    /// Waits for an empty buffer.
    fn empty(&mut self) -> io::Result<Vec<u8>> {
        match self.empty.recv() {
            Ok(buffer) => Ok(buffer),
            // The thread has ended; its error says why.
            Err(_) => Err(self.join().err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Hands a buffer over. When the thread has ended, the next `empty` or `join` has its error.
    fn write(&mut self, full: FilledBuffer) {
        if let Some(sender) = &self.full {
            let _ = sender.send(full);
        }
    }

    /// Waits for the thread to end and returns the checksums.
    fn join(&mut self) -> io::Result<Vec<u32>> {
        self.full = None;
        match self.thread.take().map(JoinHandle::join) {
            None => Err(io::Error::other("a bug in damo: the writing thread was joined twice")),
            Some(Ok(result)) => result,
            Some(Err(payload)) => std::panic::resume_unwind(payload),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The file is deleted next, and nobody may be writing to it then. A panic has been reported
        // already.
        self.full = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn write_all(
    file: &File,
    to_write: &Receiver<FilledBuffer>,
    written: &SyncSender<Vec<u8>>,
) -> io::Result<Vec<u32>> {
    let mut sink = Sink::default();
    while let Ok(full) = to_write.recv() {
        sink.write(file, &full)?;
        // After the last buffer no empty one is needed.
        let _ = written.try_send(full.bytes);
    }
    Ok(sink.sums)
}
