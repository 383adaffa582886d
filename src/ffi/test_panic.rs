//! `damo_test_panic`: a bug on demand, for tests of what a program does about one.

use super::{arguments, damo_embedding, guard};
use crate::error::damo_status;

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
