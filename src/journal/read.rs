//! Reads a journal back: every entry in order.
//!
//! A killed process leaves a prefix of what it wrote, so the last file may end inside an entry.
//! That end is dropped. Anything else that is not as it was written is an error, zeros included:
//! only a machine that stopped leaves zeros. After such a stop any part that was not synced may be
//! missing, and the journal ends at the first entry that is not whole.
//!
//! A mapped segment says itself where its content ends. A killed process leaves all of that whole;
//! what lies behind is room. After the machine has stopped, the end word may be older or newer than
//! the rest, and entries count as long as they are whole and follow each other.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::entry::{
    CallKind, END_AT, ENTRY_HEADER_LEN, MAPPED_HEADER_LEN, NoHead, ReadHead, decode_head,
    mapped_header, read_segment_header, segment_header,
};
use super::hand_over::{CallRead, Replay};
use super::measure::{self, Lengths, is_empty, is_headerless};
use super::names::{self, failed};
use super::position::{Position, Tolerance};
use super::read_payload::ReadPayload;
use super::segment::list;
use crate::error::{Error, Result};
use crate::files::regular;
use crate::seqno::Seqno;

/// Reads the journal in `dir` and returns the sequence number of its last call. The rows of calls
/// up to `through` are on disk already. `machine_stopped` says that the system was started anew
/// since the journal was written.
///
/// # Errors
/// `IO`; `CORRUPTION` naming the file and the byte; `NOT_SUPPORTED` for an entry of a later
/// release.
pub(crate) fn read_all(
    dir: &Path,
    through: Seqno,
    machine_stopped: bool,
    replay: &mut impl Replay,
) -> Result<Seqno> {
    read(dir, through, machine_stopped, None, replay)
}

/// As [`read_all`], for links to the files of a journal that another process may still write. The
/// last file had `listed_bytes` when the links were made. If it has been closed since, the file
/// after it has no link.
///
/// # Errors
/// As [`read_all`].
pub(crate) fn read_links(
    dir: &Path,
    through: Seqno,
    machine_stopped: bool,
    listed_bytes: u64,
    replay: &mut impl Replay,
) -> Result<Seqno> {
    read(dir, through, machine_stopped, Some(listed_bytes), replay)
}

fn read(
    dir: &Path,
    through: Seqno,
    machine_stopped: bool,
    listed_bytes: Option<u64>,
    replay: &mut impl Replay,
) -> Result<Seqno> {
    let mut segments = list(dir)?;
    // Files whose calls are all on disk may have been deleted already.
    let begin = segments.iter().rposition(|(first, _)| *first <= through.next()).unwrap_or(0);
    segments.drain(..begin);
    let mut last = match segments.first() {
        None => return Ok(through),
        Some((first, _)) if *first <= through.next() => first.previous(),
        Some(_) if machine_stopped => return Ok(through),
        Some((first, path)) => return Err(begins_too_late(*first, path, through)),
    };
    // A torn entry can only be followed by files without calls.
    let last_with_calls = last_with_calls(&segments)?;
    let mut has_ended = false;
    for (index, (first, path)) in segments.iter().enumerate() {
        if *first != last.next() {
            if is_empty(path)? {
                // A failed rotation left this file.
                continue;
            }
            if machine_stopped {
                break;
            }
            return Err(follows_a_gap(*first, path, last));
        }
        // A process writes the oldest file's header before any call, and the header of a later file
        // before the entry that ends the file before it.
        if (index == 0 || has_ended) && !machine_stopped && is_headerless(path)? {
            return Err(Error::damage(format_args!(
                "the journal '{}' is cut off within its header",
                path.display()
            )));
        }
        let tolerance = Tolerance { is_last: index >= last_with_calls, machine_stopped };
        (last, has_ended) = read_segment(path, *first, through, tolerance, replay)?;
    }
    if has_ended && !machine_stopped && !has_grown(&segments, listed_bytes)? {
        return Err(next_is_missing(dir, last));
    }
    Ok(last.max(through))
}

/// Whether the last file has grown since it was listed. The entry that ends it may be new, and the
/// file after it has no link.
fn has_grown(segments: &[(Seqno, PathBuf)], listed_bytes: Option<u64>) -> Result<bool> {
    match (listed_bytes, segments.last()) {
        (Some(listed), Some((_, path))) => Ok(measure::content(path)? > listed),
        _ => Ok(false),
    }
}

fn begins_too_late(first: Seqno, path: &Path, through: Seqno) -> Error {
    let path = path.display();
    Error::damage(format_args!(
        "the journal begins with call {first} ('{path}'), and the rows on disk end with call \
         {through}: a file of the journal is missing"
    ))
}

fn follows_a_gap(first: Seqno, path: &Path, last: Seqno) -> Error {
    Error::damage(format_args!(
        "the journal '{}' begins with call {first}, and the file before it ends with call {last}: \
         a file is missing or cut off",
        path.display()
    ))
}

fn next_is_missing(dir: &Path, last: Seqno) -> Error {
    let next = dir.join(names::name(last.next()));
    Error::damage(format_args!(
        "the journal '{}' is missing: the file before it, which ends with call {last}, says that \
         it was there",
        next.display()
    ))
}

/// Lists the files in a folder that are named as a journal's, in order, and ignores all others.
///
/// # Errors
/// The system's error in reading the folder.
pub(crate) fn list_whole(dir: &Path) -> std::io::Result<Vec<(Seqno, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        found.extend(names::first_of(&path).map(|first| (first, path)));
    }
    found.sort();
    Ok(found)
}

/// Hands over the entries of one file up to a torn end or the first entry that is not whole.
/// Returns the last call's sequence number, and whether the file says that another one follows.
///
/// # Errors
/// `IO`; `CORRUPTION` when it ends with damage. The entries before were handed over.
pub(crate) fn read_whole(
    path: &Path,
    first: Seqno,
    through: Seqno,
    replay: &mut impl Replay,
) -> Result<(Seqno, bool)> {
    let tolerance = Tolerance { is_last: true, machine_stopped: false };
    read_segment(path, first, through, tolerance, replay)
}

/// The index of the last file with an entry.
fn last_with_calls(segments: &[(Seqno, PathBuf)]) -> Result<usize> {
    for (index, (_, path)) in segments.iter().enumerate().rev() {
        if !is_empty(path)? {
            return Ok(index);
        }
    }
    Ok(0)
}

/// Reads one segment. Returns the last call's sequence number, and whether the segment says that
/// another one follows.
fn read_segment(
    path: &Path,
    first: Seqno,
    through: Seqno,
    tolerance: Tolerance,
    replay: &mut impl Replay,
) -> Result<(Seqno, bool)> {
    let unreadable = |error: std::io::Error| failed("read", path, &error);
    let file = regular::open(path).map_err(unreadable)?;
    // Before anything else is read: what comes before the end is as it stays.
    let lengths = Lengths::of(&file).map_err(unreadable)?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut position = Position { path, at: 0, len: lengths.file, tolerance };
    replay.segment();
    if read_header(&mut reader, &position, first, &lengths)?.is_none() {
        return Ok((first.previous(), false));
    }
    position.at = lengths.header;
    let is_bound = lengths.is_mapped && !tolerance.machine_stopped;
    if is_bound {
        // Where the end is not known, whole entries count up to the first that is not.
        position.len = lengths.end.unwrap_or(lengths.file).min(lengths.file);
        let machine_stopped = lengths.end.is_none();
        position.tolerance = Tolerance { is_last: false, machine_stopped };
    }
    let found = read_entries(&mut reader, &mut position, &lengths, first, through, replay)?;
    match lengths.end {
        Some(end) if !is_bound || end <= lengths.file => Ok(found),
        None if !is_bound => Ok(found),
        Some(end) => Err(position.damaged(&format!("it is cut off, and had {end} bytes"))),
        None => {
            position.at = END_AT as u64;
            Err(position.damaged("the word that says where it ends does not fit its checksum"))
        }
    }
}

/// Reads the entries of a segment. Returns as [`read_segment`].
fn read_entries(
    reader: &mut impl Read,
    position: &mut Position<'_>,
    lengths: &Lengths,
    first: Seqno,
    through: Seqno,
    replay: &mut impl Replay,
) -> Result<(Seqno, bool)> {
    let (mut last, mut has_ended) = (first.previous(), false);
    let mut payload = ReadPayload::default();
    while position.at < position.len {
        if has_ended {
            return position
                .not_whole::<()>("a record follows the one that ends the file")
                .map(|_| (last, true));
        }
        let Some(read) = read_entry(reader, position, &mut payload)? else { break };
        if read.seqno != last.next() {
            let what = format!("call {} follows call {last}", read.seqno);
            // Behind the last call, a mapped segment may have entries of calls that failed, and of
            // the file's earlier use.
            let may_be_left = lengths.is_mapped && position.tolerance.machine_stopped;
            return if may_be_left { Ok((last, false)) } else { Err(position.damaged(&what)) };
        }
        let (payload, is_new) = (&payload, read.seqno > through);
        let call = CallRead { read: &read, payload, position, is_new };
        match read.head.kind {
            CallKind::Config => replay
                .config(read.head.group, read.head.config, payload.bytes())
                .map_err(|error| position.name(error))?,
            CallKind::End => has_ended = true,
            CallKind::Gradients
            | CallKind::Insert
            | CallKind::InsertRecords
            | CallKind::Delete
            | CallKind::SetStep
            | CallKind::Clear => {
                call.hand_over(replay)?;
                last = read.seqno;
            }
            CallKind::Step | CallKind::Once => {
                call.hand_over_step(replay)?;
                last = read.seqno;
            }
            CallKind::Forget => {
                call.hand_over_forgotten(replay)?;
                last = read.seqno;
            }
        }
        position.at += ENTRY_HEADER_LEN as u64 + read.payload_len;
    }
    Ok((last, has_ended))
}

/// Reads and checks a segment's header; None when it is not whole in a way that is no damage.
fn read_header(
    reader: &mut impl Read,
    position: &Position<'_>,
    first: Seqno,
    lengths: &Lengths,
) -> Result<Option<()>> {
    let unreadable = |error: std::io::Error| failed("read", position.path, &error);
    // The file is made before its header is written, and a process may be killed in between.
    if lengths.file < lengths.header {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(unreadable)?;
        let is_begun =
            segment_header(first).starts_with(&bytes) || mapped_header(first).starts_with(&bytes);
        return match is_begun {
            true => position.torn("it is cut off"),
            false => position.not_whole("it does not begin as a journal does"),
        };
    }
    let mut header = [0; MAPPED_HEADER_LEN];
    let header = &mut header[..lengths.header as usize];
    reader.read_exact(header).map_err(unreadable)?;
    match read_segment_header(header) {
        Ok(found) if found == first => Ok(Some(())),
        Ok(found) => position.not_whole(&format!("its first call is {found}, not {first}")),
        Err(what) => position.not_whole(&what),
    }
}

/// Reads the next entry; None at a torn end.
fn read_entry(
    reader: &mut impl Read,
    position: &Position<'_>,
    payload: &mut ReadPayload,
) -> Result<Option<ReadHead>> {
    let unreadable = |error: std::io::Error| failed("read", position.path, &error);
    let left = position.len - position.at;
    if left < ENTRY_HEADER_LEN as u64 {
        return position.torn("a record is cut off");
    }
    let mut header = [0; ENTRY_HEADER_LEN];
    reader.read_exact(&mut header).map_err(unreadable)?;
    let read = match decode_head(&header) {
        Ok(read) => read,
        Err(NoHead::Damaged) => return position.not_whole("the checksum of a record does not fit"),
        // The checksum fits, so this is no entry that a stopped machine left half written.
        Err(NoHead::Unknown(kind)) => return Err(position.of_later_release(kind)),
    };
    if left - (ENTRY_HEADER_LEN as u64) < read.payload_len {
        return position.torn("a record is cut off");
    }
    let bytes = payload.begin(read.payload_len as usize)?;
    reader.read_exact(bytes).map_err(unreadable)?;
    if crc32fast::hash(bytes) != read.payload_crc {
        return position.not_whole("the checksum of a payload does not fit");
    }
    Ok(Some(read))
}
