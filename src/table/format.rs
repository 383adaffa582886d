//! The head of a table file: a header of 64 bytes, and 64 bytes for each group. docs/formats.md has
//! every byte.
//!
//! Knows nothing of the sections' contents. A head that was read is safe to use: sections lie one
//! after the other within the file, and counts fit their sections.

use super::values::ValueType;
use crate::error::{Error, Result, Status};
use crate::limits::is_dim;

pub(super) const MAGIC: [u8; 8] = *b"damotabl";
pub(super) const VERSION: u32 = 1;
/// Bytes of the header, and of a group's entry behind it.
pub(super) const UNIT: usize = 64;
/// Sections begin at multiples of this, a cache line.
pub(super) const ALIGN: u64 = 64;
/// The bytes that every version keeps as they are: magic, version and their checksum.
pub(super) const PREFIX: usize = 16;
/// A row's index and a tag share the 32 bits of a slot.
pub(super) const MAX_ROWS: u64 = (1 << 31) - 1;

/// The header of a table or an increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableHeader {
    pub(super) value_type: ValueType,
    pub(super) number: u64,
    /// For an increment: the number of the table that it continues.
    pub(super) since: Option<u64>,
}

/// One group's sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupEntry {
    pub(super) group: u16,
    pub(super) dim: usize,
    pub(super) rows: u64,
    pub(super) rows_offset: u64,
    pub(super) rows_crc: u32,
    /// The section behind the rows: the index of a table, the removed keys of an increment.
    pub(super) more_offset: u64,
    pub(super) more_crc: u32,
    /// Elements of that section: slots of 4 bytes or keys of 8.
    pub(super) more: u64,
    /// The number of slots that hashes map to; 0 in an increment.
    pub(super) homes: u64,
}

impl GroupEntry {
    pub(super) fn stride(&self, value_type: ValueType) -> usize {
        8 + value_type.bytes(self.dim)
    }
}

/// The key of a row.
#[inline(always)]
pub(super) fn key_of(row: &[u8]) -> i64 {
    row.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

/// Bytes of the header and all entries.
pub(super) fn head_bytes(groups: usize) -> usize {
    UNIT * (1 + groups)
}

/// Bytes of a section with its padding; None beyond 64 bits, as a damaged head may say.
fn aligned(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(ALIGN)
}

/// Bytes of an element of the section behind the rows.
pub(super) fn more_size(since: Option<u64>) -> u64 {
    if since.is_none() { 4 } else { 8 }
}

pub(super) fn write_head(header: &TableHeader, entries: &[GroupEntry], file_bytes: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(head_bytes(entries.len()));
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend(crc32fast::hash(&head).to_le_bytes());
    head.extend([0; 4]);
    head.extend(header.value_type.code().to_le_bytes());
    head.extend((entries.len() as u32).to_le_bytes());
    head.extend(u32::from(header.since.is_some()).to_le_bytes());
    head.extend(header.number.to_le_bytes());
    head.extend(header.since.unwrap_or(0).to_le_bytes());
    head.extend(file_bytes.to_le_bytes());
    head.extend([0; 8]);
    for entry in entries {
        head.extend(u32::from(entry.group).to_le_bytes());
        head.extend((entry.dim as u32).to_le_bytes());
        head.extend(entry.rows.to_le_bytes());
        head.extend(entry.rows_offset.to_le_bytes());
        head.extend(entry.rows_crc.to_le_bytes());
        head.extend(entry.more_crc.to_le_bytes());
        head.extend(entry.more_offset.to_le_bytes());
        head.extend(entry.more.to_le_bytes());
        head.extend(entry.homes.to_le_bytes());
        head.extend([0; 8]);
    }
    let crc = crc32fast::hash(&head[20..]);
    head[16..20].copy_from_slice(&crc.to_le_bytes());
    head
}

/// Reads and checks everything except the sections' contents. `file` is the whole file.
///
/// # Errors
/// `INVALID_ARGUMENT` for a file that is no table, `NOT_SUPPORTED` for one of a later version,
/// `CORRUPTION`.
pub(super) fn read_head(file: &[u8]) -> Result<(TableHeader, Vec<GroupEntry>)> {
    check_prefix(file)?;
    let units = file.as_chunks::<UNIT>().0;
    let Some((first, units)) = units.split_first() else {
        return Err(truncated(file.len(), "a header has 64"));
    };
    let [_, _, word2, word3, number, since, file_bytes, reserved] = words(first);
    let (crc, value_type) = halves(word2);
    let (groups, kind) = halves(word3);
    if file_bytes != file.len() as u64 {
        return Err(truncated(file.len(), &format!("its header says {file_bytes}")));
    }
    let Some(units) = units.get(..groups as usize) else {
        return Err(Error::corruption(format!(
            "its header says that there are {groups} groups, and it is too short for that"
        )));
    };
    if file.get(20..head_bytes(units.len())).map(crc32fast::hash) != Some(crc) {
        return Err(Error::corruption(
            "the checksum of its header is wrong: some bytes of it have changed",
        ));
    }
    // With the right checksum these are the bytes of a writer; the checks from here on are for
    // other writers than ours.
    let value_type =
        ValueType::from_code(value_type).ok_or_else(|| wrong("value_type", value_type.into()))?;
    let since = match kind {
        0 if since == 0 => None,
        1 if since <= number => Some(since),
        0 | 1 => return Err(wrong("since", since)),
        _ => return Err(wrong("kind", kind.into())),
    };
    if reserved != 0 {
        return Err(wrong("reserved field", reserved));
    }
    let header = TableHeader { value_type, number, since };
    let mut entries: Vec<GroupEntry> = crate::memory::room_for(units.len())?;
    let mut end = head_bytes(units.len()) as u64;
    for unit in units {
        let entry = read_entry(unit, &header, end)?;
        if entries.last().is_some_and(|last| last.group >= entry.group) {
            return Err(wrong("order of groups", entry.group.into()));
        }
        end = end_of(&entry, &header).unwrap_or(u64::MAX);
        entries.push(entry);
    }
    if end != file_bytes {
        return Err(wrong("end of the sections", end));
    }
    Ok((header, entries))
}

/// Reads the entry of a group whose sections begin at `start`.
fn read_entry(unit: &[u8; UNIT], header: &TableHeader, start: u64) -> Result<GroupEntry> {
    let [word0, rows, rows_offset, crcs, more_offset, more, homes, reserved] = words(unit);
    let (group, dim) = halves(word0);
    let (rows_crc, more_crc) = halves(crcs);
    let group = u16::try_from(group).map_err(|_| wrong("group", group.into()))?;
    let dim = dim as usize;
    if !is_dim(dim) {
        return Err(wrong("dim", dim as u64));
    }
    let entry =
        GroupEntry { group, dim, rows, rows_offset, rows_crc, more_offset, more_crc, more, homes };
    if rows > MAX_ROWS {
        return Err(wrong("number of rows", rows));
    }
    if rows_offset != start || Some(more_offset) != rows_end(&entry, header.value_type) {
        return Err(wrong("offset of a section", rows_offset));
    }
    let fits = if header.since.is_none() {
        homes <= more && (rows == 0) == (homes == 0) && rows <= more
    } else {
        homes == 0
    };
    if !fits {
        return Err(wrong("number of slots", homes));
    }
    if reserved != 0 {
        return Err(wrong("reserved field", reserved));
    }
    Ok(entry)
}

fn rows_end(entry: &GroupEntry, value_type: ValueType) -> Option<u64> {
    entry
        .rows_offset
        .checked_add(aligned(entry.rows.checked_mul(entry.stride(value_type) as u64)?)?)
}

fn end_of(entry: &GroupEntry, header: &TableHeader) -> Option<u64> {
    entry.more_offset.checked_add(aligned(entry.more.checked_mul(more_size(header.since))?)?)
}

fn check_prefix(file: &[u8]) -> Result<()> {
    if file.is_empty() {
        return Err(Error::corruption("it is empty"));
    }
    if !file.starts_with(
        file.get(..MAGIC.len()).map_or(&MAGIC[..file.len().min(MAGIC.len())], |_| &MAGIC),
    ) {
        return Err(Error::invalid(
            "it does not begin as a table does; a file from a dump in the format 'table' is needed",
        ));
    }
    let Some(prefix) = file.first_chunk::<PREFIX>() else {
        return Err(truncated(file.len(), "a header has 64"));
    };
    let (version, crc) = halves(u64::from_le_bytes(*prefix.last_chunk().unwrap_or(&[0; 8])));
    if crc32fast::hash(&prefix[..12]) != crc {
        return Err(Error::corruption("its first 16 bytes have changed: their checksum is wrong"));
    }
    if version != VERSION {
        return Err(Error::new(
            Status::NotSupported,
            format!("it has version {version} of the format; this release reads version {VERSION}"),
        ));
    }
    Ok(())
}

fn words(unit: &[u8; UNIT]) -> [u64; 8] {
    let mut words = [0; 8];
    words
        .iter_mut()
        .zip(unit.as_chunks().0)
        .for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
    words
}

/// The lower and the upper half of a word.
fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

fn truncated(len: usize, expected: &str) -> Error {
    Error::corruption(format!("it is truncated or was added to: it has {len} bytes and {expected}"))
}

fn wrong(what: &str, value: u64) -> Error {
    Error::corruption(format!("its header is not one that damo writes: {what} {value}"))
}
