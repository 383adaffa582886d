//! What a storage that is open with `read_only` refuses, apart from changes.

use crate::error::Error;

/// The refusal of a checkpoint when another process has the storage open without a journal.
pub(super) fn parts_of_calls() -> Error {
    Error::busy(
        "the storage is open elsewhere with durability 'checkpoint', so its files may have parts \
         of calls; make \
         the checkpoint there, or open the storage here once it is closed there",
    )
}
