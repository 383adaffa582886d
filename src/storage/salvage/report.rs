//! What a salvage reports.

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
    /// Files of rows that were read, whole or not.
    pub files_read: u64,
    /// Files of rows of which nothing could be read.
    pub files_lost: u64,
    /// Damaged blocks of the other files.
    pub blocks_lost: u64,
    /// Versions of rows in files and blocks that could not be read, as far as that is on record.
    pub entries_lost: u64,
    /// Rows that were read, but whose group is not known, or which are not as that group's rows
    /// are.
    pub rows_refused: u64,
    /// Rows that may be older versions, since the latest may have been in a part that is lost.
    pub rows_in_doubt: u64,
    /// Deletions that cannot be put in order with other changes any more. Their rows were kept.
    pub deletions_in_doubt: u64,
    /// Calls of the journal that were made again.
    pub calls_applied: u64,
    /// Calls of the journal that were read and could not be made again, since earlier ones are
    /// lost.
    pub calls_left_out: u64,
    /// Single rows' steps that were left out of calls made again: the rows' last states may be
    /// lost.
    pub steps_left_out: u64,
    /// What could not be read, each with its file.
    pub damage: Vec<String>,
}

impl Salvaged {
    /// Nothing was lost, as far as can be told.
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
    /// As [`check_no_shortage`]: then nothing can be told of it.
    pub(super) fn tell(&mut self, what: String) -> Result<()> {
        check_no_shortage(&what)?;
        self.damage.push(what);
        Ok(())
    }
}
