//! Where the headers and lengths of a file's records are, so that every bit of them can be flipped.

use std::path::Path;

use crate::damage::kind;

/// How many bytes at each end of any file are taken for headers.
const ENDS: usize = 64;
/// Of how many records at most, in a file that has many, the headers are tried.
const MOST_RECORDS: usize = 24;

/// Offsets of the bytes of all headers.
pub fn header_bytes(file: &Path, bytes: &[u8]) -> Vec<usize> {
    let records = match kind(file) {
        "journal" => journal(bytes),
        "log" | "MANIFEST" => log(bytes),
        _ => Vec::new(),
    };
    let mut found: Vec<usize> =
        (0..bytes.len().min(ENDS)).chain(bytes.len().saturating_sub(ENDS)..bytes.len()).collect();
    for (at, len) in spread(records) {
        found.extend(at..(at + len).min(bytes.len()));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Not all, if there are many, but the first and the last.
fn spread(records: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    let step = records.len().div_ceil(MOST_RECORDS).max(1);
    let last = records.last().copied();
    records.into_iter().step_by(step).chain(last).collect()
}

/// Whether a journal's file is mapped, and has room behind its content.
pub fn is_mapped(bytes: &[u8]) -> bool {
    bytes.starts_with(b"damojrnl") && bytes.get(8..12) == Some(&2u32.to_le_bytes())
}

/// The bytes of a file without the room that a journal's may have.
pub fn content_len(bytes: &[u8]) -> usize {
    match bytes.get(24..32).and_then(|word| word.try_into().ok()) {
        Some(word) if is_mapped(bytes) => {
            bytes.len().min((u64::from_le_bytes(word) & ((1 << 40) - 1)) as usize)
        }
        _ => bytes.len(),
    }
}

/// Of a journal (docs/formats.md): a header of 24 bytes, or 64 if it is mapped, then records, each
/// with a header of 64 and its payload.
fn journal(bytes: &[u8]) -> Vec<(usize, usize)> {
    const HEADER: usize = 64;
    let file_header = if is_mapped(bytes) { 64 } else { 24 };
    let (mut found, mut at) = (vec![(0, file_header)], file_header);
    let bytes = &bytes[..content_len(bytes)];
    while let Some(len) = bytes.get(at + 8..at + 16).and_then(|word| word.try_into().ok()) {
        found.push((at, HEADER));
        at = at.saturating_add(HEADER).saturating_add(u64::from_le_bytes(len) as usize);
    }
    found
}

/// Of RocksDB's logs: blocks of 32 KiB with records whose headers have 7 bytes, or 11 with the
/// number of a recycled log.
fn log(bytes: &[u8]) -> Vec<(usize, usize)> {
    const BLOCK: usize = 32 << 10;
    let (mut found, mut at) = (Vec::new(), 0);
    while at + 7 <= bytes.len() {
        if BLOCK - at % BLOCK < 7 {
            at += BLOCK - at % BLOCK;
            continue;
        }
        let len = usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
        // Types 5 to 8 are those of recycled logs.
        let header = if matches!(bytes[at + 6], 5..=8) { 11 } else { 7 };
        found.push((at, header));
        at += header + len;
    }
    found
}
