//! A stored row: a header of at most 21 bytes, then the row's floats, all little-endian. Or the
//! tombstone of a row.
//!
//! ```text
//! 0       u8   bits 0-2: n, the bytes of update_num
//!              bits 3-5: j, the bytes of the sequence number
//!              bits 6-7: 1, a row
//! 1       u48  update_time, ms since 1970
//! 7       n    update_num, gradients applied
//! 7+n     j    sequence number of the last change (0: none)
//! 7+n+j   f32  weights[dim], then the optimizer's state
//!
//! 0       u8   bits 0-2: 0, deleted; bits 3-5: j; bits 6-7: 2, a tombstone
//! 1       u48  time of the deletion, ms since 1970
//! 7       j    sequence number of the call that deleted it
//!
//! 0       u8   bits 0-2: 1, expired and merged away; bits 6-7: 2, a tombstone
//! 1       u32  day on which a merge met it: days since 1970
//! ```
//!
//! Numbers take the bytes that they need. Most rows have had few gradients, and their header has 11
//! bytes. A tombstone stays while a dump is remembered that an increment may follow, or while the
//! journal may have earlier calls on its key.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::locks::Mutex;
use crate::seqno::Seqno;

/// The header of a stored row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowHeader {
    /// When the row was last written, in milliseconds since 1970.
    pub update_time: u64,
    /// How many gradients were applied to it.
    pub update_num: u64,
    /// The sequence number of its last change; 0: none.
    pub seqno: Seqno,
}

/// What is stored under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored<'a> {
    /// A row, and the bytes of its floats.
    Row(RowHeader, &'a [u8]),
    /// The tombstone of a row that a call deleted.
    Deleted { time: u64, seqno: Seqno },
    /// The tombstone of a row that had expired when a merge met it on that day.
    Expired { day: u64 },
}

const FIXED_LEN: usize = 7;
const MAX_HEADER_LEN: usize = 21;
const ROW: u8 = 1;
const TOMBSTONE: u8 = 2;
const EXPIRED: u8 = TOMBSTONE << 6 | 1;
/// The latest time that a row can have, in the year 10889.
pub(crate) const MAX_TIME: u64 = MAX_U48;
const MAX_U48: u64 = (1 << 48) - 1;
const MAX_U56: u64 = (1 << 56) - 1;

/// The most bytes of a stored row.
pub(crate) fn max_bytes(row_len: usize) -> usize {
    MAX_HEADER_LEN + 4 * row_len
}

/// Writes a row to `value`, replacing its content.
pub(crate) fn encode(value: &mut Vec<u8>, header: RowHeader, floats: &[f32]) {
    let (update_num, seqno) = (header.update_num.min(MAX_U56), header.seqno.get().min(MAX_U56));
    let (num_len, seqno_len) = (bytes_needed(update_num), bytes_needed(seqno));
    value.clear();
    value.reserve(max_bytes(floats.len()));
    value.push(ROW << 6 | (seqno_len as u8) << 3 | num_len as u8);
    value.extend_from_slice(&header.update_time.min(MAX_U48).to_le_bytes()[..6]);
    value.extend_from_slice(&update_num.to_le_bytes()[..num_len]);
    value.extend_from_slice(&seqno.to_le_bytes()[..seqno_len]);
    value.extend_from_slice(bytemuck::cast_slice(floats));
}

/// Writes the tombstone of a deleted row to `value`, replacing its content.
pub(crate) fn encode_deleted(value: &mut Vec<u8>, time: u64, seqno: Seqno) {
    let seqno = seqno.get().min(MAX_U56);
    let seqno_len = bytes_needed(seqno);
    value.clear();
    value.push(TOMBSTONE << 6 | (seqno_len as u8) << 3);
    value.extend_from_slice(&time.min(MAX_U48).to_le_bytes()[..6]);
    value.extend_from_slice(&seqno.to_le_bytes()[..seqno_len]);
}

/// The tombstone of a row that expired. RocksDB's compaction filter wants bytes that live for ever,
/// so each day's are leaked once.
pub(crate) fn expired_on(day: u64) -> &'static [u8] {
    static DAYS: Mutex<BTreeMap<u64, &'static [u8]>> = Mutex::new(BTreeMap::new());
    let mut days = DAYS.lock();
    days.entry(day).or_insert_with(|| {
        let day = u32::try_from(day).unwrap_or(u32::MAX).to_le_bytes();
        Box::leak(Box::new([EXPIRED, day[0], day[1], day[2], day[3]]))
    })
}

/// Reads what is stored under a key.
///
/// # Errors
/// `CORRUPTION` for bytes that this file did not write.
pub(crate) fn parse(value: &[u8]) -> Result<Stored<'_>> {
    let damaged = |what: String| Err(Error::corruption(what));
    let too_short =
        || damaged(format!("the stored row has {} bytes, less than its header", value.len()));
    let Some((&control, rest)) = value.split_first() else {
        return damaged("the stored row is empty".to_owned());
    };
    let (num_len, seqno_len) = ((control & 7) as usize, (control >> 3 & 7) as usize);
    match control >> 6 {
        ROW if value.len() >= FIXED_LEN + num_len + seqno_len => {
            let (time, rest) = rest.split_at(6);
            let (num, rest) = rest.split_at(num_len);
            let (seqno, body) = rest.split_at(seqno_len);
            let (update_time, update_num, seqno) =
                (number(time), number(num), Seqno::new(number(seqno)));
            Ok(Stored::Row(RowHeader { update_time, update_num, seqno }, body))
        }
        TOMBSTONE if control == EXPIRED && value.len() == 5 => {
            Ok(Stored::Expired { day: number(rest) })
        }
        TOMBSTONE if num_len == 0 && value.len() == FIXED_LEN + seqno_len => {
            let (time, seqno) = rest.split_at(6);
            Ok(Stored::Deleted { time: number(time), seqno: Seqno::new(number(seqno)) })
        }
        ROW | TOMBSTONE => too_short(),
        version => damaged(format!(
            "the stored row has version {version}; this damo knows versions {ROW} and {TOMBSTONE}"
        )),
    }
}

/// What a read of a key finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Found {
    /// No row, nor a trace of one.
    #[default]
    Nothing,
    Row(RowHeader),
    /// The tombstone of a row that the call with this sequence number deleted.
    Deleted {
        time: u64,
        seqno: Seqno,
    },
}

impl From<Stored<'_>> for Found {
    fn from(stored: Stored<'_>) -> Found {
        match stored {
            Stored::Row(header, _) => Found::Row(header),
            Stored::Deleted { time, seqno } => Found::Deleted { time, seqno },
            Stored::Expired { .. } => Found::Nothing,
        }
    }
}

/// Reads a row's header, and as many floats as `floats` holds: all `row_len` of them, or the
/// leading weights.
///
/// # Errors
/// `CORRUPTION` for bytes that `encode` did not write, or for another number of floats than
/// `row_len`.
pub(crate) fn decode(value: &[u8], row_len: usize, floats: &mut [f32]) -> Result<Found> {
    let stored = parse(value)?;
    let Stored::Row(_, body) = stored else { return Ok(Found::from(stored)) };
    if body.len() != 4 * row_len {
        return Err(wrong_length(body, row_len));
    }
    let body = &body[..4 * floats.len()];
    bytemuck::cast_slice_mut(floats).copy_from_slice(body);
    Ok(Found::from(stored))
}

/// The error for a row with another number of floats than its group's.
pub(crate) fn wrong_length(body: &[u8], row_len: usize) -> Error {
    Error::corruption(format!(
        "the stored row has {} bytes of floats; {} are needed for its {row_len}",
        body.len(),
        4 * row_len
    ))
}

fn bytes_needed(number: u64) -> usize {
    (64 - number.leading_zeros() as usize).div_ceil(8)
}

fn number(bytes: &[u8]) -> u64 {
    let mut whole = [0; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_written() {
        let floats = [1.5, -0.0, f32::MIN_POSITIVE];
        for (update_num, seqno, header_len) in
            [(0, 0, 7), (7, 0, 8), (7, 300, 10), (MAX_U56, MAX_U56, 21)]
        {
            let header =
                RowHeader { update_time: 1_795_000_000_000, update_num, seqno: Seqno::new(seqno) };
            let mut value = vec![9; 3];
            encode(&mut value, header, &floats);
            assert_eq!(value.len(), header_len + 12);
            assert_eq!(value[1..7], 1_795_000_000_000u64.to_le_bytes()[..6]);
            assert_eq!(value[header_len..header_len + 4], [0, 0, 0xc0, 0x3f]);
            let mut back = [0.0; 3];
            assert_eq!(decode(&value, 3, &mut back), Ok(Found::Row(header)));
            assert_eq!(back.map(f32::to_bits), floats.map(f32::to_bits));
            let mut weight = [0.0; 1];
            assert_eq!(decode(&value, 3, &mut weight), Ok(Found::Row(header)));
            assert_eq!(weight, [1.5]);
        }
    }

    #[test]
    fn truncated_foreign_and_newer_rows_are_corruption() {
        let mut value = Vec::new();
        encode(
            &mut value,
            RowHeader { update_time: 1, update_num: 2, seqno: Seqno::new(3) },
            &[1.0; 4],
        );
        for len in 0..value.len() {
            assert!(decode(&value[..len], 4, &mut [0.0; 4]).is_err(), "{len} bytes");
        }
        assert!(decode(&value, 3, &mut [0.0; 3]).is_err());
        value[0] = 3 << 6;
        let error = decode(&value, 4, &mut [0.0; 4]).unwrap_err();
        assert!(error.message().contains("version 3"), "{error}");
    }

    #[test]
    fn tombstones_are_told_from_rows() {
        let mut value = Vec::new();
        encode_deleted(&mut value, 1_795_000_000_000, Seqno::new(300));
        assert_eq!(value.len(), 9);
        assert_eq!(
            parse(&value),
            Ok(Stored::Deleted { time: 1_795_000_000_000, seqno: Seqno::new(300) })
        );
        let found = Found::Deleted { time: 1_795_000_000_000, seqno: Seqno::new(300) };
        assert_eq!(decode(&value, 4, &mut [0.0; 4]), Ok(found));
        assert!((0..value.len()).all(|len| parse(&value[..len]).is_err()));
        let expired = expired_on(20_000);
        assert_eq!(parse(expired), Ok(Stored::Expired { day: 20_000 }));
        assert_eq!(expired.as_ptr(), expired_on(20_000).as_ptr(), "one a day");
        assert!((0..expired.len()).all(|len| parse(&expired[..len]).is_err()));
    }
}
