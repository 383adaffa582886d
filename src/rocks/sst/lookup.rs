//! SstLookup: single rows of one SST file.
//!
//! A filter tells most keys that the file does not have. For others the fences tell the block,
//! which is read and compared with its checksum each time.

use std::ops::Range;

use super::deleted::DeletedRange;
use super::fences::Fences;
use super::filter::{Filter, Line};
use super::rows::{Entries, Version};
use super::sst_rows::{Content, Refusal, SstRows};
use crate::error::Error;
use crate::memory::reserve;
use crate::rocks::key::{self, Ordinal};

/// A file of rows that is asked for single keys.
pub(in crate::rocks) struct SstLookup {
    file: SstRows,
    /// None when it has no entries.
    filter: Option<Filter>,
}

/// The block that was read last, and where in it the row is that was found.
#[derive(Default)]
pub(in crate::rocks) struct FoundRow {
    block: Vec<u8>,
    unpacked: Vec<u8>,
    is_unpacked: bool,
    value: Range<usize>,
    /// How many blocks were read.
    reads: usize,
    /// The error of a block that got no memory.
    without_memory: Option<Error>,
}

impl FoundRow {
    /// The value of the row that was found last.
    pub(in crate::rocks) fn value(&self) -> &[u8] {
        let block = if self.is_unpacked { &self.unpacked } else { &self.block };
        &block[self.value.clone()]
    }

    /// How many blocks were read so far.
    pub(in crate::rocks) fn reads(&self) -> usize {
        self.reads
    }

    /// Fails if a block got no memory. Then RocksDB must not be asked: without memory it ends the
    /// process.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(in crate::rocks) fn check_memory(&mut self) -> Result<(), Error> {
        self.without_memory.take().map_or(Ok(()), Err)
    }

    pub(super) fn read(&mut self, file: &SstRows, offset: u64, len: usize) -> Result<(), Refusal> {
        let failed = |what: &str| file.refusal(offset, format_args!("a block {what}"));
        self.block.clear();
        reserve(&mut self.block, len).map_err(|error| {
            file.source().note_passing();
            let refusal = failed(error.message());
            self.without_memory = Some(error);
            refusal
        })?;
        self.block.resize(len, 0);
        self.reads += 1;
        let read = file.source().read_at(&mut self.block, offset);
        read.map_err(|error| failed(&format!("cannot be read: {error}")))
    }
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
        Ok(lookup)
    }

    /// Checks that the filter has the keys of the first block: that RocksDB has made it as it is
    /// read here.
    fn check_filter(&self) -> Result<(), Refusal> {
        let fences = self.file.fences()?;
        let mut found = FoundRow::default();
        found.read(&self.file, 0, fences.size(0))?;
        let content = self.file.content(&found.block, 0, &mut found.unpacked)?;
        let (Content::InPlace(content) | Content::Unpacked(content)) = content;
        let refused = |what: &str| self.file.refusal(0, format_args!("a block {what}"));
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

    /// The newest version of a row in this file. If it has a value, that is in `found`. `near` is 0
    /// at first, and makes ascending keys faster.
    ///
    /// # Errors
    /// Why the file is refused.
    pub(in crate::rocks) fn get(
        &self,
        key: Ordinal,
        near: &mut usize,
        found: &mut FoundRow,
    ) -> Result<Option<Version>, Refusal> {
        let (file, fences) = (&self.file, self.file.fences()?);
        let Some((blocks, mut offset)) = fences.find_key(key, near) else { return Ok(None) };
        for block in blocks {
            let size = fences.size(block);
            found.read(file, offset, size)?;
            let (content, is_unpacked) =
                match file.content(&found.block, offset, &mut found.unpacked)? {
                    Content::InPlace(content) => (content, false),
                    Content::Unpacked(content) => (content, true),
                };
            let refused = |what: &str| file.refusal(offset, format_args!("a block {what}"));
            let mut entries = Entries::new(content, file.seqno).map_err(refused)?;
            let mut first = None;
            while let Some(entry) = entries.advance().map_err(refused)? {
                let version = entry.version;
                if !fences.may_have(block, *first.get_or_insert(version.key), version.key) {
                    return Err(refused("has keys that do not belong there"));
                }
                if version.key >= key {
                    (found.is_unpacked, found.value) = (is_unpacked, entry.range());
                    return Ok(Some(version).filter(|version| version.key == key));
                }
            }
            offset += size as u64;
        }
        Ok(None)
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
