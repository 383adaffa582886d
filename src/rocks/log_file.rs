//! Checks RocksDB's log files, MANIFEST and `.log`, before RocksDB reads them.
//!
//! RocksDB takes a record with a damaged length for the end of the file, skips types that it does
//! not know, and loops for ever at some of them. So it gets to see a file only if each record is
//! whole; the last one may be torn. The format is that of RocksDB's db/log_format.h: blocks of 32
//! KiB with records. A record is a masked CRC-32C of type and payload, a length (u16), a type (u8),
//! and the payload.

use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::files::regular;

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;

/// How a log file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole record.
    Whole,
    /// Inside a record, as a killed process leaves it.
    Torn,
    /// As no process leaves it: the bytes from here on are not a record.
    Damaged(u64, &'static str),
}

/// What [`check`] finds in a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// Bytes up to the end of the last whole record before `end`.
    pub(super) whole: u64,
    pub(super) end: End,
}

/// Which part of one write a record has. A write that does not fit into a block is in several
/// records.
enum Piece {
    All,
    First,
    Middle,
    Last,
}

/// The piece that a record of this type is; None for types that damo's databases do not have, such
/// as those of recycled logs.
fn piece(kind: u8) -> Option<Piece> {
    match kind {
        // 9: compression; 10: sizes of timestamps; 130: the log before this one.
        1 | 9 | 10 | 130 => Some(Piece::All),
        2 => Some(Piece::First),
        3 => Some(Piece::Middle),
        4 => Some(Piece::Last),
        _ => None,
    }
}

/// Turns a stored checksum into the CRC-32C. RocksDB masks checksums, since the data below them may
/// contain checksums.
fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_right(17)
}

/// Checks a log file up to its end.
///
/// # Errors
/// Those of reading.
pub(super) fn check(path: &Path) -> io::Result<Checked> {
    let mut reader = BufReader::with_capacity(BLOCK, regular::open(path)?);
    let mut block = vec![0; BLOCK];
    let (mut start, mut whole, mut is_open) = (0, 0, false);
    loop {
        let len = fill(&mut reader, &mut block)?;
        let is_last = len < BLOCK;
        let mut at = 0;
        while at < len {
            let damaged = |what| Ok(Checked { whole, end: End::Damaged(start + at as u64, what) });
            let rest = &block[at..len];
            if BLOCK - at < HEADER {
                if rest.iter().any(|byte| *byte != 0) {
                    return damaged("the end of a block is not empty");
                }
                break;
            }
            if rest.len() < HEADER {
                return Ok(Checked { whole, end: End::Torn });
            }
            let size = u16::from_le_bytes([rest[4], rest[5]]) as usize;
            if size > BLOCK - at - HEADER {
                return damaged("the length of a record is beyond its block");
            }
            let Some(piece) = piece(rest[6]) else {
                return damaged("the type of a record is none of RocksDB's");
            };
            if rest.len() < HEADER + size {
                return Ok(Checked { whole, end: End::Torn });
            }
            let masked = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
            if crc32c::crc32c(&rest[6..HEADER + size]) != unmask(masked) {
                return damaged("the checksum of a record does not fit");
            }
            is_open = match (piece, is_open) {
                (Piece::All | Piece::First, true) => {
                    return damaged("the end of the record before is missing");
                }
                (Piece::Middle | Piece::Last, false) => {
                    return damaged("the beginning of a record is missing");
                }
                (Piece::All | Piece::Last, _) => false,
                (Piece::First | Piece::Middle, _) => true,
            };
            at += HEADER + size;
            if !is_open {
                whole = start + at as u64;
            }
        }
        start += len as u64;
        if is_last {
            return Ok(Checked { whole, end: if is_open { End::Torn } else { End::Whole } });
        }
    }
}

/// The payload of each write that can still be read whole, also behind damage. Some may be missing
/// in between, so this is only for callers that can deal with that.
///
/// # Errors
/// Those of reading.
pub(super) fn payloads(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let bytes = regular::read(path)?;
    let (mut payloads, mut open): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
    for block in bytes.chunks(BLOCK) {
        let mut rest = block;
        while rest.len() >= HEADER {
            let size = u16::from_le_bytes([rest[4], rest[5]]) as usize;
            let Some((record, after)) = rest.split_at_checked(HEADER + size) else { break };
            rest = after;
            let masked = u32::from_le_bytes([record[0], record[1], record[2], record[3]]);
            let is_whole = crc32c::crc32c(&record[6..]) == unmask(masked);
            let payload = &record[HEADER..];
            match piece(record[6]).filter(|_| is_whole) {
                Some(Piece::All) => {
                    open = None;
                    // The other types are about the log itself.
                    payloads.extend((record[6] == 1).then(|| payload.to_vec()));
                }
                Some(Piece::First) => open = Some(payload.to_vec()),
                Some(Piece::Middle) => {
                    open.iter_mut().for_each(|open| open.extend_from_slice(payload))
                }
                Some(Piece::Last) => {
                    payloads.extend(open.take().map(|open| [open.as_slice(), payload].concat()))
                }
                None => open = None,
            }
        }
    }
    Ok(payloads)
}

/// Reads until the buffer is full or the file ends.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match reader.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(payload);
        let crc = crc32c::crc32c(&bytes).rotate_left(17).wrapping_add(0xa282_ead8);
        let mut record = crc.to_le_bytes().to_vec();
        record.extend_from_slice(&(payload.len() as u16).to_le_bytes());
        record.extend_from_slice(&bytes);
        record
    }

    fn checked(bytes: &[u8]) -> Checked {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        check(file.path()).unwrap()
    }

    /// Two whole records, of which the second is in two blocks.
    fn file() -> (Vec<u8>, usize) {
        let mut bytes = record(1, &[7; 100]);
        let first = bytes.len();
        bytes.extend(record(2, &vec![8; BLOCK - first - HEADER]));
        bytes.extend(record(4, &[9; 50]));
        (bytes, first)
    }

    #[test]
    fn whole_files_are_whole_and_every_cut_is_a_torn_end() {
        let (bytes, first) = file();
        assert_eq!(checked(&bytes), Checked { whole: bytes.len() as u64, end: End::Whole });
        assert_eq!(checked(&[]), Checked { whole: 0, end: End::Whole });
        for len in
            (1..bytes.len()).step_by(41).chain([first - 1, first + 1, BLOCK - 1, BLOCK, BLOCK + 1])
        {
            let whole = if len < first { 0 } else { first as u64 };
            let end = if len == first { End::Whole } else { End::Torn };
            assert_eq!(checked(&bytes[..len]), Checked { whole, end }, "{len} bytes");
        }
    }

    #[test]
    fn every_flipped_bit_is_damage_or_a_torn_end() {
        let (mut bytes, first) = file();
        bytes.extend(record(1, &[1; 20]));
        for at in (0..bytes.len()).filter(|at| at % 997 == 0 || *at < 20 || at.abs_diff(BLOCK) < 20)
        {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let found = checked(&flipped);
                assert!(
                    found.end != End::Whole && found.whole <= first as u64 || at >= BLOCK + 57,
                    "{at} {bit}"
                );
            }
        }
    }

    #[test]
    fn payloads_behind_damage_are_found() {
        let (mut bytes, first) = file();
        bytes.extend(record(1, &[3; 30]));
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            let payloads = payloads(file.path()).unwrap();
            payloads.iter().map(|payload| (payload[0], payload.len())).collect::<Vec<_>>()
        };
        let long = (8, BLOCK - first - HEADER + 50);
        assert_eq!(found(&bytes), [(7, 100), long, (3, 30)]);
        for (at, left) in [
            (50, vec![long, (3, 30)]),
            (first + 9, vec![(7, 100), (3, 30)]),
            (BLOCK + 9, vec![(7, 100), (3, 30)]),
        ] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(found(&flipped), left, "{at}");
        }
        // A length that is wrong hides the rest of its block only.
        bytes[4] ^= 1;
        assert_eq!(found(&bytes), [(3, 30)]);
    }

    #[test]
    fn zeros_and_types_of_recycled_logs_are_damage() {
        assert!(matches!(checked(&[0; 100]).end, End::Damaged(0, _)));
        for kind in [0, 5, 6, 7, 8, 11, 129, 131] {
            assert!(matches!(checked(&record(kind, &[1; 9])).end, End::Damaged(0, _)), "{kind}");
        }
    }
}
