//! A bug on demand, so that programs can test what they do about one.

use super::{arguments, damo_embedding, guard};
use crate::error::damo_status;

/// Fails on purpose, as a bug in damo would: for testing a program's own error handling.
///
/// Returns PANIC. Given an embedding, the panic happens while its group is being written, so that the group then
/// refuses writes, this call among them, with POISONED until its storage is opened anew; nothing stored is lost. NULL
/// only panics. In a forked child an embedding returns FORKED.
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
