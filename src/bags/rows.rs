//! Where bags get the rows of their entries from.

use crate::error::Result;
use crate::kernels::{Rows, check_positions};

/// Rows by entry. Two entries may have one row.
pub trait EntryRows {
    /// How many entries have a row.
    fn count(&self) -> usize;
    /// The floats of a row.
    fn dim(&self) -> usize;
    /// The row of an entry, `dim` floats.
    fn row(&self, entry: usize) -> &[f32];
    /// Fetches the row of an entry, which need not exist.
    fn prefetch(&self, _entry: usize) {}
}

/// A row an entry.
impl EntryRows for Rows<'_> {
    fn count(&self) -> usize {
        Rows::count(self)
    }

    fn dim(&self) -> usize {
        Rows::dim(self)
    }

    #[inline(always)]
    fn row(&self, entry: usize) -> &[f32] {
        Rows::row(self, entry)
    }
}

/// A row a distinct key, with the position of each entry's key.
#[derive(Clone, Copy)]
pub struct Positioned<'a> {
    rows: Rows<'a>,
    positions: &'a [u32],
}

impl<'a> Positioned<'a> {
    /// The rows at `positions`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a position that is no row's.
    pub fn new(rows: Rows<'a>, positions: &'a [u32]) -> Result<Positioned<'a>> {
        check_positions(positions, rows.count(), "rows")?;
        Ok(Positioned { rows, positions })
    }
}

impl EntryRows for Positioned<'_> {
    fn count(&self) -> usize {
        self.positions.len()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    #[inline(always)]
    fn row(&self, entry: usize) -> &[f32] {
        self.rows.row(self.positions[entry] as usize)
    }

    #[inline(always)]
    fn prefetch(&self, entry: usize) {
        if let Some(position) = self.positions.get(entry) {
            self.rows.prefetch(*position as usize);
        }
    }
}
