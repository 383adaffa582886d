//! Cursor: reads the entries of a file in order, from one key up to another.

use super::rows::{self, RowEntry, Version};
use super::sst_rows::{Content, Refusal, SstRows};
use crate::memory::reserve;
use crate::rocks::key::Ordinal;

/// A place in a file. It begins at the first entry of its range.
pub(in crate::rocks) struct Cursor<'a> {
    file: &'a SstRows,
    /// Entries from this key on are not wanted.
    end: Ordinal,
    /// The block to read next, where it is, and the first block that is not wanted.
    block: usize,
    offset: u64,
    end_block: usize,
    chunk: Chunk<'a>,
    /// The block's entries, and which of them is the present one.
    rows: Vec<RowEntry>,
    at: usize,
    /// The last entry of the block before.
    before: Option<Version>,
    /// How many entries there are in the blocks that were read; None when the file was not read
    /// from its first block on.
    read: Option<u64>,
    /// The present block: in the chunk, or unpacked.
    place: Place,
    unpacked: Vec<u8>,
}

/// Some blocks that follow each other, read at once.
struct Chunk<'a> {
    /// All of the file, where memory has it.
    whole: Option<&'a [u8]>,
    buffer: Vec<u8>,
    /// The bytes that are read at once, if a block is not larger.
    wanted: usize,
    /// Which bytes of the file are in the buffer.
    start: u64,
    len: usize,
}

#[derive(Clone, Copy)]
enum Place {
    Chunk { start: usize, len: usize },
    Unpacked,
}

impl<'a> Cursor<'a> {
    /// A cursor on the first entry from `start` on and before `end`. It reads `bytes` at once.
    ///
    /// # Errors
    /// Why the file is refused.
    pub(in crate::rocks) fn new(
        file: &'a SstRows,
        start: Ordinal,
        end: Ordinal,
        bytes: usize,
    ) -> Result<Cursor<'a>, Refusal> {
        let fences = file.fences()?;
        let (block, offset) = fences.find(start).unwrap_or((fences.block_count(), 0));
        let whole = file.source().whole();
        let mut cursor = Cursor {
            file,
            end,
            block,
            offset,
            end_block: fences.end_before(end),
            chunk: Chunk { whole, buffer: Vec::new(), wanted: bytes, start: 0, len: 0 },
            rows: Vec::new(),
            at: 0,
            before: None,
            read: (block == 0).then_some(0),
            place: Place::Unpacked,
            unpacked: Vec::new(),
        };
        while cursor.read_block()? {
            cursor.at = cursor.rows.partition_point(|row| row.version.key < start);
            if cursor.at < cursor.rows.len() {
                break;
            }
        }
        Ok(cursor)
    }

    /// The version of the present entry; None at the end.
    pub(in crate::rocks) fn entry(&self) -> Option<Version> {
        self.rows.get(self.at).map(|row| row.version).filter(|version| version.key < self.end)
    }

    /// The value of the present entry, which [`Cursor::entry`] has returned.
    pub(in crate::rocks) fn value(&self) -> &[u8] {
        let block = match self.place {
            Place::Chunk { start, len } => &self.chunk.bytes()[start..start + len],
            Place::Unpacked => &self.unpacked,
        };
        self.rows[self.at].value(block)
    }

    /// Goes to the next entry.
    ///
    /// # Errors
    /// Why the file is refused.
    pub(in crate::rocks) fn advance(&mut self) -> Result<(), Refusal> {
        self.at += 1;
        if self.at >= self.rows.len() && self.read_block()? {
            self.at = 0;
        }
        Ok(())
    }

    /// Why the file is refused at the present entry.
    pub(in crate::rocks) fn refusal(&self, what: &str) -> Refusal {
        self.file.refusal(self.offset, what)
    }

    /// Reads the next block; false at the end.
    fn read_block(&mut self) -> Result<bool, Refusal> {
        self.before = self.rows.last().map(|row| row.version);
        self.rows.clear();
        let file = self.file;
        let fences = file.fences()?;
        if self.block >= self.end_block {
            let is_whole = self.block == fences.block_count();
            return match self.read.filter(|_| is_whole) {
                Some(read) if read != file.entries => {
                    let what = format!("it has {read} entries; {} are needed", file.entries);
                    Err(file.refusal(self.offset, what))
                }
                _ => Ok(false),
            };
        }
        let (block, offset, size) = (self.block, self.offset, fences.size(self.block));
        let refused = |what: &str| file.refusal(offset, format_args!("a block {what}"));
        let start = match self.chunk.find(offset, size) {
            Some(start) => start,
            None => {
                let len = fences.bytes_from(block, self.end_block, self.chunk.wanted);
                self.chunk.read(file, offset, len)?;
                0
            }
        };
        let bytes = &self.chunk.bytes()[start..start + size];
        let content = file.content(bytes, offset, &mut self.unpacked)?;
        let (content, place) = match content {
            Content::InPlace(content) => (content, Place::Chunk { start, len: content.len() }),
            Content::Unpacked(content) => (content, Place::Unpacked),
        };
        rows::read(content, self.file.seqno, &mut self.rows).map_err(refused)?;
        self.place = place;
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else {
            return Err(refused("has no entry"));
        };
        let (first, last) = (first.version, last.version);
        let is_next = self.before.is_none_or(|before| before < first);
        if !is_next || !fences.may_have(block, first.key, last.key) {
            return Err(refused("has keys that do not belong there"));
        }
        (self.block, self.offset) = (block + 1, offset + size as u64);
        self.read = self.read.map(|read| read + self.rows.len() as u64);
        Ok(true)
    }
}

impl Chunk<'_> {
    fn bytes(&self) -> &[u8] {
        self.whole.unwrap_or(&self.buffer)
    }

    /// Where bytes of the file are in the chunk, if they are there.
    fn find(&self, offset: u64, size: usize) -> Option<usize> {
        let (start, len) = match self.whole {
            Some(whole) => (0, whole.len()),
            None => (self.start, self.len),
        };
        let at = usize::try_from(offset.checked_sub(start)?).ok()?;
        at.checked_add(size).is_some_and(|end| end <= len).then_some(at)
    }

    /// Reads bytes of the file into the buffer.
    fn read(&mut self, file: &SstRows, offset: u64, len: usize) -> Result<(), Refusal> {
        self.len = 0;
        if self.whole.is_some() {
            return Err(file.refusal(offset, "a block goes beyond the end"));
        }
        if self.buffer.len() < len {
            let more = len - self.buffer.len();
            reserve(&mut self.buffer, more)
                .map_err(|error| file.refusal(offset, error.message()))?;
            self.buffer.resize(len, 0);
        }
        file.source()
            .read_at(&mut self.buffer[..len], offset)
            .map_err(|error| file.refusal(offset, format_args!("it cannot be read: {error}")))?;
        (self.start, self.len) = (offset, len);
        Ok(())
    }
}
