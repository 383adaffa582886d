//! The report of a salvage.

use serde::Serialize;

use crate::error::Result;
use crate::files::regular::check_no_shortage;

/// What was saved, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Salvaged {
    /// Rows in the new storage.
    pub rows: u64,
    /// Groups in the new storage.
    pub groups: u64,
    /// SST files that were read, whole or in part.
    pub files_read: u64,
    /// SST files of which nothing could be read.
    pub files_lost: u64,
    /// Damaged blocks of the files that were read.
    pub blocks_lost: u64,
    /// Versions of rows in files and blocks that could not be read, as far as their number is
    /// known.
    pub entries_lost: u64,
    /// Rows that were read, but whose group is not known, or that do not fit their group.
    pub rows_refused: u64,
    /// Rows that may be older versions, since the latest may have been in a part that is lost.
    pub rows_in_doubt: u64,
    /// Deletions that cannot be put in order with other changes any more. Their rows were kept.
    pub deletions_in_doubt: u64,
    /// Calls of the journal that were replayed.
    pub calls_applied: u64,
    /// Calls of the journal that were read and not replayed, since earlier ones are lost or their
    /// group is not known.
    pub calls_left_out: u64,
    /// Steps of single rows that were left out of replayed calls: the rows' last states may be
    /// lost.
    pub steps_left_out: u64,
    /// What could not be read, each item with its file.
    pub damage: Vec<String>,
}

impl Salvaged {
    /// Whether nothing was lost, as far as can be told.
    pub fn is_whole(&self) -> bool {
        let lost = [
            self.files_lost,
            self.blocks_lost,
            self.rows_refused,
            self.rows_in_doubt,
            self.deletions_in_doubt,
            self.calls_left_out,
            self.steps_left_out,
        ];
        self.damage.is_empty() && lost.iter().all(|count| *count == 0)
    }

    /// Notes what could not be read.
    ///
    /// # Errors
    /// As [`check_no_shortage`]: a shortage tells nothing about the file.
    pub(super) fn tell(&mut self, what: String) -> Result<()> {
        check_no_shortage(&what)?;
        self.damage.push(what);
        Ok(())
    }
}
