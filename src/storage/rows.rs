//! Rows: every row of one moment, each with its weights, state, update time and update count.

use super::Storage;
use super::dump::select::Select;
use super::scan::{Page, RowPart, Scan};
use crate::engine::rows::Record;
use crate::error::Result;

/// The rows of one moment, one after the other.
pub struct Rows {
    scan: Scan,
    page: Page,
    next: usize,
    /// The dim of the page's group.
    dim: usize,
    storage: Storage,
}

impl Storage {
    /// Every row of a group, or of all groups, as of now, in the order of group and key. Later
    /// changes are not seen. Calls go on meanwhile; the space of what they delete is not freed
    /// before the last of these iterators is dropped.
    ///
    /// # Errors
    /// `NOT_FOUND` for a group that is not registered; `IO`.
    pub fn rows(&self, group: Option<u16>) -> Result<Rows> {
        self.check_process()?;
        self.check_group(group)?;
        let scan = self.scan(group, RowPart::Everything, |_, _, cut| Ok(Select::all(cut)))?;
        Ok(Rows { scan, page: Page::default(), next: 0, dim: 0, storage: self.clone() })
    }
}

impl Rows {
    /// The next row; None at the end.
    ///
    /// # Errors
    /// `IO`, `CORRUPTION` naming the row, `OUT_OF_MEMORY`; every later call returns the same error.
    pub fn next_row(&mut self) -> Result<Option<Record>> {
        self.storage.check_process()?;
        if self.next == self.page.keys.len() {
            let Some(page) = self.scan.next()? else { return Ok(None) };
            // The dim of the scan's moment: a checkpoint loaded since may have another group of
            // this number.
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
