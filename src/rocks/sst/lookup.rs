//! SstLookup: single rows of one SST file.
//!
//! A filter tells most keys that the file does not have. For others the fences tell the block,
//! which is read and compared with its checksum each time.

use super::deleted::DeletedRange;
use super::fences::Fences;
use super::filter::{Filter, Line};
use super::mapping::Mapping;
use super::rows::{Entries, Version};
use super::source::{FileRead, OpenFile, Source};
use super::sst_rows::{Content, Refusal, SstRows};
use crate::memory::filled;
use crate::rocks::key::{self, Ordinal};

/// A file of rows that is asked for single keys.
pub(in crate::rocks) struct SstLookup {
    file: SstRows,
    /// None when it has no entries.
    filter: Option<Filter>,
}

/// Where a key may be in a file: a block, and those behind it that may have the key, too.
#[derive(Clone, Copy)]
pub(in crate::rocks) struct BlockPlace {
    block: usize,
    /// Behind the last of the blocks.
    end: usize,
    /// Where the block is.
    pub(in crate::rocks) offset: u64,
}

/// What a block has of a key.
pub(in crate::rocks) enum InBlock<'a> {
    /// The newest version, and its value.
    Version(Version, &'a [u8]),
    /// The file does not have the key.
    Nothing,
    /// The key may be in the next block.
    Further,
}

impl SstLookup {
    /// About the bytes of memory that the fences and filters of a file will take, by what the file
    /// says about itself.
    pub(in crate::rocks) fn bytes_of(file: &SstRows) -> u64 {
        let properties = file.head().properties.as_ref().filter(|_| file.has_entries());
        let blocks = properties.and_then(|known| known.blocks).map_or(0, |(blocks, _)| blocks);
        let filter_bytes = properties.and_then(|known| known.filter_bytes).unwrap_or(0);
        Fences::bytes_of(blocks).saturating_add(Filter::bytes_of(filter_bytes))
    }

    /// Reads the fences and the filter of a file.
    ///
    /// # Errors
    /// Why it is refused. One of the reasons is that it has no filter: each key that the file does
    /// not have would cost a read.
    pub(in crate::rocks) fn new(file: SstRows) -> Result<SstLookup, Refusal> {
        let mut lookup = SstLookup { file, filter: None };
        if !lookup.file.has_entries() {
            return Ok(lookup);
        }
        lookup.file.fences()?;
        let head = lookup.file.head();
        let properties = head.properties.as_ref();
        let has_suffix = properties.is_some_and(|known| !known.is_user_key);
        let most = properties.and_then(|known| known.filter_bytes).unwrap_or(0);
        let read = Filter::read(lookup.file.source(), head, has_suffix, most);
        lookup.filter = read.map_err(|(at, what)| lookup.file.refusal(at, what))?;
        if lookup.filter.is_none() {
            return Err(lookup.file.refusal(0, "it has no filter that is known"));
        }
        lookup.check_filter()?;
        if let Some(file) = lookup.source().open_file() {
            file.expect_random_reads();
        }
        Ok(lookup)
    }

    /// Checks that the filter has the keys of the first block: that RocksDB has made it as it is
    /// read here.
    fn check_filter(&self) -> Result<(), Refusal> {
        let refused = |what: &str| self.file.refusal(0, format_args!("a block {what}"));
        let mut block = filled(0, self.file.fences()?.size(0)).map_err(|error| {
            self.source().note_passing();
            refused(error.message())
        })?;
        let read = self.source().read_at(&mut block, 0);
        read.map_err(|error| refused(&format!("cannot be read: {error}")))?;
        let mut room = Vec::new();
        let content = self.content(&block, 0, &mut room)?;
        let mut entries = Entries::new(content, self.file.seqno).map_err(refused)?;
        while let Some(entry) = entries.advance().map_err(refused)? {
            let key = entry.version.key;
            let hash = super::filter::hash(&key::of_ordinal(key));
            if !self.may_have(self.filter_line(key, hash, &mut 0), hash) {
                return Err(self.file.refusal(0, "its filter lacks a key of its first block"));
            }
        }
        Ok(())
    }

    /// Where the filter has a key, by the filters' hash of the key. That line is fetched. `near` is
    /// 0 at first, and makes ascending keys faster. None when the file has no entries.
    #[inline]
    pub(in crate::rocks) fn filter_line(
        &self,
        key: Ordinal,
        hash: u64,
        near: &mut usize,
    ) -> Option<Line> {
        self.filter.as_ref().map(|filter| filter.line(key, hash, near))
    }

    /// False for most keys that are not in the file. `line` and `hash` are the key's.
    #[inline]
    pub(in crate::rocks) fn may_have(&self, line: Option<Line>, hash: u64) -> bool {
        self.filter.as_ref().zip(line).is_some_and(|(filter, line)| filter.may_have(line, hash))
    }

    /// Where a key may be; None when it is in no block. `near` is 0 at first, and makes ascending
    /// keys faster.
    ///
    /// # Errors
    /// Why the file is refused.
    #[inline]
    pub(in crate::rocks) fn place(
        &self,
        key: Ordinal,
        near: &mut usize,
    ) -> Result<Option<BlockPlace>, Refusal> {
        let found = self.file.fences()?.find_key(key, near);
        Ok(found.map(|(blocks, offset)| BlockPlace {
            block: blocks.start,
            end: blocks.end,
            offset,
        }))
    }

    /// The bytes of a place's block, with its trailer.
    ///
    /// # Errors
    /// Why the file is refused.
    pub(in crate::rocks) fn block_len(&self, place: BlockPlace) -> Result<usize, Refusal> {
        Ok(self.file.fences()?.size(place.block))
    }

    /// The next block that may have the key, behind one of `len` bytes.
    pub(in crate::rocks) fn next(&self, place: BlockPlace, len: usize) -> Option<BlockPlace> {
        let (block, offset) = (place.block + 1, place.offset + len as u64);
        (block < place.end).then_some(BlockPlace { block, offset, ..place })
    }

    /// The content of a block that was read from `offset`; in `room`, if it is compressed. Its
    /// checksum is compared.
    ///
    /// # Errors
    /// Why the file is refused.
    pub(in crate::rocks) fn content<'a>(
        &self,
        block: &'a [u8],
        offset: u64,
        room: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], Refusal> {
        let (Content::InPlace(content) | Content::Unpacked(content)) =
            self.file.content(block, offset, room)?;
        Ok(content)
    }

    /// Looks for a key in the content of a place's block.
    ///
    /// # Errors
    /// Why the file is refused.
    pub(in crate::rocks) fn find<'a>(
        &self,
        content: &'a [u8],
        place: BlockPlace,
        key: Ordinal,
    ) -> Result<InBlock<'a>, Refusal> {
        let fences = self.file.fences()?;
        let refused = |what: &str| self.file.refusal(place.offset, format_args!("a block {what}"));
        let mut entries = Entries::new(content, self.file.seqno).map_err(refused)?;
        let mut first = None;
        while let Some(entry) = entries.advance().map_err(refused)? {
            let version = entry.version;
            let first = *first.get_or_insert(version.key);
            if !fences.may_have(place.block, first, version.key) {
                return Err(refused("has keys that do not belong there"));
            }
            if version.key >= key {
                let is_found = version.key == key;
                let found = || InBlock::Version(version, &content[entry.range()]);
                return Ok(if is_found { found() } else { InBlock::Nothing });
            }
        }
        Ok(if place.block + 1 < place.end { InBlock::Further } else { InBlock::Nothing })
    }

    /// Where the file's bytes come from.
    pub(in crate::rocks) fn source(&self) -> &dyn Source {
        self.file.source()
    }

    /// Has blocks read from somewhere else from now on.
    #[cfg(test)]
    pub(in crate::rocks) fn read_from(&mut self, source: Box<dyn Source>) {
        self.file.read_from(source);
    }

    /// The file in memory, if it can be mapped.
    #[inline]
    pub(in crate::rocks) fn mapping(&self) -> Option<&Mapping> {
        self.source().open_file().and_then(OpenFile::mapping)
    }

    /// A part of the file, if its bytes are those of one.
    pub(in crate::rocks) fn part(&self, offset: u64, len: usize) -> Option<FileRead<'_>> {
        self.source().open_file().map(|file| file.part(offset, len))
    }

    /// Whether nobody has cut the file off since it was opened.
    pub(in crate::rocks) fn has_its_length(&self) -> bool {
        self.source().open_file().is_none_or(OpenFile::has_its_length)
    }

    /// The deletions of ranges that the file has.
    pub(in crate::rocks) fn deleted(&self) -> &[DeletedRange] {
        &self.file.deleted
    }

    /// Bytes of memory.
    pub(in crate::rocks) fn bytes(&self) -> usize {
        let fences = self.file.fences().map_or(0, Fences::bytes);
        fences + self.filter.as_ref().map_or(0, Filter::bytes)
    }
}
