//! The locks that all of damo uses: parking_lot's.
//!
//! With the feature `lock-order` they are those of `traced`, which notice when two locks are taken
//! in both orders, long before two threads wait for each other. `scripts/sanitize locks` builds the
//! tests with it. Nothing that is shipped has it.

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

/// A lock that is never traced: for threads whose thread-local variables are gone, among them the
/// list of locks that a thread holds. Nothing may be locked while it is held.
pub(crate) type UntracedMutex<T> = parking_lot::Mutex<T>;

/// Begins to report cycles, if locks are traced. Every storage and filter begins with it.
#[cfg(not(feature = "lock-order"))]
#[inline(always)]
pub(crate) fn report_cycles() {}
