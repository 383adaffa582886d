//! `damo_pin`: copies of rows that the caller changes, and commits.

use std::ffi::c_char;

use super::{arguments, guard};
use crate::embedding::{Conflicts, Pin};
use crate::error::{Error, damo_status};
use crate::locks::Mutex;

/// Rows that damo_rows_pin has copied for the caller to change. damo_pin_commit brings them back.
///
/// For one thread at a time. Keeps its embedding's storage open.
pub struct damo_pin {
    pub(super) inner: Mutex<Pin>,
}

/// Frees a pin. Rows that were not committed stay as they are in the storage. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_pin_free(pin: *mut damo_pin) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(pin) }
}

/// Changes the pinned rows in the storage as the caller has changed them. The pin is then without
/// rows: what damo_rows_pin wrote to rows is of no use any more.
///
/// - conflicts: what becomes of a row that another call has changed since it was pinned. NULL is
///   "add". A row that has the same floats again counts as not changed.
///
/// ```text
///     add       each float gets what the caller has added to it: now + (committed - pinned). So no
///               change is lost, whoever made it. A row that was deleted begins again with its
///               first floats, to which the changes are added
///     refuse    BUSY: pin the rows again
/// ```
///
/// A row that nobody else has changed becomes what the caller has made of it, bit for bit. A key
/// without a row gets one. The padding key and keys that the filter does not admit are left out.
/// Each row counts an update (update_num) and gets the present time, whether it was changed or not.
/// The group's global step stays.
///
/// All rows change together or not at all, and survive what those of damo_embedding_apply_gradients
/// survive. Commits of up to 256 keys go on side by side with other calls on the group. Three kinds
/// have the group alone for a moment: larger ones, those of rows that have left memory since, and
/// those with durability "power".
///
/// Errors, after which nothing has changed, and the rows are still pinned (for IO see "Input and
/// output errors" above):
/// - INVALID_ARGUMENT: a NULL handle; a pin without rows; an unknown word; a row with a float that
///   is NaN or infinite, or negative where the optimizer's state has a sum or mean of squares.
/// - BUSY: a row was changed, and conflicts is "refuse" (the message names its key); another thread
///   is using the pin.
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_pin_commit(
    pin: *mut damo_pin,
    conflicts: *const c_char,
) -> damo_status {
    guard::status("damo_pin_commit", || {
        // SAFETY: the contract of `arguments`.
        let pin = unsafe { arguments::handle(pin.cast_const(), "pin") }?;
        let conflicts = match conflicts.is_null() {
            true => Conflicts::Add,
            // SAFETY: as above.
            false => conflicts_of(unsafe { arguments::text(conflicts, "conflicts") }?)?,
        };
        pin.inner.try_lock().ok_or_else(in_use)?.commit(conflicts)
    })
}

fn conflicts_of(word: &str) -> Result<Conflicts, Error> {
    match word {
        "add" => Ok(Conflicts::Add),
        "refuse" => Ok(Conflicts::Refuse),
        _ => Err(Error::invalid(format!(
            "conflicts is '{word}'; 'add' or 'refuse', or NULL for 'add', is needed"
        ))),
    }
}

/// Why a pin is not waited for: in a forked child the thread that has it may not exist.
pub(super) fn in_use() -> Error {
    Error::busy("another thread is using the pin; make one pin for each thread")
}
