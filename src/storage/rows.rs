//! Iterate: every row of one moment with everything that is kept of it; and what only needs to look at them.

use std::collections::BTreeMap;

use super::Storage;
use super::dump::select::Select;
use super::scan::{Page, Scan, Wanted};
use crate::engine::rows::Record;
use crate::error::Result;
use crate::memory::check_headroom;

/// The rows of one moment, one after the other.
pub struct Rows {
    scan: Scan,
    page: Page,
    next: usize,
    /// Weights of a row of the page's group.
    dim: usize,
    storage: Storage,
}

/// What verification has found to be in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub rows: u64,
    pub groups: u64,
}

impl Storage {
    /// Every row of a group, or of all, as they are now, in order of group and key; what is changed later is not seen. Callers go
    /// on meanwhile, and what is deleted meanwhile takes space until the last of these is dropped.
    ///
    /// # Errors
    /// `NOT_FOUND` for a group that is not registered; `IO`.
    pub fn rows(&self, group: Option<u16>) -> Result<Rows> {
        self.check_process()?;
        self.check_group(group)?;
        let scan = self.scan(group, Wanted::Everything, |_, _, cut| Ok(Select::all(cut)))?;
        Ok(Rows { scan, page: Page::default(), next: 0, dim: 0, storage: self.clone() })
    }

    /// How many rows a group, or all of them, has now. Reads them all.
    ///
    /// # Errors
    /// As [`Storage::rows`] and [`Rows::next`].
    pub fn row_count(&self, group: Option<u16>) -> Result<u64> {
        Ok(self.count_rows(group)?.into_values().sum())
    }

    /// How many rows each group with rows has, all at one moment. Reads them all, once.
    ///
    /// # Errors
    /// As [`Storage::row_count`].
    pub fn row_counts(&self) -> Result<BTreeMap<u16, u64>> {
        self.count_rows(None)
    }

    fn count_rows(&self, group: Option<u16>) -> Result<BTreeMap<u16, u64>> {
        self.check_process()?;
        self.check_group(group)?;
        let mut scan = self.scan(group, Wanted::Weights, |_, _, cut| Ok(Select::all(cut)))?;
        let mut counts = BTreeMap::new();
        while let Some(page) = scan.next()? {
            *counts.entry(page.group).or_default() += page.keys.len() as u64;
            scan.give_back(page);
        }
        Ok(counts)
    }

    /// Reads everything on disk and says whether it is what was written: every checksum, and every row.
    ///
    /// # Errors
    /// `CORRUPTION` naming the file or the row; `IO`.
    pub fn verify(&self) -> Result<Verified> {
        let in_dir =
            |error| self.in_dir(error).within(&format!("data_dir '{}'", self.dir().display()));
        {
            let _call = self.begin_call()?;
            check_headroom(1).map_err(in_dir)?;
            self.engine().rocks().and_then(|rocks| rocks.verify_checksums()).map_err(in_dir)?;
            self.filters().verify().map_err(in_dir)?;
        }
        let rows = self.row_count(None).map_err(in_dir)?;
        Ok(Verified { rows, groups: self.groups().len() as u64 })
    }
}

impl Rows {
    /// The next row; None at the end.
    ///
    /// # Errors
    /// `IO`, `CORRUPTION` naming the row, `OUT_OF_MEMORY`; the same again ever after.
    pub fn next_row(&mut self) -> Result<Option<Record>> {
        self.storage.check_process()?;
        if self.next == self.page.keys.len() {
            let Some(page) = self.scan.next()? else { return Ok(None) };
            // As it was at the moment: the group may be another one by now.
            let dim = self
                .scan
                .groups()
                .iter()
                .find(|(group, _)| *group == page.group)
                .map(|(_, dim)| *dim);
            self.dim = dim.unwrap_or(0);
            (self.page, self.next) = (page, 0);
        }
        let (page, index) = (&self.page, self.next);
        self.next += 1;
        let row_len = page.floats.len() / page.keys.len();
        let header = page.headers[index];
        Ok(Some(Record {
            group: page.group,
            key: page.keys[index],
            update_time: header.update_time,
            update_num: header.update_num,
            dim: self.dim,
            data: page.floats[index * row_len..(index + 1) * row_len].to_vec(),
        }))
    }
}
