//! A dump of the earlier implementation, classic or counted: weights by group and key. The groups,
//! dims and rows in the header must add up to the end of the file, to the byte.

use std::collections::HashMap;
use std::path::Path;

use super::bytes::Bytes;
use super::record::FileRecord;
use super::report::Format;
use crate::error::{Error, Result};
use crate::limits::{MAX_DIM, MAX_GROUPS};

/// The widths that classic headers of the releases have, the likeliest first.
const WIDTHS: [usize; 3] = [256, 1024, 128];
/// Bytes of a row's key and group.
const ROW_HEAD: u64 = 12;

pub(super) struct Dump {
    bytes: Bytes,
    format: Format,
    /// The dim of each group.
    dims: HashMap<i32, u64>,
    count: u64,
    next: u64,
}

/// Group, dim and rows.
type Entry = (i32, u64, u64);

impl Dump {
    /// # Errors
    /// `CORRUPTION` when the header does not add up; `NOT_FOUND`, `INVALID_ARGUMENT`, `IO`.
    pub(super) fn open(path: &Path, format: Format, header_groups: Option<usize>) -> Result<Dump> {
        let found = match format {
            Format::Counted => Self::counted(path)?,
            _ => Self::classic(path, header_groups)?,
        };
        found.ok_or_else(|| {
            let needed = match (format, header_groups) {
                (Format::Counted, _) => {
                    "its number of groups, groups, dims and rows of each".to_owned()
                }
                (_, Some(width)) => format!("the dims and rows of {width} groups"),
                (_, None) => {
                    format!(
                        "the dims and rows of {} groups",
                        WIDTHS.map(|w| w.to_string()).join(", ")
                    )
                }
            };
            let what =
                format!("it must begin with {needed}, which add up to its length, and they do not");
            Bytes::open(path)
                .map_or_else(|error| error, |bytes| bytes.damaged(format.name(), &what))
        })
    }

    /// Opens the file as a dump of either format; None if it is neither.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID_ARGUMENT`, `IO`.
    pub(super) fn find(path: &Path, header_groups: Option<usize>) -> Result<Option<Dump>> {
        match Self::counted(path)? {
            Some(dump) => Ok(Some(dump)),
            None => Self::classic(path, header_groups),
        }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn bytes(&mut self) -> &mut Bytes {
        &mut self.bytes
    }

    /// The next row. The caller must read or skip its floats before the next call.
    ///
    /// # Errors
    /// `CORRUPTION` for a row of a group that is not in the header; `IO`.
    pub(super) fn next(&mut self) -> Result<Option<FileRecord>> {
        if self.bytes.left() == 0 {
            return Ok(None);
        }
        if self.next == self.count || self.bytes.left() < ROW_HEAD {
            return Err(self.strange("the header tells of fewer rows"));
        }
        let (key, group) = (self.bytes.read_i64()?, self.bytes.read_i32()?);
        let Some(&dim) = self.dims.get(&group) else {
            return Err(
                self.strange(&format!("it is of group {group}, which the header does not have"))
            );
        };
        if self.bytes.left() < 4 * dim {
            return Err(self.strange("the file ends in the midst of it"));
        }
        let index = self.next;
        self.next += 1;
        Ok(Some(FileRecord {
            index,
            group,
            key,
            value_group: group,
            value_key: key,
            pair: (0, 0),
            dim: dim as i32,
            floats: dim,
        }))
    }

    fn counted(path: &Path) -> Result<Option<Dump>> {
        let mut bytes = Bytes::open(path)?;
        if bytes.len() < 4 {
            return Ok(None);
        }
        let count = bytes.read_i32()?;
        let Ok(count) = usize::try_from(count) else { return Ok(None) };
        if count > MAX_GROUPS || bytes.left() < 16 * count as u64 {
            return Ok(None);
        }
        let groups: Vec<i32> = (0..count).map(|_| bytes.read_i32()).collect::<Result<_>>()?;
        let entries = Self::entries(&mut bytes, groups)?;
        Ok(Self::new(bytes, Format::Counted, &entries))
    }

    fn classic(path: &Path, header_groups: Option<usize>) -> Result<Option<Dump>> {
        let widths = header_groups.map_or(WIDTHS.to_vec(), |width| vec![width]);
        for width in widths {
            let mut bytes = Bytes::open(path)?;
            if bytes.len() < 12 * width as u64 {
                continue;
            }
            let groups = (0..width as i32).collect();
            let mut entries = Self::entries(&mut bytes, groups)?;
            entries.retain(|(_, dim, rows)| (*dim, *rows) != (0, 0));
            if let Some(dump) = Self::new(bytes, Format::Classic, &entries) {
                return Ok(Some(dump));
            }
        }
        Ok(None)
    }

    /// Reads the dims and rows of groups. A negative dim becomes one that no group can have.
    fn entries(bytes: &mut Bytes, groups: Vec<i32>) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::with_capacity(groups.len());
        for group in groups {
            entries.push((group, u64::try_from(bytes.read_i32()?).unwrap_or(u64::MAX), 0));
        }
        for entry in &mut entries {
            entry.2 = bytes.read_u64()?;
        }
        Ok(entries)
    }

    /// None unless the header adds up.
    fn new(bytes: Bytes, format: Format, entries: &[Entry]) -> Option<Dump> {
        let mut dims = HashMap::with_capacity(entries.len());
        let (mut expected, mut count) = (bytes.at(), 0_u64);
        for &(group, dim, rows) in entries {
            let is_dim = (1..=MAX_DIM as u64).contains(&dim);
            let is_group = u16::try_from(group).is_ok();
            if !is_dim || !is_group || dims.insert(group, dim).is_some() {
                return None;
            }
            expected = rows.checked_mul(ROW_HEAD + 4 * dim)?.checked_add(expected)?;
            count = count.checked_add(rows)?;
        }
        (expected == bytes.len()).then_some(Dump { bytes, format, dims, count, next: 0 })
    }

    fn strange(&self, what: &str) -> Error {
        let what = format!("row {} (from 0; byte {}): {what}", self.next, self.bytes.at());
        self.bytes.damaged(self.format.name(), &what)
    }
}
