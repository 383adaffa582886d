//! Reading a journal back: every record in order; the torn end that a killed process leaves is dropped, anything else
//! that is not as it was written is an error.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::record::{
    Head, Kind, RECORD_HEADER_LEN, ReadHead, SEGMENT_HEADER_LEN, decode_head, read_segment_header,
};
use super::segment::{failed, list};
use crate::error::{Error, Result};
use crate::memory::filled;

/// What is done with the records.
pub(crate) trait Replay {
    /// A configuration that later records of this segment refer to.
    fn config(&mut self, group: u16, config: u32, description: &[u8]) -> Result<()>;

    /// A call. `keys` and `floats` are as they were written.
    fn call(&mut self, number: u64, head: &Head, keys: &[i64], floats: &[f32]) -> Result<()>;

    /// Floats a key in the payload of a call.
    fn floats_a_key(&self, head: &Head) -> Result<usize>;

    /// A new segment begins, and with it new configurations.
    fn segment(&mut self);
}

/// Reads the journal in `dir`, of which the calls through `through` are on disk already, and returns the number of
/// its last call.
///
/// # Errors
/// `IO`; `CORRUPTION` naming the file and the byte.
pub(crate) fn read_all(dir: &Path, through: u64, replay: &mut impl Replay) -> Result<u64> {
    let segments = list(dir)?;
    let mut last = match segments.first() {
        None => return Ok(through),
        Some((first, path)) if *first > through + 1 => {
            let path = path.display();
            return Err(Error::corruption(format!(
                "the journal begins with call {first} ('{path}'), and the rows on disk end with call {through}; a file \
                 of the journal is missing"
            )));
        }
        Some((first, _)) => first - 1,
    };
    let count = segments.len();
    for (index, (first, path)) in segments.iter().enumerate() {
        if *first != last + 1 {
            return Err(Error::corruption(format!(
                "the journal '{}' begins with call {first}, and the file before it ends with call {last}; a file is \
                 missing or cut off",
                path.display()
            )));
        }
        last = read_segment(path, *first, index + 1 == count, replay)?;
    }
    Ok(last.max(through))
}

/// A place in a segment, for messages.
struct Position<'a> {
    path: &'a Path,
    at: u64,
    len: u64,
}

impl Position<'_> {
    fn damaged(&self, what: &str) -> Error {
        Error::corruption(format!(
            "the journal '{}' is damaged at byte {}: {what}",
            self.path.display(),
            self.at
        ))
    }
}

fn read_segment(path: &Path, first: u64, is_last: bool, replay: &mut impl Replay) -> Result<u64> {
    let unreadable = |error: std::io::Error| failed("read", path, &error);
    let file = File::open(path).map_err(unreadable)?;
    let len = file.metadata().map_err(unreadable)?.len();
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut position = Position { path, at: 0, len };
    replay.segment();
    // The file is made before its header is written, and a process may be killed in between.
    if len < SEGMENT_HEADER_LEN as u64 {
        return if is_last { Ok(first - 1) } else { Err(position.damaged("it is cut off")) };
    }
    let mut header = [0; SEGMENT_HEADER_LEN];
    reader.read_exact(&mut header).map_err(unreadable)?;
    match read_segment_header(&header) {
        Ok(number) if number == first => {}
        Ok(number) => return Err(position.damaged(&format!("its first call is {number}, not {first}"))),
        Err(_) if is_last && header.iter().all(|byte| *byte == 0) => return Ok(first - 1),
        Err(what) => return Err(position.damaged(&what)),
    }
    position.at = SEGMENT_HEADER_LEN as u64;
    let mut last = first - 1;
    let mut payload = Payload::default();
    while position.at < len {
        let Some(read) = read_record(&mut reader, &position, is_last, &mut payload)? else { break };
        let head = &read.head;
        if read.number != last + 1 {
            return Err(position.damaged(&format!("call {} follows call {last}", read.number)));
        }
        let wrong_len = || position.damaged("a payload of the wrong length");
        if head.kind == Kind::Config {
            replay.config(head.group, head.config, payload.bytes())?;
        } else {
            let floats_a_key = match head.kind {
                Kind::Gradients | Kind::Insert => replay.floats_a_key(head)?,
                _ => 0,
            };
            let (keys, floats) = payload.split(floats_a_key).ok_or_else(wrong_len)?;
            replay.call(read.number, head, keys, floats)?;
            last = read.number;
        }
        position.at += RECORD_HEADER_LEN as u64 + read.payload_len;
    }
    Ok(last)
}

/// A payload in memory that is aligned for the numbers in it.
#[derive(Default)]
struct Payload {
    words: Vec<i64>,
    len: usize,
}

impl Payload {
    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    fn split(&self, floats_a_key: usize) -> Option<(&[i64], &[f32])> {
        let keys = self.len / (8 + 4 * floats_a_key);
        if keys * (8 + 4 * floats_a_key) != self.len {
            return None;
        }
        let (keys, floats) = self.bytes().split_at(8 * keys);
        Some((bytemuck::try_cast_slice(keys).ok()?, bytemuck::try_cast_slice(floats).ok()?))
    }
}

/// The next record, or None at a torn end.
fn read_record(
    reader: &mut impl BufRead,
    position: &Position<'_>,
    is_last: bool,
    payload: &mut Payload,
) -> Result<Option<ReadHead>> {
    let unreadable = |error: std::io::Error| failed("read", position.path, &error);
    let left = position.len - position.at;
    let torn = |what: &str| if is_last { Ok(None) } else { Err(position.damaged(what)) };
    if left < RECORD_HEADER_LEN as u64 {
        return torn("a record is cut off");
    }
    let mut header = [0; RECORD_HEADER_LEN];
    reader.read_exact(&mut header).map_err(unreadable)?;
    let Some(read) = decode_head(&header) else {
        // Losing power can leave a file longer than what was written into it: zeros to the end.
        let rest_is_zero = header.iter().all(|byte| *byte == 0)
            && reader.bytes().all(|byte| byte.is_ok_and(|byte| byte == 0));
        return if rest_is_zero {
            torn("a record is missing")
        } else {
            Err(position.damaged("the checksum of a record does not fit"))
        };
    };
    if left - (RECORD_HEADER_LEN as u64) < read.payload_len {
        return torn("a record is cut off");
    }
    payload.len = read.payload_len as usize;
    let words = payload.len.div_ceil(8);
    if payload.words.len() < words {
        payload.words = Vec::new();
        payload.words = filled(0i64, words)?;
    }
    let bytes = &mut bytemuck::cast_slice_mut(&mut payload.words)[..payload.len];
    reader.read_exact(bytes).map_err(unreadable)?;
    if crc32fast::hash(bytes) != read.payload_crc {
        // Only losing power leaves a record with its end missing and its length right: with zeros for what was lost.
        let at_end = left == RECORD_HEADER_LEN as u64 + read.payload_len;
        let has_hole = bytes.chunks(SECTOR).any(|sector| sector.iter().all(|byte| *byte == 0));
        return if at_end && has_hole {
            torn("a record has a hole")
        } else {
            Err(position.damaged("the checksum of a payload does not fit"))
        };
    }
    Ok(Some(read))
}

/// What disks write at once.
const SECTOR: usize = 512;
