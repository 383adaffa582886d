//! The files of a journal (docs/formats.md): how much of them is content, and cutting it off.

use std::fs;
use std::path::Path;

/// Where a file that is mapped says how long its content is; the length has 40 bits.
const END_AT: usize = 24;
const END_BITS: u32 = 40;
/// The bytes of a mapped file's header, and of another's.
const MAPPED_HEADER: usize = 64;
const HEADER: usize = 24;

fn is_mapped(bytes: &[u8]) -> bool {
    bytes.len() >= MAPPED_HEADER && bytes[8..12] == 2u32.to_le_bytes()
}

/// The bytes of a file's header.
pub fn header_len(bytes: &[u8]) -> usize {
    if is_mapped(bytes) { MAPPED_HEADER } else { HEADER }
}

/// The bytes of a file's header and its entries, without the room behind them.
pub fn content_len(bytes: &[u8]) -> usize {
    if !is_mapped(bytes) {
        return bytes.len();
    }
    let word = u64::from_le_bytes(bytes[END_AT..END_AT + 8].try_into().unwrap());
    (word & ((1 << END_BITS) - 1)) as usize
}

/// A file's header and its entries.
pub fn content(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(content_len(&bytes));
    bytes
}

/// A file as it was when it had only its first `len` bytes of content.
pub fn cut(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = bytes[..len].to_vec();
    if is_mapped(&bytes) {
        let crc = crc32fast::hash(&[&(len as u64).to_le_bytes(), &bytes[16..24]].concat());
        let word = len as u64 | u64::from(crc) << END_BITS;
        bytes[END_AT..END_AT + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The bytes of the headers and entries of all files in a folder.
pub fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| content(&path).len() as u64).sum()
}
