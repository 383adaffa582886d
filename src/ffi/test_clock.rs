//! `damo_test_set_clock`: another time, so that tests of expiry need not wait.

use super::{arguments, damo_storage, guard};
use crate::error::{Error, damo_status};

/// Sets the clock of this storage, by which rows are stamped and expire, to test expiry.
///
/// - time_ms: milliseconds since 1970, at most 2^48 - 1. The clock stands still until the next call
///   of this function. 0 gives the storage the system's clock again.
///
/// A storage's time never goes back: after a time was used, an earlier one counts as that time.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a time that is negative or above 2^48 - 1.
/// - FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_test_set_clock(
    storage: *const damo_storage,
    time_ms: i64,
) -> damo_status {
    guard::status("damo_test_set_clock", || {
        // SAFETY: the contract of `arguments`.
        let storage = unsafe { arguments::handle(storage, "storage") }?;
        let time_ms = u64::try_from(time_ms).map_err(|_| {
            Error::invalid(format!("time_ms is {time_ms}; a number >= 0 is needed"))
        })?;
        storage.inner.set_clock_for_test(time_ms)
    })
}
