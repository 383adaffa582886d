//! Import: rows from checkpoint files of the earlier implementation, so that its users can move.
//!
//! The file is read twice: first all of it, to know that it is whole and in which order its fields are, then once more for
//! the rows, in batches, so that memory does not grow with the file. What the bytes are is `file`'s; how rows get in is `table`'s.

mod file;
mod report;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

pub use report::{FieldOrder, Imported, Refusal, Refused};

use super::call::is_exiting;
use super::table::{ImportBatch, Table};
use super::{Core, Storage};
use crate::error::{Error, Result, Status};
use crate::memory::{check_headroom, reserve};
use file::{Head, Reader};

/// A time in milliseconds is above this, a count of updates is not.
const SMALLEST_TIME: i64 = 100_000_000_000;
/// What stored rows and rows in memory have room for.
const MAX_TIME: i64 = (1 << 48) - 1;
const MAX_NUM: i64 = (1 << 56) - 1;
/// Bytes of rows that are brought in at a time, per group: a part of the cache, within these limits.
const CACHE_PART: usize = 8;
const MIN_BATCH_BYTES: usize = 1 << 20;
const MAX_BATCH_BYTES: usize = 8 << 20;
/// All groups' batches together hold so many times as much.
const BATCHES: usize = 4;
/// Records between two words to the caller.
const REPORT_EVERY: u64 = 4096;

impl Storage {
    /// Brings in the records of the checkpoint file `path`, which the earlier implementation wrote. Their groups must be
    /// registered, that is, have been opened in this storage once, with the right dim and optimizer. A row that is there is
    /// replaced; update_time and update_num are kept; a record that does not fit is left out, and counted with its reason.
    /// Everything that came in is on disk when this returns.
    ///
    /// Nothing is changed before the file has been read through. After an error from then on, or when the process is killed, a part
    /// of the rows may be there; import the file again then. Calls go on meanwhile, but what they do to rows of the file may be
    /// replaced: train afterwards.
    ///
    /// `progress` is told now and then how many bytes were read, of how many (twice those of the file), and ends the import by
    /// returning false. It must not use the storage.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID_ARGUMENT` for a path that is no file's; `CORRUPTION` for a file that is cut off, has more than it
    /// says, or is something else; `CANCELLED`; `IO`, `OUT_OF_MEMORY`, `POISONED`, `EXITING`.
    pub fn import(
        &self,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(u64, u64) -> bool,
    ) -> Result<Imported> {
        let path = path.as_ref();
        let _call = self.begin_call()?;
        let core = self.core();
        core.check_writable()?;
        check_headroom(1)?;
        let mut report = survey(path, &mut |at, of| progress(at, of))?;
        let mut import = Import::new(core);
        let outcome = import.run(path, &mut report, &mut progress);
        // Also what came in before an error: it is there, so it should be there to stay.
        let written = core
            .writer
            .write_all()
            .map_err(|error| error.within(&format!("data_dir '{}'", self.dir().display())));
        *core.last_import.lock() = Some(report.clone());
        outcome.and(written).map(|()| report)
    }

    /// What became of the records of the latest import of this storage, also of one that failed on its way.
    pub fn last_import(&self) -> Option<Imported> {
        self.core().last_import.lock().clone()
    }
}

/// Reads a file through without its floats.
fn survey(path: &Path, progress: &mut impl FnMut(u64, u64) -> bool) -> Result<Imported> {
    let mut reader = Reader::open(path)?;
    let (mut time_first, mut num_first) = (0_u64, 0_u64);
    while let Some(head) = reader.next()? {
        reader.skip_floats(&head)?;
        match (head.pair.0 > SMALLEST_TIME, head.pair.1 > SMALLEST_TIME) {
            (true, false) => time_first += 1,
            (false, true) => num_first += 1,
            _ => {}
        }
        if head.index % REPORT_EVERY == 0 {
            go_on(progress(reader.at(), 2 * reader.len()), 0)?;
        }
    }
    let order = match time_first.cmp(&num_first) {
        std::cmp::Ordering::Greater => FieldOrder::TimeFirst,
        std::cmp::Ordering::Less => FieldOrder::NumFirst,
        std::cmp::Ordering::Equal if time_first == 0 => FieldOrder::Assumed,
        std::cmp::Ordering::Equal => {
            return Err(Error::corruption(format!(
                "path '{}': {time_first} of its records have update_time before update_num, and as many have it after; \
                 which is right cannot be told",
                path.display()
            )));
        }
    };
    Ok(Imported { records: reader.count(), imported: 0, without_state: 0, order, refused: Vec::new() })
}

fn go_on(wanted: bool, imported: u64) -> Result<()> {
    let ended = |status, why: &str| {
        Err(Error::new(status, format!("{why}; {imported} records were imported, the others were not")))
    };
    if !wanted {
        return ended(Status::Cancelled, "progress returned false");
    }
    if is_exiting() {
        return ended(Status::Exiting, "the process is ending");
    }
    Ok(())
}

/// A group of the file that the storage has, and its rows that wait to be brought in.
struct Target {
    table: Table,
    batch: ImportBatch,
}

struct Import<'a> {
    core: &'a Core,
    /// By group; None for one that is not registered.
    targets: HashMap<u16, Option<Target>>,
    /// What is older than this has expired.
    cutoff: u64,
    batch_bytes: usize,
    /// Of all batches.
    waiting_bytes: usize,
}

impl<'a> Import<'a> {
    fn new(core: &'a Core) -> Import<'a> {
        let batch_bytes = (core.options.cache_bytes / CACHE_PART).clamp(MIN_BATCH_BYTES, MAX_BATCH_BYTES);
        Import { core, targets: HashMap::new(), cutoff: core.moment().cutoff, batch_bytes, waiting_bytes: 0 }
    }

    fn run(
        &mut self,
        path: &Path,
        report: &mut Imported,
        progress: &mut impl FnMut(u64, u64) -> bool,
    ) -> Result<()> {
        let mut reader = Reader::open(path)?;
        if reader.count() != report.records {
            return Err(Error::io(format!("path '{}' was changed while it was read", path.display())));
        }
        while let Some(head) = reader.next()? {
            self.take(&mut reader, &head, report)?;
            if head.index % REPORT_EVERY == 0 {
                go_on(progress(reader.len() + reader.at(), 2 * reader.len()), report.imported)?;
            }
        }
        self.put_all()?;
        go_on(progress(2 * reader.len(), 2 * reader.len()), report.imported)
    }

    /// Adds one record to the batch of its group, or refuses it.
    fn take(&mut self, reader: &mut Reader, head: &Head, report: &mut Imported) -> Result<()> {
        let place = || format!("record {} (group {} key {})", head.index, head.key_group, head.key);
        if (head.value_group, head.value_key) != (head.key_group, head.key) {
            report.refuse(Refusal::KeyMismatch, || {
                format!("{}: its value is of group {} key {}", place(), head.value_group, head.value_key)
            });
            return reader.skip_floats(head);
        }
        let Some(target) = target(&mut self.targets, self.core, head.key_group)? else {
            report.refuse(Refusal::UnknownGroup, || format!("{}: {}", place(), self.core.unknown(head)));
            return reader.skip_floats(head);
        };
        let (dim, row_len) = (target.table.dim(), target.table.row_len());
        if usize::try_from(head.dim).ok() != Some(dim) {
            report.refuse(Refusal::WrongDim, || {
                format!("{}: its dim is {}; the group has {dim}", place(), head.dim)
            });
            return reader.skip_floats(head);
        }
        let is_bare = head.floats == dim as u64 && row_len != dim;
        if head.floats != row_len as u64 && !is_bare {
            report.refuse(Refusal::WrongLength, || {
                format!(
                    "{}: it has {} floats; {row_len} (weights and the state of '{}') or {dim} (weights) are needed",
                    place(),
                    head.floats,
                    target.table.optimizer().name()
                )
            });
            return reader.skip_floats(head);
        }
        let (time, num) = match report.order {
            FieldOrder::NumFirst => (head.pair.1, head.pair.0),
            FieldOrder::TimeFirst | FieldOrder::Assumed => head.pair,
        };
        let is_swapped = num > SMALLEST_TIME && report.order != FieldOrder::Assumed;
        if !(0..=MAX_TIME).contains(&time) || !(0..=MAX_NUM).contains(&num) || is_swapped {
            report.refuse(Refusal::BadTime, || {
                format!("{}: its update_time is {time} and its update_num {num}", place())
            });
            return reader.skip_floats(head);
        }
        let (time, num) = (time as u64, num as u64);
        if time < self.cutoff {
            report.refuse(Refusal::Expired, || {
                format!(
                    "{}: its update_time is {time}; rows that were last updated before {} have expired",
                    place(),
                    self.cutoff
                )
            });
            return reader.skip_floats(head);
        }
        let start = target.batch.floats.len();
        reader.read_floats(head, &mut target.batch.floats)?;
        let row = target.batch.floats.get(start..).unwrap_or_default();
        if let Some(index) = row.iter().position(|float| !float.is_finite()) {
            report.refuse(Refusal::NotFinite, || {
                format!("{}: its float {index} is {}", place(), row.get(index).unwrap_or(&f32::NAN))
            });
            target.batch.floats.truncate(start);
            return Ok(());
        }
        target.add(time, num, head.key, start + row_len)?;
        report.imported += 1;
        report.without_state += u64::from(is_bare);
        self.waiting_bytes += row_bytes(row_len);
        if target.bytes() >= self.batch_bytes {
            self.waiting_bytes -= target.bytes();
            target.put(self.core)?;
        } else if self.waiting_bytes >= BATCHES * self.batch_bytes {
            self.put_all()?;
        }
        Ok(())
    }

    fn put_all(&mut self) -> Result<()> {
        self.waiting_bytes = 0;
        self.targets.values_mut().flatten().try_for_each(|target| target.put(self.core))
    }
}

/// The group of a record, if there is one.
fn target<'a>(
    targets: &'a mut HashMap<u16, Option<Target>>,
    core: &Core,
    group: i32,
) -> Result<Option<&'a mut Target>> {
    let Ok(group) = u16::try_from(group) else { return Ok(None) };
    let target = match targets.entry(group) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => {
            let known = core.groups.lock().get(&group).map(Arc::clone);
            let opened = known.map(|group| Table::open_as_before(core, group)).transpose()?;
            entry.insert(opened.map(|table| Target { table, batch: ImportBatch::default() }))
        }
    };
    Ok(target.as_mut())
}

impl Target {
    /// Adds a row whose floats are there; the state is filled up with zeros.
    fn add(&mut self, time: u64, num: u64, key: i64, floats_len: usize) -> Result<()> {
        let batch = &mut self.batch;
        reserve(&mut batch.keys, 1)?;
        reserve(&mut batch.update_times, 1)?;
        reserve(&mut batch.update_nums, 1)?;
        let missing = floats_len.saturating_sub(batch.floats.len());
        reserve(&mut batch.floats, missing)?;
        batch.keys.push(key);
        batch.update_times.push(time);
        batch.update_nums.push(num);
        batch.floats.resize(floats_len, 0.0);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.batch.keys.len() * row_bytes(self.table.row_len())
    }

    fn put(&mut self, core: &Core) -> Result<()> {
        if !self.batch.keys.is_empty() {
            // Its memory goes, too: there may be thousands of groups, one after the other.
            self.table.import(core, &std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }
}

fn row_bytes(row_len: usize) -> usize {
    4 * row_len + 32
}

impl Core {
    fn unknown(&self, head: &Head) -> String {
        match u16::try_from(head.key_group).map(|group| self.find_group(group)) {
            Ok(Err(error)) => error.message().to_owned(),
            _ => format!("group {} is not from 0 to 65535", head.key_group),
        }
    }
}
