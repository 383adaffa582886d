//! `damo_test`: a bug and another time on demand, for tests of programs that use damo.

use super::{arguments, damo_embedding, damo_storage, guard};
use crate::error::{Error, damo_status};

/// Fails on purpose, as a bug in damo would, to test a program's own error handling. Returns PANIC.
///
/// - embedding: the panic happens while its group is being written. The group then refuses writes,
///   this call among them, with POISONED until its storage is opened again. Nothing stored is lost.
///   NULL: the call only panics.
///
/// Errors:
/// - FORKED: in a forked child, with an embedding.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_test_panic(embedding: *const damo_embedding) -> damo_status {
    guard::status("damo_test_panic", || {
        // SAFETY: NULL or a live handle, as every function of this module requires.
        match unsafe { arguments::optional_handle(embedding, "embedding") }? {
            Some(embedding) => embedding.inner.panic_for_test(),
            None => crate::error::panic_for_test(),
        }
    })
}

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
