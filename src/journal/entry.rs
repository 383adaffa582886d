//! The bytes of a journal's segments: a header, then entries, all integers little-endian.
//!
//! ```text
//! segment   0   8 bytes  "damojrnl"
//!           8   u32      version: 1, or 2 for a mapped segment
//!           12  u32      CRC-32 of bytes 0..12 and 16..24
//!           16  u64      sequence number of its first call
//!           (a segment of version 1 has its first entry here)
//!           24  u64      the end word: the low 40 bits are the bytes of the header and of whole
//!                        entries, the high 24 bits a checksum
//!           32  32 bytes 0
//!
//! entry     0   u32      CRC-32 of bytes 4..64
//!           4   u32      CRC-32 of the payload
//!           8   u64      bytes of the payload
//!           16  u64      sequence number of the call: one more than the call's before; for a
//!                        configuration, and for an end, that of the next call
//!           24  u32      kind: 1 configuration, 2 gradients, 3 insert, 4 delete, 5 set_step,
//!                        6 end, 7 insert_records, 8 clear, 9 step, 10 once, 11 forget
//!           28  u32      group
//!           32  u32      configuration that the call was made with
//!           36  u32      0
//!           40  i64      the group's global step after the call
//!           48  u64      time, ms since 1970
//!           56  f64      learning rate
//!           64  payload  gradients: keys (i64 each), then dim floats a key, in the order of steps
//!                        insert: keys, then dim weights a key
//!                        insert_records: keys, then for each the floats of a row and its update
//!                        count, u64
//!                        delete: keys
//!                        configuration: JSON
//!                        set_step, clear: nothing
//!                        step: several groups' gradients (`sections`); the group, configuration,
//!                        global step and learning rate above are 0
//!                        once: a client's token, then as a step; forget: a client (`token`)
//!                        end: nothing; the last entry of a segment that another one follows
//! ```

use std::io::IoSlice;
use std::sync::Arc;

use crc32fast::Hasher;

use crate::seqno::Seqno;

#[cfg(target_endian = "big")]
compile_error!("the journal and the tables are little-endian, as their writers are");

/// Of a segment of version 1.
pub(crate) const SEGMENT_HEADER_LEN: usize = 24;
/// Of a mapped segment.
pub(crate) const MAPPED_HEADER_LEN: usize = 64;
pub(super) const ENTRY_HEADER_LEN: usize = 64;
/// The entry of a configuration: its id, the head and the description.
pub(super) type ConfigEntry = (u32, [u8; ENTRY_HEADER_LEN], Arc<[u8]>);

/// Where a mapped segment has its end word.
pub(super) const END_AT: usize = 24;
const MAGIC: &[u8; 8] = b"damojrnl";
const VERSION: u32 = 1;
const MAPPED_VERSION: u32 = 2;
/// The bits of the end word that are a length.
const END_BITS: u32 = 40;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    Config = 1,
    Gradients = 2,
    Insert = 3,
    Delete = 4,
    SetStep = 5,
    End = 6,
    InsertRecords = 7,
    /// Removes all rows of the group.
    Clear = 8,
    /// Gradients of several groups.
    Step = 9,
    /// As `Step`, of a client that numbers its calls.
    Once = 10,
    /// Groups forget a client.
    Forget = 11,
}

const KINDS: [CallKind; 11] = [
    CallKind::Config,
    CallKind::Gradients,
    CallKind::Insert,
    CallKind::Delete,
    CallKind::SetStep,
    CallKind::End,
    CallKind::InsertRecords,
    CallKind::Clear,
    CallKind::Step,
    CallKind::Once,
    CallKind::Forget,
];

/// The fields of an entry's header that its writer chooses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) kind: CallKind,
    pub(crate) group: u16,
    /// The id that the journal gave the configuration.
    pub(crate) config: u32,
    /// The group's global step after the call.
    pub(crate) step: i64,
    /// Milliseconds since 1970.
    pub(crate) time: u64,
    pub(crate) rate: f64,
}

/// A header that was read back.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadHead {
    pub(super) head: Head,
    pub(super) seqno: Seqno,
    pub(super) payload_len: u64,
    pub(super) payload_crc: u32,
}

pub(super) fn segment_header(first: Seqno) -> [u8; SEGMENT_HEADER_LEN] {
    header_of(VERSION, first)
}

/// The header of a mapped segment without entries.
pub(super) fn mapped_header(first: Seqno) -> [u8; MAPPED_HEADER_LEN] {
    let mut bytes = [0; MAPPED_HEADER_LEN];
    bytes[..SEGMENT_HEADER_LEN].copy_from_slice(&header_of(MAPPED_VERSION, first));
    let word = end_word(MAPPED_HEADER_LEN as u64, first);
    bytes[END_AT..END_AT + 8].copy_from_slice(&word.to_le_bytes());
    bytes
}

fn header_of(version: u32, first: Seqno) -> [u8; SEGMENT_HEADER_LEN] {
    let mut bytes = [0; SEGMENT_HEADER_LEN];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    bytes[16..24].copy_from_slice(&first.get().to_le_bytes());
    let crc = segment_crc(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The end word of a segment with content up to the byte `end`.
pub(super) fn end_word(end: u64, first: Seqno) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&end.to_le_bytes());
    bytes[8..].copy_from_slice(&first.get().to_le_bytes());
    end | u64::from(crc32fast::hash(&bytes)) << END_BITS
}

/// The byte at which the content ends; None when the word is damaged.
fn decode_end(word: u64, first: Seqno) -> Option<u64> {
    let end = word & ((1 << END_BITS) - 1);
    (end_word(end, first) == word && end >= MAPPED_HEADER_LEN as u64).then_some(end)
}

/// Whether bytes begin as a mapped segment does; other bytes are read as version 1.
pub(super) fn is_mapped(bytes: &[u8]) -> bool {
    bytes.len() >= SEGMENT_HEADER_LEN
        && &bytes[..8] == MAGIC
        && u32::from_le_bytes(part(bytes, 8)) == MAPPED_VERSION
}

/// The byte at which a mapped segment's content ends; None when the word is damaged.
pub(super) fn read_end(bytes: &[u8; MAPPED_HEADER_LEN]) -> Option<u64> {
    let first = Seqno::new(u64::from_le_bytes(part(bytes, 16)));
    decode_end(u64::from_le_bytes(part(bytes, END_AT)), first)
}

fn segment_crc(bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..SEGMENT_HEADER_LEN]);
    hasher.finalize()
}

/// Checks a segment's header and returns its first call's sequence number, or what is wrong.
pub(super) fn read_segment_header(bytes: &[u8]) -> Result<Seqno, String> {
    let version = u32::from_le_bytes(part(bytes, 8));
    match &bytes[..8] == MAGIC {
        false => Err("it does not begin as a journal does".to_owned()),
        true if segment_crc(bytes) != u32::from_le_bytes(part(bytes, 12)) => {
            Err("the checksum of its header does not fit".to_owned())
        }
        true if ![VERSION, MAPPED_VERSION].contains(&version) => {
            Err(format!("its version is {version}; this damo reads {VERSION} and {MAPPED_VERSION}"))
        }
        true if bytes.get(END_AT + 8..).unwrap_or_default().iter().any(|byte| *byte != 0) => {
            Err("its header is not all 0 behind the end word".to_owned())
        }
        true => Ok(Seqno::new(u64::from_le_bytes(part(bytes, 16)))),
    }
}

/// The checksum and length of a payload in pieces.
pub(super) fn checksum(payload: &[IoSlice<'_>]) -> (u32, u64) {
    let mut hasher = Hasher::new();
    let mut len = 0;
    for piece in payload {
        hasher.update(piece);
        len += piece.len() as u64;
    }
    (hasher.finalize(), len)
}

pub(super) fn encode_head(
    head: &Head,
    seqno: Seqno,
    (payload_crc, payload_len): (u32, u64),
) -> [u8; ENTRY_HEADER_LEN] {
    let mut bytes = [0; ENTRY_HEADER_LEN];
    bytes[4..8].copy_from_slice(&payload_crc.to_le_bytes());
    bytes[8..16].copy_from_slice(&payload_len.to_le_bytes());
    bytes[16..24].copy_from_slice(&seqno.get().to_le_bytes());
    bytes[24..28].copy_from_slice(&(head.kind as u32).to_le_bytes());
    bytes[28..32].copy_from_slice(&u32::from(head.group).to_le_bytes());
    bytes[32..36].copy_from_slice(&head.config.to_le_bytes());
    bytes[40..48].copy_from_slice(&head.step.to_le_bytes());
    bytes[48..56].copy_from_slice(&head.time.to_le_bytes());
    bytes[56..64].copy_from_slice(&head.rate.to_le_bytes());
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The entry that ends a segment before call `next`.
pub(super) fn encode_end(next: Seqno) -> [u8; ENTRY_HEADER_LEN] {
    let head = Head { kind: CallKind::End, group: 0, config: 0, step: 0, time: 0, rate: 0.0 };
    encode_head(&head, next, checksum(&[]))
}

/// Why bytes cannot be read as an entry's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHead {
    Damaged,
    /// The checksum fits, and the kind is one of a later release.
    Unknown(u32),
}

/// Reads an entry's header.
///
/// # Errors
/// [`NoHead`] when this release cannot read it.
pub(super) fn decode_head(bytes: &[u8; ENTRY_HEADER_LEN]) -> Result<ReadHead, NoHead> {
    if crc32fast::hash(&bytes[4..]) != u32::from_le_bytes(part(bytes, 0)) {
        return Err(NoHead::Damaged);
    }
    let kind = u32::from_le_bytes(part(bytes, 24));
    let known = KINDS.iter().find(|known| **known as u32 == kind).ok_or(NoHead::Unknown(kind))?;
    let group = u16::try_from(u32::from_le_bytes(part(bytes, 28))).map_err(|_| NoHead::Damaged)?;
    let head = Head {
        kind: *known,
        group,
        config: u32::from_le_bytes(part(bytes, 32)),
        step: i64::from_le_bytes(part(bytes, 40)),
        time: u64::from_le_bytes(part(bytes, 48)),
        rate: f64::from_le_bytes(part(bytes, 56)),
    };
    Ok(ReadHead {
        head,
        seqno: Seqno::new(u64::from_le_bytes(part(bytes, 16))),
        payload_len: u64::from_le_bytes(part(bytes, 8)),
        payload_crc: u32::from_le_bytes(part(bytes, 4)),
    })
}

pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_and_flipped_ones_do_not() {
        let head = Head {
            kind: CallKind::Insert,
            group: 65535,
            config: 7,
            step: -1,
            time: 1_795_000_000_000,
            rate: 0.1,
        };
        let bytes = encode_head(&head, Seqno::new(42), (5, 6));
        let read = decode_head(&bytes).unwrap();
        assert_eq!(
            (read.head, read.seqno, read.payload_crc, read.payload_len),
            (head, Seqno::new(42), 5, 6)
        );
        for byte in 0..ENTRY_HEADER_LEN {
            let mut damaged = bytes;
            damaged[byte] ^= 0x10;
            assert_eq!(decode_head(&damaged).unwrap_err(), NoHead::Damaged, "byte {byte}");
        }
        let mut later = bytes;
        later[24] = 99;
        let crc = crc32fast::hash(&later[4..]).to_le_bytes();
        later[..4].copy_from_slice(&crc);
        assert_eq!(decode_head(&later).unwrap_err(), NoHead::Unknown(99));
    }
}
