//! A position in a journal that is read: which defects are no damage there, and how errors name it.

use std::path::Path;

use crate::error::{Error, Result, Status};

/// Which defects of a segment are no damage.
#[derive(Clone, Copy)]
pub(super) struct Tolerance {
    /// It may end inside an entry.
    pub(super) is_last: bool,
    /// Any part may be missing.
    pub(super) machine_stopped: bool,
}

/// A position in a segment, for messages.
pub(super) struct Position<'a> {
    pub(super) path: &'a Path,
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) tolerance: Tolerance,
}

impl Position<'_> {
    /// The file ends here inside an entry, as a killed process leaves the last file.
    pub(super) fn torn<T>(&self, what: &str) -> Result<Option<T>> {
        if self.tolerance.is_last { Ok(None) } else { self.not_whole(what) }
    }

    /// The entry here is not whole, in a way that only a stopped machine causes.
    pub(super) fn not_whole<T>(&self, what: &str) -> Result<Option<T>> {
        if self.tolerance.machine_stopped { Ok(None) } else { Err(self.damaged(what)) }
    }

    /// Puts the position in front of an error of the receiver.
    pub(super) fn name(&self, error: Error) -> Error {
        error.within(&format!("the journal '{}' at byte {}", self.path.display(), self.at))
    }

    pub(super) fn of_later_release(&self, kind: u32) -> Error {
        self.name(Error::new(
            Status::NotSupported,
            format!(
                "has a record of kind {kind}, which a later release of damo wrote; open the \
                 storage with that release, and close it, first"
            ),
        ))
    }

    pub(super) fn damaged(&self, what: &str) -> Error {
        Error::damage(format_args!(
            "the journal '{}' is damaged at byte {}: {what}",
            self.path.display(),
            self.at
        ))
    }
}
