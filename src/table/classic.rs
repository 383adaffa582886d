//! The classic format of a dump, which online-serving readers parse already: dims and counts of all groups there can be, then
//! rows with their group. docs/formats.md has the bytes.

use std::path::Path;

use super::format::MAX_DIM;
use super::output::Output;
use super::values::{Float32, Values};
use super::writer::Summary;
use crate::error::{Error, Result};
use crate::memory::filled;

/// Groups that a storage can have.
const MAX_GROUPS: usize = 1 << 16;
/// Bytes of a row before its weights.
const ROW_HEAD: usize = 12;

/// A classic dump on its way. Dropped before `finish` it leaves nothing.
pub struct ClassicWriter {
    output: Output,
    /// By group; 0 for those that are not used.
    dims: Vec<i32>,
    counts: Vec<u64>,
    summary: Summary,
    broken: Option<Error>,
}

impl ClassicWriter {
    /// `header_groups` is the header's width, 256 for most readers.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for groups that the header has no place for (naming them), a group given twice, a dim or
    /// `header_groups` out of range, a path that cannot be a file's; `BUSY` when the file is being written already; `IO`,
    /// `OUT_OF_MEMORY`.
    pub fn create(path: &Path, header_groups: usize, groups: &[(u16, usize)]) -> Result<ClassicWriter> {
        if !(1..=MAX_GROUPS).contains(&header_groups) {
            return Err(Error::invalid(format!(
                "header_groups is {header_groups}; 1 to {MAX_GROUPS} is needed (readers know 128, 256 and 1024)"
            )));
        }
        let above: Vec<u16> = groups
            .iter()
            .map(|(group, _)| *group)
            .filter(|group| usize::from(*group) >= header_groups)
            .collect();
        if let Some(highest) = above.iter().max() {
            return Err(Error::invalid(format!(
                "header_groups is {header_groups}, and the classic format then has no place for {}; a header_groups \
                 above {highest} or the format 'table' is needed",
                super::list_groups(above.iter().copied())
            )));
        }
        let (mut dims, counts) = (filled(0_i32, header_groups)?, filled(0_u64, header_groups)?);
        for (group, dim) in groups {
            if !(1..=MAX_DIM).contains(dim) {
                return Err(Error::invalid(format!(
                    "dim is {dim} for group {group}; 1 to {MAX_DIM} is needed"
                )));
            }
            match dims.get_mut(usize::from(*group)) {
                Some(place) if *place == 0 => *place = *dim as i32,
                _ => return Err(Error::invalid(format!("group {group} is given twice"))),
            }
        }
        let longest = groups.iter().map(|(_, dim)| ROW_HEAD + 4 * dim).max().unwrap_or(0);
        let output = Output::create(path, header_groups * (4 + 8), longest)?;
        Ok(ClassicWriter { output, dims, counts, summary: Summary::default(), broken: None })
    }

    /// Adds rows of one group, dim weights a key, in any order.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a group that was not announced and lengths that do not fit, and nothing is added; `IO`,
    /// after which every further call fails.
    pub fn add_rows(&mut self, group: u16, keys: &[i64], weights: &[f32]) -> Result<()> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let dim = self.dims.get(usize::from(group)).map_or(0, |dim| *dim as usize);
        if dim == 0 {
            return Err(Error::invalid(format!("group is {group}; this file was begun without it")));
        }
        if keys.len().checked_mul(dim) != Some(weights.len()) {
            return Err(Error::invalid(format!(
                "there are {} weights and {} keys of group {group}; dim {dim} weights a key are needed",
                weights.len(),
                keys.len()
            )));
        }
        let result = self.write_rows(group, dim, keys, weights);
        self.broken = result.as_ref().err().cloned();
        result
    }

    /// Bytes of the file so far.
    pub fn bytes_written(&self) -> u64 {
        self.output.position()
    }

    /// Writes the counts, ends the file and gives it its name; it is on disk for good then.
    ///
    /// # Errors
    /// `IO`; the file is then not there, and one that was under its name is as it was.
    pub fn finish(mut self) -> Result<Summary> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let dims = self.dims.iter().flat_map(|dim| dim.to_le_bytes());
        let head: Vec<u8> = dims.chain(self.counts.iter().flat_map(|count| count.to_le_bytes())).collect();
        self.summary.bytes = self.output.position();
        self.output.finish(|_| head)?;
        Ok(self.summary)
    }

    fn write_rows(&mut self, group: u16, dim: usize, keys: &[i64], weights: &[f32]) -> Result<()> {
        let stride = ROW_HEAD + 4 * dim;
        let group_bytes = i32::from(group).to_le_bytes();
        let mut rows = keys.iter().zip(weights.chunks_exact(dim));
        while rows.len() > 0 {
            let room = self.output.room(stride)?;
            let len = rows.len().min(room.len() / stride);
            for (bytes, (key, weights)) in room.chunks_exact_mut(stride).zip(rows.by_ref().take(len)) {
                let (head, values) = bytes.split_at_mut(ROW_HEAD);
                let (key_place, group_place) = head.split_at_mut(8);
                key_place.copy_from_slice(&key.to_le_bytes());
                group_place.copy_from_slice(&group_bytes);
                Float32::encode(weights, values);
            }
            self.output.advance(len * stride);
        }
        self.summary.rows += keys.len() as u64;
        if let Some(count) = self.counts.get_mut(usize::from(group)) {
            *count += keys.len() as u64;
        }
        Ok(())
    }
}
