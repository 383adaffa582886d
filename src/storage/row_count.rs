//! Row count: how many rows there are at one moment.

use std::collections::BTreeMap;

use super::Storage;
use super::dump::select::Select;
use super::scan::RowPart;
use crate::error::Result;

impl Storage {
    /// How many rows a group, or the whole storage, has now. Reads them all.
    ///
    /// # Errors
    /// As [`Storage::rows`] and [`Rows::next`].
    pub fn row_count(&self, group: Option<u16>) -> Result<u64> {
        Ok(self.count_rows(group)?.into_values().sum())
    }

    /// How many rows each group with rows has, all at the same moment. Reads all rows once.
    ///
    /// # Errors
    /// As [`Storage::row_count`].
    pub fn row_counts(&self) -> Result<BTreeMap<u16, u64>> {
        self.count_rows(None)
    }

    fn count_rows(&self, group: Option<u16>) -> Result<BTreeMap<u16, u64>> {
        self.check_process()?;
        self.check_group(group)?;
        let mut scan = self.scan(group, RowPart::Weights, |_, _, cut| Ok(Select::all(cut)))?;
        let mut counts = BTreeMap::new();
        while let Some(page) = scan.next()? {
            *counts.entry(page.group).or_default() += page.keys.len() as u64;
            scan.give_back(page);
        }
        Ok(counts)
    }
}
