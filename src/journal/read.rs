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
    CallKind, END_AT, ENTRY_HEADER_LEN, Head, MAPPED_HEADER_LEN, NoHead, ReadHead, decode_head,
    mapped_header, read_segment_header, segment_header,
};
use super::measure::{self, Lengths, is_empty, is_headerless};
use super::names::{self, failed};
use super::read_payload::{OfGroup, ReadPayload};
use super::sections::Section;
use super::segment::list;
use super::token::Token;
use crate::error::{Error, Result, Status};
use crate::files::regular;
use crate::seqno::Seqno;

/// The receiver of the entries.
pub(crate) trait Replay {
    /// A configuration that later entries of this segment refer to.
    fn config(&mut self, group: u16, config: u32, description: &[u8]) -> Result<()>;

    /// A call. `keys` and `floats` are as they were written.
    fn call(&mut self, seqno: Seqno, head: &Head, keys: &[i64], floats: &[f32]) -> Result<()>;

    /// The number of floats a key in a call's payload.
    fn floats_a_key(&self, head: &Head) -> Result<usize>;

    /// A new segment begins; the configurations of the one before no longer apply.
    fn segment(&mut self);

    /// The latest call of this group, which was made at `time`, was a client's.
    fn once(&mut self, _seqno: Seqno, _group: u16, _token: Token, _time: u64) {}

    /// A group forgets a client.
    fn forget(&mut self, _seqno: Seqno, _group: u16, _client: u64) {}
}

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

/// Which defects of a segment are no damage.
#[derive(Clone, Copy)]
struct Tolerance {
    /// It may end inside an entry.
    is_last: bool,
    /// Any part may be missing.
    machine_stopped: bool,
}

/// A position in a segment, for messages.
struct Position<'a> {
    path: &'a Path,
    at: u64,
    len: u64,
    tolerance: Tolerance,
}

impl Position<'_> {
    /// The file ends here inside an entry, as a killed process leaves the last file.
    fn torn<T>(&self, what: &str) -> Result<Option<T>> {
        if self.tolerance.is_last { Ok(None) } else { self.not_whole(what) }
    }

    /// The entry here is not whole, in a way that only a stopped machine causes.
    fn not_whole<T>(&self, what: &str) -> Result<Option<T>> {
        if self.tolerance.machine_stopped { Ok(None) } else { Err(self.damaged(what)) }
    }

    /// Puts the position in front of an error of the receiver.
    fn name(&self, error: Error) -> Error {
        error.within(&format!("the journal '{}' at byte {}", self.path.display(), self.at))
    }

    fn of_later_release(&self, kind: u32) -> Error {
        self.name(Error::new(
            Status::NotSupported,
            format!(
                "has a record of kind {kind}, which a later release of damo wrote; open the \
                 storage with that release, and close it, first"
            ),
        ))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::damage(format_args!(
            "the journal '{}' is damaged at byte {}: {what}",
            self.path.display(),
            self.at
        ))
    }
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
                hand_over(&read, &payload, position, through, replay)?;
                last = read.seqno;
            }
            CallKind::Step | CallKind::Once => {
                hand_over_step(&read, &payload, position, through, replay)?;
                last = read.seqno;
            }
            CallKind::Forget => {
                hand_over_forgotten(&read, &payload, position, through, replay)?;
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

/// Hands a call over, unless its rows are on disk already.
fn hand_over(
    read: &ReadHead,
    payload: &ReadPayload,
    position: &Position<'_>,
    through: Seqno,
    replay: &mut impl Replay,
) -> Result<()> {
    let head = &read.head;
    let floats_a_key = match head.kind {
        CallKind::Gradients | CallKind::Insert | CallKind::InsertRecords => {
            replay.floats_a_key(head).map_err(|error| position.name(error))?
        }
        _ => 0,
    };
    let (keys, floats) = payload
        .split(floats_a_key)
        .ok_or_else(|| position.damaged("a payload of the wrong length"))?;
    if read.seqno > through { replay.call(read.seqno, head, keys, floats) } else { Ok(()) }
}

/// Hands a step over, as the gradients of one group after the other.
fn hand_over_step(
    read: &ReadHead,
    payload: &ReadPayload,
    position: &Position<'_>,
    through: Seqno,
    replay: &mut impl Replay,
) -> Result<()> {
    let wrong = || position.damaged("a step of the wrong length");
    let token = payload.token(read.head.kind).ok_or_else(wrong)?;
    let mut calls = Vec::new();
    for OfGroup { section, keys, floats } in payload.sections(token).ok_or_else(wrong)? {
        let Section { group, config, step, rate, .. } = section;
        let head = Head { kind: CallKind::Gradients, group, config, step, rate, ..read.head };
        let floats_a_key = replay.floats_a_key(&head).map_err(|error| position.name(error))?;
        if keys.len().checked_mul(floats_a_key) != Some(floats.len()) {
            return Err(wrong());
        }
        calls.push((head, keys, floats));
    }
    // Nothing is handed over before all of it is known to fit.
    for (head, keys, floats) in calls.iter().filter(|_| read.seqno > through) {
        replay.call(read.seqno, head, keys, floats)?;
        if let Some(token) = token {
            replay.once(read.seqno, head.group, token, head.time);
        }
    }
    Ok(())
}

/// Hands a forgotten client over, for one group after the other.
fn hand_over_forgotten(
    read: &ReadHead,
    payload: &ReadPayload,
    position: &Position<'_>,
    through: Seqno,
    replay: &mut impl Replay,
) -> Result<()> {
    let wrong = || position.damaged("a forgotten client of the wrong length");
    let (client, groups) = payload.forgotten().ok_or_else(wrong)?;
    let groups = groups.iter().filter(|_| read.seqno > through);
    groups.for_each(|group| replay.forget(read.seqno, *group, client));
    Ok(())
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
