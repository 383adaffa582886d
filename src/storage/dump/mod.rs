//! Dump: the weights of one moment in a file for serving, whole or as an increment to an earlier
//! dump.
//!
//! A scan reads the rows in order, never one by one. The room `table` knows what the files look
//! like.

pub(super) mod bases;
pub(super) mod select;

use std::path::Path;
use std::sync::Arc;

use super::Storage;
use super::scan::{Page, RowPart, Scan};
use crate::engine::Engine;
use crate::engine::cut::Cut;
use crate::engine::expiry::DAY_MS;
use crate::error::{Error, Result, Status};
use crate::params::{FloatRange, Params};
use crate::seqno::Seqno;
use crate::table::{ClassicWriter, Options, ValueType, Writer};
use bases::{Base, Bases};
use select::Select;

/// What is dumped, and how.
#[derive(Clone, Copy, Debug)]
pub struct DumpOptions {
    /// Rows that were not updated for so many days are left out; 0 leaves out none.
    pub expire_days: f64,
    /// Rows with fewer updates are left out.
    pub min_count: u64,
    /// One group, or all.
    pub group: Option<u16>,
    /// The format of the file.
    pub format: DumpFormat,
}

/// The format of a dump's file; docs/formats.md has the bytes.
#[derive(Clone, Copy, Debug)]
pub enum DumpFormat {
    /// Dims, counts and rows, behind a header of fixed width.
    Classic {
        /// The number of groups that the header has place for.
        header_groups: usize,
    },
    /// As classic, but the header begins with the number of groups.
    Counted,
    /// A table to serve from, or an increment to one.
    Table {
        /// How weights are stored.
        value_type: ValueType,
        /// The number of the dump that an increment continues; None for a whole table.
        since: Option<u64>,
    },
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    /// Rows in the file.
    pub rows: u64,
    /// Keys that an increment lists as gone.
    pub removed: u64,
    /// The length of the file.
    pub bytes: u64,
    /// The sequence number of the dump's last call: `since` of the next increment.
    pub number: u64,
    /// Weights that were too large for the value type, and became its largest value.
    pub saturated: u64,
}

const VALUE_TYPES: [(&str, ValueType); 3] =
    [("float32", ValueType::Float32), ("float16", ValueType::Float16), ("int8", ValueType::Int8)];

impl DumpOptions {
    /// # Errors
    /// An unknown name, a value that is not accepted, or options that do not go together.
    pub fn read(params: &Params) -> Result<DumpOptions> {
        let mut reader = params.reader("condition");
        let expire_days = reader.float(&["expire_days"], 0.0, FloatRange::NOT_NEGATIVE)?;
        let min_count = reader.int("min_count", 0, 0, i64::MAX)? as u64;
        let group = reader.int_if_set("group", 0, i64::from(u16::MAX))?.map(|group| group as u16);
        let format = reader.choice("format", 0, &["classic", "table", "counted"])?;
        let header_groups = reader.int_if_set("header_groups", 1, 65_536)?;
        let words = VALUE_TYPES.map(|(word, _)| word);
        let has_value_type = params.get("value_type").is_some();
        let value_type = VALUE_TYPES[reader.choice("value_type", 0, &words)?].1;
        let since = reader.int_if_set("since", 0, i64::MAX)?.map(|since| since as u64);
        reader.finish()?;
        let only = |name: &str, format: &str| {
            Err(Error::invalid(format!(
                "condition: {name} is for the format '{format}' only; leave it out"
            )))
        };
        let format = match (format, header_groups) {
            (1 | 2, Some(_)) => return only("header_groups", "classic"),
            (1, None) => DumpFormat::Table { value_type, since },
            _ if has_value_type => return only("value_type", "table"),
            _ if since.is_some() => return only("since", "table"),
            (2, None) => DumpFormat::Counted,
            (_, width) => DumpFormat::Classic { header_groups: width.unwrap_or(256) as usize },
        };
        Ok(DumpOptions { expire_days, min_count, group, format })
    }

    fn select(&self, engine: &Engine, bases: &Bases, cut: Cut) -> Result<Select> {
        let oldest = cut.time as f64 + 1.0 - self.expire_days * DAY_MS as f64;
        let cutoff = if self.expire_days > 0.0 { oldest.max(0.0) as u64 } else { 0 };
        let since = match self.format {
            DumpFormat::Table { since: Some(since), .. } => {
                let since = Seqno::new(since);
                let base = bases.find(since, self.group, self.min_count)?;
                engine.check_not_cleared_since(since, self.group)?;
                Some(base)
            }
            _ => None,
        };
        Ok(Select { cutoff: cutoff.max(cut.cutoff), min_count: self.min_count, since })
    }
}

impl Storage {
    /// Writes the weights of this moment to `path`. A file there is replaced once all is written.
    /// Calls go on meanwhile. `progress` is called from time to time with the rows written so far
    /// and an estimate of all; it ends the dump by returning false.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for groups that the classic header has no place for (naming them) and for
    /// a path that cannot be a file's; `NOT_FOUND` for a group that is not registered, when there
    /// is no dump that an increment could follow, and when a group was cleared since; `CANCELLED`;
    /// `IO`, `OUT_OF_MEMORY`, `CORRUPTION`, `POISONED`. After an error `path` is as it was.
    pub fn dump(
        &self,
        path: impl AsRef<Path>,
        options: DumpOptions,
        mut progress: impl FnMut(u64, u64) -> bool,
    ) -> Result<Dumped> {
        let path = path.as_ref();
        let estimate = self.call(|engine| {
            self.check_group(options.group)?;
            engine.rocks()?.estimated_rows()
        })?;
        let is_table = matches!(options.format, DumpFormat::Table { .. });
        // Taken before the dump's moment, so that a row that goes right after it leaves a
        // tombstone. Held to the end: once this dump is remembered, its base may be forgotten, and
        // merging would drop tombstones that the scan has not read yet.
        let _tombstones = is_table.then(|| self.engine().expiry.hold_tombstones());
        let bases = Arc::clone(&self.handle.bases);
        let mut scan = self.scan(options.group, RowPart::Weights, move |engine, rocks, cut| {
            let select = options.select(engine, &bases, cut)?;
            // A storage that is open with `read_only` remembers nothing.
            if is_table && !engine.is_read_only() {
                let (seqno, time, cutoff) = (cut.seqno, cut.time, select.cutoff);
                let (group, min_count) = (options.group, select.min_count);
                let (later_time, later_cutoff) = (time, cutoff);
                let base = Base { seqno, time, later_time, cutoff, later_cutoff, group, min_count };
                bases.remember(rocks, &engine.expiry, base)?;
            }
            Ok(select)
        })?;
        let number = scan.cut().seqno.get();
        let groups = scan.groups();
        match options.format {
            DumpFormat::Classic { .. } | DumpFormat::Counted => {
                let mut writer = match options.format {
                    DumpFormat::Classic { header_groups } => {
                        ClassicWriter::create(path, header_groups, groups)?
                    }
                    _ => ClassicWriter::create_counted(path, groups)?,
                };
                copy(&mut scan, estimate, &mut progress, |page| {
                    writer.add_rows(page.group, &page.keys, &page.floats)
                })?;
                let summary = writer.finish()?;
                Ok(Dumped { rows: summary.rows, bytes: summary.bytes, number, ..Dumped::default() })
            }
            DumpFormat::Table { value_type, since } => {
                let mut writer =
                    Writer::create(path, &Options { value_type, number, since, groups })?;
                copy(&mut scan, estimate, &mut progress, |page| add(&mut writer, page))?;
                let summary = writer.finish()?;
                let crate::table::Summary { rows, removed, bytes, saturated } = summary;
                Ok(Dumped { rows, removed, bytes, number, saturated })
            }
        }
    }
}

/// Hands every page to `take`.
fn copy(
    scan: &mut Scan,
    estimate: u64,
    progress: &mut impl FnMut(u64, u64) -> bool,
    mut take: impl FnMut(&Page) -> Result<()>,
) -> Result<()> {
    let mut rows = 0;
    while let Some(page) = scan.next()? {
        take(&page)?;
        rows += page.keys.len() as u64;
        if !progress(rows, estimate.max(rows)) {
            return Err(Error::new(
                Status::Cancelled,
                format!("progress returned false after {rows} rows"),
            ));
        }
        scan.give_back(page);
    }
    Ok(())
}

/// Adds a page's rows and its keys that are gone, in the order of keys.
fn add(writer: &mut Writer, page: &Page) -> Result<()> {
    if page.headers.len() == page.keys.len() {
        return writer.add_rows(page.group, &page.keys, &page.floats);
    }
    let dim = page.floats.len().checked_div(page.headers.len()).unwrap_or(0);
    let (mut start, mut floats) = (0, page.floats.as_slice());
    for run in page.removed.chunk_by(|a, b| a == b) {
        let keys = &page.keys[start..start + run.len()];
        start += run.len();
        if run[0] {
            writer.remove_keys(page.group, keys)?;
        } else {
            let (these, rest) = floats.split_at(keys.len() * dim);
            floats = rest;
            writer.add_rows(page.group, keys, these)?;
        }
    }
    Ok(())
}
