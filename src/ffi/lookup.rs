//! `damo_lookup`: a lookup that has been begun.

use super::guard;
use crate::embedding::Lookup;
use crate::locks::Mutex;

/// A lookup that damo_embedding_begin_lookup has begun and damo_embedding_finish_lookup finishes.
///
/// Keeps nothing open: it can be freed before or after its embedding.
pub struct damo_lookup {
    pub(super) inner: Mutex<Lookup>,
}

/// Frees a lookup, finished or not. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_lookup_free(lookup: *mut damo_lookup) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(lookup) }
}
