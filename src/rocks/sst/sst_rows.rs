//! SstRows: an SST file of rows that is read without RocksDB.
//!
//! It has whole blocks with right checksums that follow each other without gaps, ascending keys of
//! rows, and nothing that damo's options do not make. Any other file is refused, and RocksDB is
//! asked for its rows.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::block::{LZ4, UNCOMPRESSED, checked, pairs, unpacked};
use super::deleted::DeletedRange;
use super::fences::Fences;
use super::head::{Head, MAX_SMALL, Properties};
use super::source::{Source, read_block};
use super::{MAX_DATA, SUFFIX};
use crate::error::Error;
use crate::rocks::key::{self, KEY_LEN};

const RANGE_DELETION: u8 = 15;
/// The end of the keys of the last group: longer than a key, and above them all.
const ABOVE_ALL: [u8; KEY_LEN + 1] = [u8::MAX; KEY_LEN + 1];

/// What the MANIFEST says about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rocks) struct Bounds {
    /// The file's bytes.
    pub(in crate::rocks) len: u64,
    /// The smallest and the largest key; range deletions count.
    pub(in crate::rocks) first: Vec<u8>,
    pub(in crate::rocks) last: Vec<u8>,
    pub(in crate::rocks) first_seqno: u64,
    pub(in crate::rocks) last_seqno: u64,
}

/// Why a file's rows are not read here, with the file and the place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rocks) struct Refusal {
    text: String,
    /// It is refused since there is no memory for a block.
    is_shortage: bool,
}

impl Refusal {
    pub(in crate::rocks) fn new(path: &Path, at: u64, what: impl fmt::Display) -> Refusal {
        let text = format!("'{}', byte {at}: {what}", path.display());
        Refusal { text, is_shortage: false }
    }

    /// The error of a refusal for want of memory. RocksDB must not be asked then: without memory it
    /// ends the process.
    pub(in crate::rocks) fn shortage(&self) -> Option<Error> {
        self.is_shortage.then(|| Error::out_of_memory(self.text.clone()))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// An SST file of rows.
pub(in crate::rocks) struct SstRows {
    source: Box<dyn Source>,
    path: PathBuf,
    head: Head,
    pub(in crate::rocks) bounds: Bounds,
    /// The sequence number of all entries of an ingested file.
    pub(super) seqno: Option<u64>,
    /// Entries, without range deletions.
    pub(super) entries: u64,
    pub(in crate::rocks) deleted: Vec<DeletedRange>,
    fences: OnceLock<Result<Fences, Refusal>>,
}

impl SstRows {
    /// Reads the head of a file. `path` is how messages name it.
    ///
    /// # Errors
    /// Why it is refused.
    pub(in crate::rocks) fn open(
        path: PathBuf,
        source: Box<dyn Source>,
        bounds: Bounds,
    ) -> Result<SstRows, Refusal> {
        let refused = |at: u64, what: &str| Refusal::new(&path, at, what);
        let len = source.len();
        if len != bounds.len {
            let what = format!("the file has {len} bytes; {} are needed", bounds.len);
            return Err(Refusal::new(&path, len.min(bounds.len), what));
        }
        let head = Head::read(&*source).map_err(|what| refused(len, &what))?;
        if let Some(name) = head.unusual_block() {
            return Err(Refusal::new(&path, len, format!("it has a block '{name}'")));
        }
        let properties = head.properties.as_ref();
        let properties =
            properties.ok_or_else(|| refused(len, "its properties are damaged or missing"))?;
        let (entries, seqno) = check(properties, &bounds).map_err(|what| refused(len, what))?;
        let deleted = read_deleted(&*source, &head, properties, &bounds)
            .map_err(|(at, what)| Refusal::new(&path, at, what))?;
        Ok(SstRows { source, path, head, bounds, seqno, entries, deleted, fences: OnceLock::new() })
    }

    /// The file's blocks, which are read at the first call.
    pub(super) fn fences(&self) -> Result<&Fences, Refusal> {
        let read = self.fences.get_or_init(|| match &self.head.properties {
            Some(properties) => {
                let first = self.bounds.first.as_slice().try_into().map_or(0, key::ordinal);
                Fences::read(&*self.source, &self.head, properties, first)
                    .map_err(|(at, what)| self.refusal(at, what))
            }
            None => Err(self.refusal(0, "it has no properties")),
        });
        read.as_ref().map_err(Refusal::clone)
    }

    /// The number that checksums are mixed with, and all blocks that are read.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> (u32, Vec<super::block::Handle>) {
        let base = self.head.base;
        let mut blocks = self.fences().unwrap().handles();
        blocks.extend(self.head.handles());
        if self.head.properties.as_ref().unwrap().has_two_levels {
            let top = self.head.block("rocksdb.index").unwrap();
            let top = read_block(&*self.source, base, top, MAX_SMALL).unwrap();
            let parts = super::block::index_entries(&top, 0, u64::MAX, u64::MAX).unwrap();
            blocks.extend(parts.into_iter().map(|part| part.handle.unwrap()));
        }
        (base, blocks)
    }

    /// Whether it has entries. A file may have range deletions only.
    pub(in crate::rocks) fn has_entries(&self) -> bool {
        let properties = self.head.properties.as_ref();
        properties.and_then(|properties| properties.blocks).is_none_or(|(blocks, _)| blocks > 0)
    }

    pub(super) fn source(&self) -> &dyn Source {
        &*self.source
    }

    #[cfg(test)]
    pub(super) fn read_from(&mut self, source: Box<dyn Source>) {
        self.source = source;
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn refusal(&self, at: u64, what: impl fmt::Display) -> Refusal {
        Refusal::new(&self.path, at, what)
    }

    /// The content of a block that was read from `offset` with its trailer; in `room`, if it is
    /// compressed. Its checksum is compared.
    pub(super) fn content<'a>(
        &self,
        block: &'a [u8],
        offset: u64,
        room: &'a mut Vec<u8>,
    ) -> Result<Content<'a>, Refusal> {
        let (content, compression) = checked(block, self.head.base, offset)
            .ok_or_else(|| self.refusal(offset, "a block's checksum does not fit"))?;
        match compression {
            UNCOMPRESSED => Ok(Content::InPlace(content)),
            LZ4 => {
                let content = unpacked(content, MAX_DATA).map_err(|error| {
                    self.source.note_shortage();
                    Refusal { is_shortage: true, ..self.refusal(offset, error.message()) }
                })?;
                *room = content.ok_or_else(|| self.refusal(offset, "a block is damaged"))?;
                Ok(Content::Unpacked(room))
            }
            kind => {
                let what = format!("a block has a compression, {kind}, that damo does not write");
                Err(self.refusal(offset, what))
            }
        }
    }
}

/// A block's content: where the block is, or unpacked from it.
pub(super) enum Content<'a> {
    InPlace(&'a [u8]),
    Unpacked(&'a [u8]),
}

/// Checks that a file is of a kind that is known here. Returns its entries, and the sequence number
/// of all of them, if it was ingested.
fn check(properties: &Properties, bounds: &Bounds) -> Result<(u64, Option<u64>), &'static str> {
    if !properties.is_usual {
        return Err("its properties are not those of a file that damo's options make");
    }
    let entries = properties.entries.ok_or("it does not say how many entries it has")?;
    let seqno = match properties.is_external {
        false => None,
        true if bounds.first_seqno != bounds.last_seqno => {
            return Err("it was ingested, and has several sequence numbers");
        }
        true if properties.range_deletions > 0 => return Err("it was ingested with deletions"),
        true => Some(bounds.last_seqno),
    };
    if bounds.last_seqno > super::rows::MAX_SEQNO {
        return Err("it has a sequence number beyond RocksDB's");
    }
    Ok((entries, seqno))
}

/// Reads the deletions of ranges. Outside its file's bounds such a deletion has no effect; RocksDB
/// knows more about these bounds than it tells, so a file with such a deletion is refused.
fn read_deleted(
    source: &dyn Source,
    head: &Head,
    properties: &Properties,
    bounds: &Bounds,
) -> Result<Vec<DeletedRange>, (u64, String)> {
    let place = head.block("rocksdb.range_del");
    let Some(handle) = place else {
        return match properties.range_deletions {
            0 => Ok(Vec::new()),
            count => Err((0, format!("the block of its {count} range deletions is missing"))),
        };
    };
    let failed = |what: &str| (handle.offset, format!("the block of its range deletions {what}"));
    let block = read_block(source, head.base, handle, MAX_SMALL).map_err(|what| failed(&what))?;
    let list = pairs(&block).ok_or_else(|| failed("is damaged"))?;
    let mut deleted = Vec::new();
    for (full, end) in list {
        let range = deleted_range(&full, &end).ok_or_else(|| failed("has an unknown entry"))?;
        let start = full.split_last_chunk::<SUFFIX>().map_or(&full[..], |(start, _)| start);
        if start < bounds.first.as_slice() || end > bounds.last {
            return Err(failed("has one that goes beyond the file"));
        }
        deleted.push(range);
    }
    if deleted.len() as u64 == properties.range_deletions {
        Ok(deleted)
    } else {
        Err(failed("has another number of them than the file says"))
    }
}

fn deleted_range(full: &[u8], end: &[u8]) -> Option<DeletedRange> {
    let (start, suffix) = full.split_last_chunk::<SUFFIX>()?;
    let version = u64::from_le_bytes(*suffix);
    let end = match <&[u8; KEY_LEN]>::try_from(end) {
        Ok(end) => key::ordinal(end),
        Err(_) if end == ABOVE_ALL => key::ABOVE_ALL,
        Err(_) => return None,
    };
    let start = key::ordinal(start.try_into().ok()?);
    let is_known = version as u8 == RANGE_DELETION && start < end;
    is_known.then_some(DeletedRange { start, end, seqno: version >> 8 })
}
