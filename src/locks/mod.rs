//! The locks that all of damo uses: parking_lot's.
//!
//! The feature `lock-order` replaces them by those of `traced`, which notice when two locks are
//! taken in both orders, long before two threads wait for each other. `scripts/sanitize locks`
//! builds the tests with it; nothing that is shipped has it.

#[cfg(feature = "lock-order")]
mod traced;

#[cfg(not(feature = "lock-order"))]
pub(crate) use parking_lot::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
#[cfg(feature = "lock-order")]
pub(crate) use traced::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, report_cycles,
};

/// A lock that is never traced, for threads whose thread-local variables are gone: one of these is
/// the list of locks that a thread holds. Take no other lock while it is held.
pub(crate) type UntracedMutex<T> = parking_lot::Mutex<T>;

/// Begins to report cycles, if locks are traced. Opening a storage or filter calls it first.
#[cfg(not(feature = "lock-order"))]
#[inline(always)]
pub(crate) fn report_cycles() {}
