//! The classic and the counted format of a dump, which existing online-serving readers parse: dims
//! and row counts of groups, then rows with their group. A classic header has a place for each
//! group up to its width; a counted header lists only the dumped groups. docs/formats.md has the
//! bytes.

use std::path::Path;

use super::group_list::list_groups;
use super::output::SectionOutput;
use super::values::{Float32, Values};
use super::writer::{Summary, check_lengths};
use crate::error::{Error, Result};
use crate::limits::{MAX_DIM, MAX_GROUPS, is_dim};
use crate::memory::filled;

/// Bytes of a row before its weights.
const ROW_HEAD: usize = 12;

/// The groups of a header.
#[derive(Clone, Copy)]
enum ClassicHeader {
    /// Classic: this many groups, from group 0 on.
    Groups(usize),
    /// Counted: the dumped groups, after their number.
    Counted,
}

/// Writes a classic or counted dump. Dropped before `finish` it leaves no file.
pub struct ClassicWriter {
    output: SectionOutput,
    /// The groups of a counted header, ascending.
    counted: Option<Vec<u16>>,
    /// By place in the header; 0 for places that are not used.
    dims: Vec<i32>,
    counts: Vec<u64>,
    summary: Summary,
    broken: Option<Error>,
}

impl ClassicWriter {
    /// Begins a classic dump; `header_groups` is the header's width, 256 for most readers.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for groups beyond the header's width (naming them), a group given twice,
    /// a dim or `header_groups` out of range, a path that cannot be a file's; `BUSY` when the file
    /// is being written already; `IO`, `OUT_OF_MEMORY`.
    pub fn create(
        path: &Path,
        header_groups: usize,
        groups: &[(u16, usize)],
    ) -> Result<ClassicWriter> {
        Self::with_header(path, ClassicHeader::Groups(header_groups), groups)
    }

    /// Begins a counted dump.
    ///
    /// # Errors
    /// As `create`.
    pub fn create_counted(path: &Path, groups: &[(u16, usize)]) -> Result<ClassicWriter> {
        Self::with_header(path, ClassicHeader::Counted, groups)
    }

    fn with_header(
        path: &Path,
        header: ClassicHeader,
        groups: &[(u16, usize)],
    ) -> Result<ClassicWriter> {
        let (counted, places, head_bytes) = match header {
            ClassicHeader::Groups(width) => {
                check_width(width, groups)?;
                (None, width, 12 * width)
            }
            ClassicHeader::Counted => {
                let mut listed: Vec<u16> = groups.iter().map(|(group, _)| *group).collect();
                listed.sort_unstable();
                (Some(listed), groups.len(), 4 + 16 * groups.len())
            }
        };
        let longest = groups.iter().map(|(_, dim)| ROW_HEAD + 4 * dim).max().unwrap_or(0);
        let (dims, counts) = (filled(0_i32, places)?, filled(0_u64, places)?);
        let output = SectionOutput::create(path, head_bytes, longest)?;
        let mut writer = ClassicWriter {
            output,
            counted,
            dims,
            counts,
            summary: Summary::default(),
            broken: None,
        };
        for (group, dim) in groups {
            if !is_dim(*dim) {
                return Err(Error::invalid(format!(
                    "dim is {dim} for group {group}; 1 to {MAX_DIM} is needed"
                )));
            }
            let place = writer.place(*group);
            match place.and_then(|place| writer.dims.get_mut(place)) {
                Some(place) if *place == 0 => *place = *dim as i32,
                _ => return Err(Error::invalid(format!("group {group} is given twice"))),
            }
        }
        Ok(writer)
    }

    /// A group's place in the header.
    fn place(&self, group: u16) -> Option<usize> {
        match &self.counted {
            Some(listed) => listed.binary_search(&group).ok(),
            None => Some(usize::from(group)),
        }
    }

    /// Adds rows of one group, dim weights a key, in any order.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a group that was not announced and for lengths that do not fit:
    /// nothing is added. `IO`, after which every further call fails.
    pub fn add_rows(&mut self, group: u16, keys: &[i64], weights: &[f32]) -> Result<()> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let place = self.place(group).unwrap_or(usize::MAX);
        let dim = self.dims.get(place).map_or(0, |dim| *dim as usize);
        if dim == 0 {
            return Err(Error::invalid(format!(
                "group is {group}; this file was begun without it"
            )));
        }
        check_lengths(group, dim, keys, weights)?;
        let result = self.write_rows(group, place, dim, keys, weights);
        self.broken = result.as_ref().err().cloned();
        result
    }

    /// The number of bytes of the file so far.
    pub fn bytes_written(&self) -> u64 {
        self.output.position()
    }

    /// Writes the header, ends the file and gives it its name; when this returns the file is on
    /// disk.
    ///
    /// # Errors
    /// `IO`; no new file is there, and a file that had the name before is unchanged.
    pub fn finish(mut self) -> Result<Summary> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let mut head = Vec::new();
        if let Some(listed) = &self.counted {
            head.extend((listed.len() as i32).to_le_bytes());
            head.extend(listed.iter().flat_map(|group| i32::from(*group).to_le_bytes()));
        }
        head.extend(self.dims.iter().flat_map(|dim| dim.to_le_bytes()));
        head.extend(self.counts.iter().flat_map(|count| count.to_le_bytes()));
        self.summary.bytes = self.output.position();
        self.output.finish(|_| head)?;
        Ok(self.summary)
    }

    fn write_rows(
        &mut self,
        group: u16,
        place: usize,
        dim: usize,
        keys: &[i64],
        weights: &[f32],
    ) -> Result<()> {
        let stride = ROW_HEAD + 4 * dim;
        let group_bytes = i32::from(group).to_le_bytes();
        let mut rows = keys.iter().zip(weights.chunks_exact(dim));
        while rows.len() > 0 {
            let room = self.output.room(stride)?;
            let len = rows.len().min(room.len() / stride);
            for (bytes, (key, weights)) in
                room.chunks_exact_mut(stride).zip(rows.by_ref().take(len))
            {
                let (head, values) = bytes.split_at_mut(ROW_HEAD);
                let (key_place, group_place) = head.split_at_mut(8);
                key_place.copy_from_slice(&key.to_le_bytes());
                group_place.copy_from_slice(&group_bytes);
                Float32::encode(weights, values);
            }
            self.output.advance(len * stride);
        }
        self.summary.rows += keys.len() as u64;
        self.counts[place] += keys.len() as u64;
        Ok(())
    }
}

/// Whether a classic header of this width has a place for all groups.
fn check_width(width: usize, groups: &[(u16, usize)]) -> Result<()> {
    if !(1..=MAX_GROUPS).contains(&width) {
        return Err(Error::invalid(format!(
            "header_groups is {width}; 1 to {MAX_GROUPS} is needed (readers know 128, 256 and 1024)"
        )));
    }
    let above: Vec<u16> = groups
        .iter()
        .map(|(group, _)| *group)
        .filter(|group| usize::from(*group) >= width)
        .collect();
    match above.iter().max() {
        None => Ok(()),
        Some(highest) => Err(Error::invalid(format!(
            "header_groups is {width}, and the classic format then has no place for {}; a \
             header_groups above {highest} or one of the formats 'counted' and 'table' is needed",
            list_groups(above.iter().copied())
        ))),
    }
}
