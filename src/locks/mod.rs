//! The locks that all of damo uses: parking_lot's.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A lock that is never traced: for threads whose thread-local variables are gone, among them the
/// list of locks that a thread holds. Nothing may be locked while it is held.
pub(crate) type UntracedMutex<T> = parking_lot::Mutex<T>;
