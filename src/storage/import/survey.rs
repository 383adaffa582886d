//! The first reading of a file: checks that it is whole, and finds out where its fields are.

use std::cmp::Ordering;
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::dump::Dump;
use super::options::ImportOptions;
use super::record::{REPORT_EVERY, SMALLEST_TIME, go_on};
use super::report::{FieldOrder, Format, Imported, Layout};
use crate::error::{Error, Result, Status};

/// Reads the file through, and returns a report that knows its format and counts no rows yet.
///
/// # Errors
/// `CORRUPTION` for a file that is not whole, or whose fields cannot be located; those of opening
/// and reading a file; `CANCELLED`, `EXITING`.
pub(super) fn survey(
    path: &Path,
    options: &ImportOptions,
    progress: &mut impl FnMut(u64, u64) -> bool,
) -> Result<Imported> {
    match options.format {
        Some(Format::Checkpoint(_)) => survey_checkpoint(path, progress),
        Some(format) => survey_dump(Dump::open(path, format, options.header_groups)?, progress),
        None if Checkpoint::is_one(path)? => match survey_checkpoint(path, progress) {
            // The dims of a classic header can look like the length of a checkpoint's first key.
            Err(error) if error.status() == Status::Corruption => {
                let dump = Dump::find(path, options.header_groups)?.ok_or(error)?;
                survey_dump(dump, progress)
            }
            surveyed => surveyed,
        },
        None => match Dump::find(path, options.header_groups)? {
            Some(dump) => survey_dump(dump, progress),
            // The error of this says what a checkpoint would need.
            None => survey_checkpoint(path, progress),
        },
    }
}

/// Reads all rows but their floats.
fn survey_dump(mut file: Dump, progress: &mut impl FnMut(u64, u64) -> bool) -> Result<Imported> {
    while let Some(record) = file.next()? {
        file.bytes().skip(4 * record.floats)?;
        if record.index % REPORT_EVERY == 0 {
            go_on(progress(file.bytes().at(), 2 * file.bytes().len()), 0)?;
        }
    }
    Ok(Imported::new(file.format(), FieldOrder::Absent, file.count()))
}

/// Reads a checkpoint through. The majority of the records that show it decides where the fields
/// are.
fn survey_checkpoint(path: &Path, progress: &mut impl FnMut(u64, u64) -> bool) -> Result<Imported> {
    let mut file = Checkpoint::open(path)?;
    let (mut time_first, mut num_first) = (0_u64, 0_u64);
    let (mut short, mut long) = (0_u64, 0_u64);
    while let Some((record, dims)) = file.survey_next()? {
        match (record.pair.0 > SMALLEST_TIME, record.pair.1 > SMALLEST_TIME) {
            (true, false) => time_first += 1,
            (false, true) => num_first += 1,
            _ => {}
        }
        short += u64::from(dims.suits(Layout::Short));
        long += u64::from(dims.suits(Layout::Long));
        if record.index % REPORT_EVERY == 0 {
            go_on(progress(file.bytes().at(), 2 * file.bytes().len()), 0)?;
        }
    }
    let undecided = |what: String| {
        Err(Error::corruption(format!(
            "path '{}': {what}; which is right cannot be told",
            path.display()
        )))
    };
    let order = match time_first.cmp(&num_first) {
        Ordering::Greater => FieldOrder::TimeFirst,
        Ordering::Less => FieldOrder::NumFirst,
        Ordering::Equal if time_first == 0 => FieldOrder::Assumed,
        Ordering::Equal => {
            return undecided(format!(
                "{time_first} of its records have update_time before update_num, and as many have \
                 it after"
            ));
        }
    };
    let layout = match long.cmp(&short) {
        Ordering::Greater => Layout::Long,
        Ordering::Less => Layout::Short,
        Ordering::Equal if short == 0 => Layout::Short,
        Ordering::Equal => {
            return undecided(format!(
                "{short} of its records have a dim after 28 bytes of the value, and as many after \
                 36"
            ));
        }
    };
    Ok(Imported::new(Format::Checkpoint(layout), order, file.count()))
}
