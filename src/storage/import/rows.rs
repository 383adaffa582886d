//! The second reading of a file: checks which records fit, and brings them in, in batches.

use std::collections::HashMap;
use std::sync::Arc;

use super::record::{FileRecord, REPORT_EVERY, SMALLEST_TIME, go_on};
use super::report::{FieldOrder, Imported, Refusal};
use super::source::ImportFile;
use crate::engine::Engine;
use crate::engine::rows::{ImportBatch, OpenGroup};
use crate::error::Result;
use crate::memory::reserve;

/// The largest update_time and update_num of a row, stored or in memory.
const MAX_TIME: i64 = (1 << 48) - 1;
const MAX_NUM: i64 = (1 << 56) - 1;
/// The bytes of a group's batch: this part of the cache, within these limits.
const CACHE_PART: usize = 8;
const MIN_BATCH_BYTES: usize = 1 << 20;
const MAX_BATCH_BYTES: usize = 8 << 20;
/// The batches of all groups together hold so many times as much.
const BATCHES: usize = 4;

/// A group of the file that the storage has, and its rows that wait to come in.
struct Target {
    table: OpenGroup,
    batch: ImportBatch,
    /// Rows of the batch without state in the file.
    without_state: u64,
}

pub(super) struct Import<'a> {
    engine: &'a Engine,
    /// This group only.
    only: Option<u16>,
    /// By group number; None for a group that is not registered.
    targets: HashMap<u16, Option<Target>>,
    now: u64,
    /// Rows last updated before this have expired.
    cutoff: u64,
    batch_bytes: usize,
    /// The bytes of all batches.
    waiting_bytes: usize,
}

impl<'a> Import<'a> {
    pub(super) fn new(engine: &'a Engine, only: Option<u16>) -> Import<'a> {
        let batch_bytes =
            (engine.options.cache_bytes / CACHE_PART).clamp(MIN_BATCH_BYTES, MAX_BATCH_BYTES);
        let (now, cutoff) = (engine.now_ms(), engine.moment().cutoff);
        Import { engine, only, targets: HashMap::new(), now, cutoff, batch_bytes, waiting_bytes: 0 }
    }

    pub(super) fn run(
        &mut self,
        source: &mut ImportFile,
        report: &mut Imported,
        progress: &mut impl FnMut(u64, u64) -> bool,
    ) -> Result<()> {
        while let Some(record) = source.next()? {
            self.take(source, &record, report)?;
            if record.index % REPORT_EVERY == 0 {
                let (at, len) = (source.bytes().at(), source.bytes().len());
                go_on(progress(len + at, 2 * len), report.imported)?;
            }
        }
        self.put_all(report)?;
        let len = source.bytes().len();
        go_on(progress(2 * len, 2 * len), report.imported)
    }

    /// Adds one record to the batch of its group, or refuses it.
    fn take(
        &mut self,
        source: &mut ImportFile,
        record: &FileRecord,
        report: &mut Imported,
    ) -> Result<()> {
        if self.only.is_some_and(|only| i32::from(only) != record.group) {
            report.leave_to_others(record.group);
            return source.bytes().skip(4 * record.floats);
        }
        let place =
            || format!("record {} (group {} key {})", record.index, record.group, record.key);
        let (time, num) = match self.judge(record, report.order)? {
            Ok(fields) => fields,
            Err((reason, what)) => {
                report.refuse(reason, || format!("{}: {what}", place()));
                return source.bytes().skip(4 * record.floats);
            }
        };
        let Some(target) = target(&mut self.targets, self.engine, record.group)? else {
            return source.bytes().skip(4 * record.floats);
        };
        let (start, row_len) = (target.batch.floats.len(), target.table.row_len());
        source.bytes().read_floats(record.floats, &mut target.batch.floats)?;
        let row = &target.batch.floats[start..];
        if let Some(index) = row.iter().position(|float| !float.is_finite()) {
            report.refuse(Refusal::NotFinite, || {
                format!("{}: its float {index} is {}", place(), row[index])
            });
            target.batch.floats.truncate(start);
            return Ok(());
        }
        if let Some(index) = target.negative_square(start) {
            report.refuse(Refusal::NegativeSquare, || {
                let float = target.batch.floats.get(start + index).unwrap_or(&0.0);
                format!(
                    "{}: its float {index} is {float}, and stands for a sum or mean of squares",
                    place()
                )
            });
            target.batch.floats.truncate(start);
            return Ok(());
        }
        target.add(time, num, record.key, start)?;
        target.without_state += u64::from(record.floats != row_len as u64);
        self.waiting_bytes += row_bytes(row_len);
        if target.bytes() >= self.batch_bytes {
            self.waiting_bytes -= target.bytes();
            target.put(self.engine, report)?;
        } else if self.waiting_bytes >= BATCHES * self.batch_bytes {
            self.put_all(report)?;
        }
        Ok(())
    }

    /// The record's update_time and update_num, or what is wrong with it.
    fn judge(
        &mut self,
        record: &FileRecord,
        order: FieldOrder,
    ) -> Result<std::result::Result<(u64, u64), (Refusal, String)>> {
        let refuse = |reason, what| Ok(Err((reason, what)));
        if (record.value_group, record.value_key) != (record.group, record.key) {
            let what =
                format!("its value is of group {} key {}", record.value_group, record.value_key);
            return refuse(Refusal::KeyMismatch, what);
        }
        let Some(target) = target(&mut self.targets, self.engine, record.group)? else {
            return refuse(Refusal::UnknownGroup, unknown(self.engine, record.group));
        };
        let (dim, row_len) = (target.table.dim(), target.table.row_len());
        if usize::try_from(record.dim).ok() != Some(dim) {
            return refuse(
                Refusal::WrongDim,
                format!("its dim is {}; the group has {dim}", record.dim),
            );
        }
        if record.floats != row_len as u64 && record.floats != dim as u64 {
            let what = format!(
                "it has {} floats; {row_len} (weights and the state of '{}') or {dim} (weights) \
                 are needed",
                record.floats,
                target.table.optimizer().name()
            );
            return refuse(Refusal::WrongLength, what);
        }
        let (time, num) = match order {
            FieldOrder::NumFirst => (record.pair.1, record.pair.0),
            FieldOrder::TimeFirst | FieldOrder::Assumed => record.pair,
            FieldOrder::Absent => return Ok(Ok((self.now, 0))),
        };
        let is_swapped = num > SMALLEST_TIME && order != FieldOrder::Assumed;
        if !(0..=MAX_TIME).contains(&time) || !(0..=MAX_NUM).contains(&num) || is_swapped {
            let what = format!("its update_time is {time} and its update_num {num}");
            return refuse(Refusal::BadTime, what);
        }
        let (time, num) = (time as u64, num as u64);
        if time < self.cutoff {
            let what = format!(
                "its update_time is {time}; rows that were last updated before {} have expired",
                self.cutoff
            );
            return refuse(Refusal::Expired, what);
        }
        Ok(Ok((time, num)))
    }

    fn put_all(&mut self, report: &mut Imported) -> Result<()> {
        self.waiting_bytes = 0;
        self.targets.values_mut().flatten().try_for_each(|target| target.put(self.engine, report))
    }
}

/// The target of a record's group; None if the group is not registered.
fn target<'a>(
    targets: &'a mut HashMap<u16, Option<Target>>,
    engine: &Engine,
    group: i32,
) -> Result<Option<&'a mut Target>> {
    let Ok(group) = u16::try_from(group) else { return Ok(None) };
    let target = match targets.entry(group) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => {
            let known = engine.groups.lock().get(&group).map(Arc::clone);
            let opened = known.map(|group| OpenGroup::open_as_before(engine, group)).transpose()?;
            let batch = ImportBatch::default();
            entry.insert(opened.map(|table| Target { table, batch, without_state: 0 }))
        }
    };
    Ok(target.as_mut())
}

impl Target {
    /// Adds a row whose floats are in the batch from `start` on. Weights without state get the
    /// optimizer's first state for them, as inserted ones do.
    fn add(&mut self, time: u64, num: u64, key: i64, start: usize) -> Result<()> {
        let (dim, row_len) = (self.table.dim(), self.table.row_len());
        let batch = &mut self.batch;
        reserve(&mut batch.keys, 1)?;
        reserve(&mut batch.update_times, 1)?;
        reserve(&mut batch.update_nums, 1)?;
        let missing = (start + row_len).saturating_sub(batch.floats.len());
        reserve(&mut batch.floats, missing)?;
        batch.keys.push(key);
        batch.update_times.push(time);
        batch.update_nums.push(num);
        if missing > 0 {
            batch.floats.resize(start + row_len, 0.0);
            let (weights, state) = batch.floats.split_at_mut(start + dim);
            self.table.optimizer().begin_at(&weights[start..], state);
        }
        Ok(())
    }

    /// Which float of the row that begins at `start` is a negative sum or mean of squares, if the
    /// row has state and such a float.
    fn negative_square(&self, start: usize) -> Option<usize> {
        let row = &self.batch.floats[start..];
        let mut squares = self.table.optimizer().squares(self.table.dim());
        squares.find(|index| row.get(*index).is_some_and(|float| *float < 0.0))
    }

    fn bytes(&self) -> usize {
        self.batch.keys.len() * row_bytes(self.table.row_len())
    }

    /// Brings in the rows of the batch, and counts them.
    fn put(&mut self, engine: &Engine, report: &mut Imported) -> Result<()> {
        if !self.batch.keys.is_empty() {
            // The batch's memory is freed, too: thousands of groups may come one after the other.
            let batch = std::mem::take(&mut self.batch);
            self.table.import(engine, &batch)?;
            report.imported += batch.keys.len() as u64;
            report.without_state += std::mem::take(&mut self.without_state);
        }
        Ok(())
    }
}

fn row_bytes(row_len: usize) -> usize {
    4 * row_len + 32
}

fn unknown(engine: &Engine, group: i32) -> String {
    match u16::try_from(group).map(|group| engine.find_group(group)) {
        Ok(Err(error)) => error.message().to_owned(),
        _ => format!("group {group} is not from 0 to 65535"),
    }
}
