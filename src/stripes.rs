//! Values that every call writes, several times over: each thread has one of the stripes. So
//! threads do not take a cache line from each other at every call.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::locks::{RwLock, RwLockReadGuard, RwLockWriteGuard};

const STRIPES: usize = 32;

/// A value on cache lines of its own.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(crate) struct Apart<T>(pub(crate) T);

/// A value a stripe.
#[derive(Debug, Default)]
pub(crate) struct Striped<T>([Apart<T>; STRIPES]);

impl<T> Striped<T> {
    /// The value of the present thread, which others may have, too.
    #[inline]
    pub(crate) fn own(&self) -> &T {
        &self.0[stripe()].0
    }

    /// The values of all stripes.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|value| &value.0)
    }
}

impl Striped<AtomicUsize> {
    /// Zeros.
    pub(crate) const fn new() -> Striped<AtomicUsize> {
        Striped([const { Apart(AtomicUsize::new(0)) }; STRIPES])
    }
}

/// A lock that calls take for reading all the time, and something rare for writing.
#[derive(Default)]
pub(crate) struct CallLock(Striped<RwLock<()>>);

impl CallLock {
    /// Keeps writers out.
    #[inline]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, ()> {
        self.0.own().read()
    }

    /// Keeps everybody out.
    pub(crate) fn write(&self) -> Vec<RwLockWriteGuard<'_, ()>> {
        self.0.all().map(RwLock::write).collect()
    }
}

/// The stripe of the present thread.
#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    STRIPE.try_with(|stripe| *stripe).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    #[test]
    fn a_writer_is_alone() {
        let (lock, readers) = (CallLock::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let _read = lock.read();
                        readers.fetch_add(1, Ordering::SeqCst);
                        readers.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
            for _ in 0..200 {
                let _write = lock.write();
                assert_eq!(readers.load(Ordering::SeqCst), 0);
            }
        });
    }
}
