//! Reads a whole file once and compares its sections' checksums, on all processors when it is
//! large.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::format::{ALIGN, GroupEntry, TableHeader, more_size};
use super::hash::IndexShape;
use crate::error::{Error, Result};
use crate::locks::Mutex;
use crate::memory::reserve;

/// The bytes that a thread takes at a time.
const PIECE: usize = 8 << 20;
/// A smaller file is read by the caller alone.
const SMALL: usize = 32 << 20;

/// A part of a section.
#[derive(Clone, Copy)]
struct Piece {
    start: usize,
    len: usize,
    /// For a piece of an index: the index's layout.
    slots_of: Option<IndexShape>,
    rows: u64,
}

/// The sum of a piece: its checksum, its slots in use, and whether one of them leads beyond the
/// rows.
#[derive(Clone, Copy, Default)]
struct Sum {
    crc: u32,
    taken: u64,
    is_out_of_range: bool,
}

/// Compares all sections.
///
/// # Errors
/// `CORRUPTION` naming the section; `OUT_OF_MEMORY`.
pub(super) fn verify(file: &[u8], header: &TableHeader, entries: &[GroupEntry]) -> Result<()> {
    let mut pieces = Vec::new();
    for entry in entries {
        let rows = entry.rows * entry.stride(header.value_type) as u64;
        cut(entry.rows_offset, rows, None, 0, &mut pieces)?;
        let shape = header.since.is_none().then(|| IndexShape::new(entry.rows, entry.homes));
        cut(
            entry.more_offset,
            entry.more * more_size(header.since),
            shape,
            entry.rows,
            &mut pieces,
        )?;
    }
    let sums = sums(file, &pieces)?;
    let mut sums = pieces.iter().zip(&sums).peekable();
    let mut section = |offset: u64, bytes: u64| {
        let end = offset + bytes.next_multiple_of(ALIGN);
        let (mut crc, mut taken, mut is_out_of_range) = (crc32fast::Hasher::new(), 0, false);
        while let Some((piece, sum)) = sums.next_if(|(piece, _)| (piece.start as u64) < end) {
            crc.combine(&crc32fast::Hasher::new_with_initial_len(sum.crc, piece.len as u64));
            taken += sum.taken;
            is_out_of_range |= sum.is_out_of_range;
        }
        (crc.finalize(), taken, is_out_of_range)
    };
    for entry in entries {
        let group = entry.group;
        let damaged = |what: &str| {
            Err(Error::corruption(format!("the {what} of group {group}: some bytes have changed")))
        };
        let rows = entry.rows * entry.stride(header.value_type) as u64;
        if section(entry.rows_offset, rows).0 != entry.rows_crc {
            return damaged("checksum of the rows");
        }
        let (crc, taken, is_out_of_range) =
            section(entry.more_offset, entry.more * more_size(header.since));
        if crc != entry.more_crc {
            return damaged(if header.since.is_none() {
                "checksum of the index"
            } else {
                "checksum of the removed keys"
            });
        }
        if header.since.is_none() && (is_out_of_range || taken != entry.rows) {
            return Err(Error::corruption(format!(
                "the index of group {group} does not lead to its rows"
            )));
        }
    }
    Ok(())
}

/// Cuts a section, with its padding, into pieces.
fn cut(
    offset: u64,
    bytes: u64,
    slots_of: Option<IndexShape>,
    rows: u64,
    pieces: &mut Vec<Piece>,
) -> Result<()> {
    let end = (offset + bytes.next_multiple_of(ALIGN)) as usize;
    let starts = (offset as usize..end).step_by(PIECE);
    reserve(pieces, starts.len())?;
    pieces.extend(starts.map(|start| Piece { start, len: PIECE.min(end - start), slots_of, rows }));
    Ok(())
}

fn sums(file: &[u8], pieces: &[Piece]) -> Result<Vec<Sum>> {
    let next = AtomicUsize::new(0);
    let mut sums = Vec::new();
    reserve(&mut sums, pieces.len())?;
    sums.resize(pieces.len(), Sum::default());
    let sums = Mutex::new(sums);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(index) else { return };
            let sum = sum_up(file, piece);
            sums.lock()[index] = sum;
        }
    };
    let helpers = if file.len() < SMALL { 0 } else { processors().min(pieces.len()) - 1 };
    // Threads of their own and not a pool's, so that they work in a forked child, too.
    thread::scope(|scope| {
        for _ in 0..helpers {
            // A thread that cannot be started is not missed: the others take its pieces.
            let _ = thread::Builder::new().name("damo-verify".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    Ok(sums.into_inner())
}

fn sum_up(file: &[u8], piece: &Piece) -> Sum {
    let bytes = &file[piece.start..piece.start + piece.len];
    let mut sum = Sum { crc: crc32fast::hash(bytes), ..Sum::default() };
    if let Some(shape) = piece.slots_of {
        for slot in bytes.as_chunks().0 {
            let row = shape.row_after(u32::from_le_bytes(*slot));
            sum.taken += u64::from(row != 0);
            sum.is_out_of_range |= u64::from(row) > piece.rows;
        }
    }
    sum
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
