//! Writes a table or an increment, row by row in key order. Rows go straight to the file; the index
//! needs little memory. The same rows give the same file, byte for byte, however they are passed.

use std::path::Path;

use super::format::{GroupEntry, MAX_ROWS, TableHeader, head_bytes, key_of, write_head};
use super::group_list::list_groups;
use super::index::IndexBuilder;
use super::output::SectionOutput;
use super::removed::Removed;
use super::values::{Float16, Float32, Int8, ValueType, Values};
use crate::error::{Error, Result, Status};
use crate::limits::{MAX_DIM, is_dim};
use crate::memory::room_for;

/// The parameters of a new file.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The type of the weights.
    pub value_type: ValueType,
    /// The number of the dump: the sequence number of its storage's last call. The next increment
    /// has it as its `since`.
    pub number: u64,
    /// For an increment: the `number` of the table or increment before it.
    pub since: Option<u64>,
    /// Every group with its dim; a group may have no rows.
    pub groups: &'a [(u16, usize)],
}

/// The counts of a finished file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of rows.
    pub rows: u64,
    /// The number of keys that an increment removes.
    pub removed: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Weights that were too large for the type and became its largest: 65504 of float16, 1.7e38 of
    /// int8.
    pub saturated: u64,
}

/// Writes a table or an increment. Dropped before `finish` it leaves no file.
pub struct Writer {
    output: SectionOutput,
    header: TableHeader,
    entries: Vec<GroupEntry>,
    /// The index of the entry that is being written; those before it are finished.
    current: usize,
    /// The last key of the current group.
    last: Option<i64>,
    index: IndexBuilder,
    removed: Removed,
    summary: Summary,
    broken: Option<Error>,
}

impl Writer {
    /// Begins a file.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a path that cannot be a file's, a group given twice, a dim out of
    /// range, a `since` above `number`; `BUSY` when the file is being written already; `IO`,
    /// `OUT_OF_MEMORY`.
    pub fn create(path: &Path, options: &Options<'_>) -> Result<Writer> {
        let Options { value_type, number, since, groups } = *options;
        if let Some(since) = since.filter(|since| *since > number) {
            return Err(Error::invalid(format!(
                "since is {since} and number is {number}; an increment's since is at most its \
                 number"
            )));
        }
        let mut entries: Vec<GroupEntry> = room_for(groups.len())?;
        entries.extend(groups.iter().map(|(group, dim)| new_entry(*group, *dim)));
        entries.sort_unstable_by_key(|entry| entry.group);
        for (entry, next) in entries.iter().zip(entries.iter().skip(1)) {
            if entry.group == next.group {
                return Err(Error::invalid(format!("group {} is given twice", entry.group)));
            }
        }
        if let Some(wrong) = entries.iter().find(|entry| !is_dim(entry.dim)) {
            return Err(Error::invalid(format!(
                "dim is {} for group {}; 1 to {MAX_DIM} is needed",
                wrong.dim, wrong.group
            )));
        }
        let longest = entries.iter().map(|entry| entry.stride(value_type)).max().unwrap_or(0);
        let output = SectionOutput::create(path, head_bytes(entries.len()), longest)?;
        let mut writer = Writer {
            output,
            header: TableHeader { value_type, number, since },
            entries,
            current: 0,
            last: None,
            index: IndexBuilder::default(),
            removed: Removed::default(),
            summary: Summary::default(),
            broken: None,
        };
        writer.begin_group();
        Ok(writer)
    }

    /// Adds rows of one group, dim weights a key. Groups ascend from call to call, and keys within
    /// a group, strictly.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for rows out of order, a group that was not announced and lengths that do
    /// not fit: nothing is added. `NOT_SUPPORTED` above 2^31 - 1 rows of a group; `IO`,
    /// `OUT_OF_MEMORY`, after which every further call fails.
    pub fn add_rows(&mut self, group: u16, keys: &[i64], weights: &[f32]) -> Result<()> {
        let dim = self.place_of(group)?.1;
        check_lengths(group, dim, keys, weights)?;
        self.check_order(group, keys.iter().copied())?;
        self.unless_broken(|writer| {
            writer.go_to(group)?;
            writer.count_rows(keys.len())?;
            match writer.header.value_type {
                ValueType::Float32 => writer.encode::<Float32>(dim, keys, weights)?,
                ValueType::Float16 => writer.encode::<Float16>(dim, keys, weights)?,
                ValueType::Int8 => writer.encode::<Int8>(dim, keys, weights)?,
            }
            writer.index_rows(keys.iter().copied())?;
            writer.last = keys.last().copied().or(writer.last);
            Ok(())
        })
    }

    /// Adds encoded rows, as they lie in another file of the same value type.
    pub(super) fn add_encoded(&mut self, group: u16, rows: &[u8]) -> Result<()> {
        let stride = 8 + self.header.value_type.bytes(self.place_of(group)?.1);
        let keys = || rows.chunks_exact(stride).map(key_of);
        self.check_order(group, keys())?;
        self.unless_broken(|writer| {
            writer.go_to(group)?;
            writer.count_rows(keys().len())?;
            writer.output.write(rows)?;
            writer.index_rows(keys())?;
            writer.last = keys().next_back().or(writer.last);
            Ok(())
        })
    }

    /// Adds keys whose rows the increment removes. Rows and removed keys together ascend strictly.
    ///
    /// # Errors
    /// As [`Writer::add_rows`]; `INVALID_ARGUMENT` in a table, which has nothing to remove from.
    pub fn remove_keys(&mut self, group: u16, keys: &[i64]) -> Result<()> {
        if self.header.since.is_none() {
            return Err(Error::invalid(format!(
                "{} keys of group {group} are removed from a table; only an increment (with \
                 'since') removes keys",
                keys.len()
            )));
        }
        self.place_of(group)?;
        self.check_order(group, keys.iter().copied())?;
        self.unless_broken(|writer| {
            writer.go_to(group)?;
            writer.removed.add(keys, writer.output.file())?;
            writer.last = keys.last().copied().or(writer.last);
            writer.summary.removed += keys.len() as u64;
            Ok(())
        })
    }

    /// The number of bytes of the file so far. It jumps when a group ends, since its index is
    /// written then.
    pub fn bytes_written(&self) -> u64 {
        self.output.position()
    }

    /// Ends the file and gives it its name; when this returns the file is on disk.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`; no new file is there, and a file that had the name before is
    /// unchanged.
    pub fn finish(mut self) -> Result<Summary> {
        self.unless_broken(|writer| {
            while writer.current < writer.entries.len() {
                writer.end_group()?;
            }
            Ok(())
        })?;
        self.summary.bytes = self.output.position();
        let (header, mut entries, bytes) = (self.header, self.entries, self.summary.bytes);
        self.output.finish(|sums| {
            for (entry, sums) in entries.iter_mut().zip(sums.as_chunks().0) {
                [entry.rows_crc, entry.more_crc] = *sums;
            }
            write_head(&header, &entries, bytes)
        })?;
        Ok(self.summary)
    }

    /// A group's index among the entries, and its dim.
    fn place_of(&self, group: u16) -> Result<(usize, usize)> {
        match self.entries.binary_search_by_key(&group, |entry| entry.group) {
            Ok(place) => Ok((place, self.entries[place].dim)),
            Err(_) => {
                let groups = list_groups(self.entries.iter().map(|entry| entry.group));
                Err(Error::invalid(format!("group is {group}; this file was begun with {groups}")))
            }
        }
    }

    fn check_order(&self, group: u16, mut keys: impl Iterator<Item = i64>) -> Result<()> {
        let (place, _) = self.place_of(group)?;
        if place < self.current {
            return Err(Error::invalid(format!(
                "group {group} comes after a later one; groups ascend"
            )));
        }
        let first = if place == self.current { self.last } else { None };
        let Some(mut last) = first.or_else(|| keys.next()) else { return Ok(()) };
        for key in keys {
            if key <= last {
                return Err(Error::invalid(format!(
                    "key {key} of group {group} comes after key {last}; keys ascend within a \
                     group, and none is given twice"
                )));
            }
            last = key;
        }
        Ok(())
    }

    /// Makes a call and remembers its error: the file of a call that failed half-way must not be
    /// finished.
    fn unless_broken(&mut self, call: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let result = call(self);
        self.broken = result.as_ref().err().cloned();
        result
    }

    fn go_to(&mut self, group: u16) -> Result<()> {
        while self.entries.get(self.current).is_some_and(|entry| entry.group < group) {
            self.end_group()?;
        }
        Ok(())
    }

    fn begin_group(&mut self) {
        self.last = None;
        let position = self.output.position();
        if let Some(entry) = self.entries.get_mut(self.current) {
            entry.rows_offset = position;
        }
    }

    fn end_group(&mut self) -> Result<()> {
        self.output.end_section()?;
        let more_offset = self.output.position();
        let (more, homes) = if self.header.since.is_some() {
            let more = self.removed.len();
            self.removed.write(&mut self.output)?;
            (more, 0)
        } else {
            self.index.finish(&mut self.output)?
        };
        self.output.end_section()?;
        let entry = &mut self.entries[self.current];
        *entry = GroupEntry { more_offset, more, homes, ..*entry };
        self.current += 1;
        self.begin_group();
        Ok(())
    }

    fn count_rows(&mut self, rows: usize) -> Result<()> {
        let entry = &mut self.entries[self.current];
        let sum = entry.rows + rows as u64;
        if sum > MAX_ROWS {
            return Err(Error::new(
                Status::NotSupported,
                format!(
                    "group {} has {sum} rows or more; a table holds {MAX_ROWS} of a group",
                    entry.group
                ),
            ));
        }
        entry.rows = sum;
        self.summary.rows += rows as u64;
        Ok(())
    }

    /// Indexes rows of a table; an increment has no index, since it is merged and not looked up in.
    fn index_rows(&mut self, keys: impl ExactSizeIterator<Item = i64>) -> Result<()> {
        if self.header.since.is_some() { Ok(()) } else { self.index.add(keys, self.output.file()) }
    }

    fn encode<V: Values>(&mut self, dim: usize, keys: &[i64], weights: &[f32]) -> Result<()> {
        let stride = 8 + self.header.value_type.bytes(dim);
        let mut rows = keys.iter().zip(weights.chunks_exact(dim));
        while rows.len() > 0 {
            let room = self.output.room(stride)?;
            let len = rows.len().min(room.len() / stride);
            for (bytes, (key, weights)) in
                room.chunks_exact_mut(stride).zip(rows.by_ref().take(len))
            {
                let (head, values) = bytes.split_at_mut(8);
                head.copy_from_slice(&key.to_le_bytes());
                self.summary.saturated += V::encode(weights, values);
            }
            self.output.advance(len * stride);
        }
        Ok(())
    }
}

/// # Errors
/// `INVALID_ARGUMENT` unless there are `dim` weights a key.
pub(super) fn check_lengths(group: u16, dim: usize, keys: &[i64], weights: &[f32]) -> Result<()> {
    if keys.len().checked_mul(dim) == Some(weights.len()) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "there are {} weights and {} keys of group {group}; dim {dim} weights a key are needed",
        weights.len(),
        keys.len()
    )))
}

fn new_entry(group: u16, dim: usize) -> GroupEntry {
    let (rows, rows_offset, rows_crc) = (0, 0, 0);
    GroupEntry {
        group,
        dim,
        rows,
        rows_offset,
        rows_crc,
        more_offset: 0,
        more_crc: 0,
        more: 0,
        homes: 0,
    }
}
