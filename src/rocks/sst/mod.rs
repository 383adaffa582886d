//! Reads SST files without RocksDB.
//!
//! The format is that of RocksDB's table/format.h, as far as damo's options make it: block-based,
//! version 6, XXH3, no compression or LZ4, and an index of one or two levels with full keys.
//!
//! There are three readers. [`SstRows`] reads rows from a whole file, fast. It refuses a file with
//! any damage, or with anything that it does not know, and RocksDB is asked instead. [`SstLookup`]
//! finds single rows of such a file. [`SstFile`] reads what it can of a damaged file. All read the
//! file's head, its blocks and their checksums with the same code.

mod block;
mod cursor;
mod damaged;
mod deleted;
mod fences;
mod filter;
mod head;
mod lookup;
mod mapping;
mod rows;
mod source;
mod sst_rows;
#[cfg(test)]
pub(super) mod tests;

pub(super) use block::{take, varint};
pub(super) use cursor::Cursor;
pub(crate) use damaged::{Entry, SstFile, Unreadable};
pub(super) use deleted::{DeletedRange, DeletedRanges};
pub(super) use filter::{Line, hash};
pub(super) use lookup::{BlockPlace, InBlock, SstLookup};
pub(super) use mapping::{bound_mapped, note_refused};
#[cfg(test)]
pub(super) use mapping::{forget_all, test_room};
pub(super) use rows::Version;
pub(super) use source::{FileRead, OpenFile, Passing};
pub(super) use sst_rows::{Bounds, Refusal, SstRows};

/// Larger than any file's index can be.
const MAX_INDEX: u64 = 1 << 30;
/// Larger than any block of rows. A row has at most 4 MiB, and 2 KiB come before it.
const MAX_DATA: u64 = 16 << 20;
/// Bytes that RocksDB puts behind each key: a sequence number and a type.
const SUFFIX: usize = 8;
/// Bytes of a row's key with RocksDB's suffix.
const ROW_KEY: usize = super::key::KEY_LEN + SUFFIX;
