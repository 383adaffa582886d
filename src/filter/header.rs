//! The first 4096 bytes of a filter's file, little-endian:
//!
//! ```text
//! 0   8 bytes  damofltr
//! 8   u32      version: 1, or 2 when it was closed in order and nothing has changed since
//! 12  u32      CRC-32 of bytes 0..12 and 16..4096
//! 16  u64      capacity
//! 24  u32      count
//! 28  u32      k, counters of a key
//! 32  f64      fpr
//! 40  u64      blocks
//! 48  u32      version 2: CRC-32 of all counters
//! 52  u32      version 2: 1 when they were on disk, for power cuts, before this was written
//! 56  u8[16]   version 2: boot id of the system it was closed in; zeros where not known
//! 72  u8[16]   the source: which copy of a checkpoint's list its counts are from; zeros: none
//! 88           zeros
//! ```
//!
//! Then the blocks, 128 bytes each. Magic, version and checksum stay where they are in every
//! version.

use super::hash::MAX_COUNTERS;
use super::options::FilterOptions;
use crate::error::{Error, Result, Status};

pub(super) const HEADER_LEN: usize = 4096;
pub(super) const BLOCK_LEN: usize = 128;
const MAGIC: &[u8; 8] = b"damofltr";
const OPEN: u32 = 1;
const CLOSED: u32 = 2;
/// The first bytes of a header, which contain all that opening and closing change. A disk writes
/// this much at once or not at all.
pub(super) const SECTOR: usize = 512;
/// Where the source is.
const SOURCE: usize = 72;

/// The parameters and state of a filter, as its file has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) capacity: u64,
    pub(super) count: u32,
    pub(super) fpr: f64,
    /// Counters of a key.
    pub(super) per_key: u32,
    pub(super) blocks: u64,
    /// The copy from which its counts were taken.
    pub(super) source: Source,
    /// None while it is open, and after its process was killed.
    pub(super) closed: Option<Closed>,
}

/// The id of the copy from which a filter took its counts; zeros for none. It is in the file, so
/// that it stays with the counts wherever the file is copied or moved.
pub(crate) type Source = [u8; 16];

/// The state of the counters when a filter was closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Closed {
    pub(super) checksum: u32,
    /// They were on disk before this was written.
    pub(super) is_on_disk: bool,
    /// The boot id of the system it was closed in.
    pub(super) boot: [u8; 16],
}

impl Closed {
    /// Whether the counters must still have this checksum. A machine that lost power may have kept
    /// this header and lost counters that it had not written yet.
    pub(super) fn is_binding(&self) -> bool {
        self.is_on_disk || (self.boot != [0; 16] && self.boot == boot())
    }
}

/// The boot id, which changes at each start of the system; zeros where it is not known.
pub(super) fn boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.trim().chars().filter(|digit| *digit != '-').collect();
    u128::from_str_radix(&digits, 16).unwrap_or_default().to_be_bytes()
}

impl Header {
    /// Bytes of the whole file.
    pub(super) fn file_len(&self) -> Option<u64> {
        self.blocks.checked_mul(BLOCK_LEN as u64)?.checked_add(HEADER_LEN as u64)
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(MAGIC);
        let version = if self.closed.is_some() { CLOSED } else { OPEN };
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.capacity.to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.per_key.to_le_bytes());
        bytes.extend_from_slice(&self.fpr.to_le_bytes());
        bytes.extend_from_slice(&self.blocks.to_le_bytes());
        if let Some(closed) = self.closed {
            bytes.extend_from_slice(&closed.checksum.to_le_bytes());
            bytes.extend_from_slice(&u32::from(closed.is_on_disk).to_le_bytes());
            bytes.extend_from_slice(&closed.boot);
        }
        bytes.resize(SOURCE, 0);
        bytes.extend_from_slice(&self.source);
        bytes.resize(HEADER_LEN, 0);
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header from the first bytes of a file, which may be shorter than a header.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a file that is no filter; `CORRUPTION` for one that is cut off or
    /// damaged; `NOT_SUPPORTED` for a version of a later release.
    pub(super) fn from_bytes(bytes: &[u8], file_len: u64) -> Result<Header> {
        if bytes.is_empty() {
            return Err(Error::corruption(
                "is empty; a filter, or a path where nothing is, is needed",
            ));
        }
        let begin = bytes.len().min(MAGIC.len());
        if bytes[..begin] != MAGIC[..begin] {
            return Err(Error::invalid(
                "is not a filter that damo wrote; a filter, or a path where nothing is, is needed",
            ));
        }
        if bytes.len() < HEADER_LEN {
            return Err(Error::corruption(format!(
                "has {file_len} bytes and a filter's header has {HEADER_LEN}; its end is missing"
            )));
        }
        if u32::from_le_bytes(array(bytes, 12)) != checksum(bytes) {
            return Err(Error::corruption("has a damaged header: its checksum is wrong"));
        }
        let version = u32::from_le_bytes(array(bytes, 8));
        if ![OPEN, CLOSED].contains(&version) {
            return Err(Error::new(
                Status::NotSupported,
                format!(
                    "has version {version} of the filter's format; this damo reads versions {OPEN} \
                     and {CLOSED}"
                ),
            ));
        }
        let closed = (version == CLOSED).then(|| Closed {
            checksum: u32::from_le_bytes(array(bytes, 48)),
            is_on_disk: u32::from_le_bytes(array(bytes, 52)) != 0,
            boot: array(bytes, 56),
        });
        let header = Header {
            capacity: u64::from_le_bytes(array(bytes, 16)),
            count: u32::from_le_bytes(array(bytes, 24)),
            per_key: u32::from_le_bytes(array(bytes, 28)),
            fpr: f64::from_le_bytes(array(bytes, 32)),
            blocks: u64::from_le_bytes(array(bytes, 40)),
            source: array(bytes, SOURCE),
            closed,
        };
        let is_possible = (1..=MAX_COUNTERS).contains(&header.per_key) && header.blocks > 0;
        match header.file_len() {
            Some(expected) if is_possible && expected == file_len => Ok(header),
            Some(expected) if is_possible => Err(Error::corruption(format!(
                "has {file_len} bytes; its header says {expected}, so it was cut off or something \
                 was added"
            ))),
            _ => Err(Error::corruption("has a header that no filter has")),
        }
    }

    /// Refuses a file that was made with other parameters.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming those that differ.
    pub(super) fn check_same(&self, options: &FilterOptions) -> Result<()> {
        let mut differences = Vec::new();
        let mut compare = |name: &str, has: String, wanted: String| {
            if has != wanted {
                differences.push(format!("{name} {has}, not {wanted}"));
            }
        };
        compare("capacity", self.capacity.to_string(), options.capacity.to_string());
        compare("count", self.count.to_string(), options.count.to_string());
        compare("fpr", format!("{:?}", self.fpr), format!("{:?}", options.fpr));
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "is a filter with {}; use the parameters that it has, another path, or reload false to \
             begin anew",
            differences.join(", ")
        )))
    }
}

fn checksum(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..12]);
    hasher.update(&header[16..HEADER_LEN]);
    hasher.finalize()
}

fn array<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[start..start + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_the_documented_ones() {
        let header = Header {
            capacity: 0x0102,
            count: 15,
            fpr: 0.5,
            per_key: 9,
            blocks: 3,
            source: [0; 16],
            closed: None,
        };
        let bytes = header.to_bytes();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(&bytes[..12], b"damofltr\x01\0\0\0");
        assert_eq!(bytes[16..24], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..32], [15, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(bytes[32..40], [0, 0, 0, 0, 0, 0, 0xe0, 0x3f]);
        assert_eq!(bytes[40..48], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert!(bytes[48..].iter().all(|byte| *byte == 0));
        assert_eq!(header.file_len(), Some(4096 + 3 * 128));
        assert_eq!(Header::from_bytes(&bytes, 4096 + 3 * 128), Ok(header));
        let closed = Closed { checksum: 0x0a0b, is_on_disk: true, boot: [7; 16] };
        let closed = Header { closed: Some(closed), source: [9; 16], ..header };
        let bytes = closed.to_bytes();
        assert_eq!(&bytes[..12], b"damofltr\x02\0\0\0");
        assert_eq!(bytes[48..72], [&[0x0b, 0x0a, 0, 0, 1, 0, 0, 0][..], &[7; 16]].concat());
        assert_eq!(bytes[72..88], [9; 16]);
        assert!(bytes[88..].iter().all(|byte| *byte == 0));
        assert_eq!(Header::from_bytes(&bytes, 4096 + 3 * 128), Ok(closed));
        // All that opening and closing change is in one sector.
        assert_eq!(header.to_bytes()[SECTOR..], bytes[SECTOR..]);
    }
}
