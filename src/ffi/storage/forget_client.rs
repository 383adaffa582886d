//! `damo_storage_forget_client`: a caller that numbers its calls begins anew.

use super::damo_storage;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Forgets a client of damo_embedding_apply_gradients_once and damo_step_apply_gradients_once, in
/// all groups. Its next call counts as its first one, whatever its number.
///
/// - client: the number that it has given itself. No call of it may be under way.
/// - forgotten: becomes whether a group knew the client. May be NULL.
///
/// It survives what any call survives that changes rows: see the option durability.
///
/// Errors, after which nothing has changed:
/// - INVALID_ARGUMENT: a NULL handle.
/// - NOT_SUPPORTED: the storage is open with read_only.
/// - POISONED, OUT_OF_MEMORY, IO, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_forget_client(
    storage: *const damo_storage,
    client: u64,
    forgotten: *mut bool,
) -> damo_status {
    guard::status("damo_storage_forget_client", || {
        // SAFETY: the contract of `arguments`.
        let (storage, forgotten) = unsafe {
            (
                arguments::handle(storage, "storage")?,
                arguments::optional_out_bool(forgotten, "forgotten")?,
            )
        };
        let known = storage.inner.forget_client(client)?;
        arguments::give(forgotten, u8::from(known));
        Ok(())
    })
}
