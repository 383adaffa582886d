//! A value that is replaced as a whole while others read it without a lock. Epochs keep an old
//! value in memory until nobody can still be reading it.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;

use crossbeam_epoch::{Atomic, Guard, Owned, unprotected};

/// How many epochs have to begin before what was replaced can be freed.
const EPOCHS: u32 = 3;

/// A value behind a pointer. Only the holder of a lock that belongs to it replaces it.
pub(super) struct Replaced<T: Send + Sync + 'static>(Atomic<T>);

impl<T: Send + Sync + 'static> Replaced<T> {
    pub(super) fn new(value: T) -> Replaced<T> {
        Replaced(Atomic::new(value))
    }

    /// The value, for a thread that holds no lock.
    #[inline(always)]
    pub(super) fn get<'g>(&self, guard: &'g Guard) -> &'g T {
        // SAFETY: the pointer is never null. The value that it leads to is freed only once every
        // guard that was there when it was replaced is gone, and `guard` was there before the load.
        unsafe { self.0.load(Ordering::Acquire, guard).deref() }
    }

    /// The value, for the holder of the lock.
    ///
    /// # Safety
    /// Nobody may call [`Replaced::replace`] while the reference is used.
    #[inline(always)]
    pub(super) unsafe fn get_locked(&self) -> &T {
        // SAFETY: the pointer is never null, and its value lives until it is replaced, which the
        // caller rules out.
        unsafe { self.0.load(Ordering::Relaxed, unprotected()).deref() }
    }

    /// Puts another value in place, and frees the old one once nobody reads it.
    pub(super) fn replace(&self, value: T) {
        let guard = crossbeam_epoch::pin();
        let old = self.0.swap(Owned::new(value), Ordering::AcqRel, &guard);
        // SAFETY: the swap has taken the only way to `old`; no guard made from now on leads there.
        unsafe { guard.defer_destroy(old) };
        guard.flush();
        drop(guard);
        // Epochs pass by themselves only while threads pin. These free the old value at once if
        // nobody reads it: it may be large.
        (0..EPOCHS).for_each(|_| crossbeam_epoch::pin().flush());
    }
}

impl<T: Send + Sync + 'static> Drop for Replaced<T> {
    fn drop(&mut self) {
        // SAFETY: `self` is borrowed for good, so nobody reads the value any more. It was put there
        // by `new` or `replace`.
        unsafe { drop(std::mem::replace(&mut self.0, Atomic::null()).into_owned()) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn a_reader_keeps_what_it_has_got() {
        let replaced = Replaced::new(vec![0u64; 64]);
        let marks: Vec<Arc<()>> = (0..200).map(|_| Arc::new(())).collect();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let guard = crossbeam_epoch::pin();
                        let value = replaced.get(&guard);
                        thread::yield_now();
                        assert!(value.iter().all(|number| *number == value[0]));
                    }
                });
            }
            (1..=200).for_each(|number| replaced.replace(vec![number; 64]));
        });
        // Readers of other tests may hold epochs back for a moment.
        let kept = Replaced::new(Arc::clone(&marks[0]));
        marks[1..].iter().for_each(|mark| kept.replace(Arc::clone(mark)));
        drop(kept);
        let freed = || marks.iter().filter(|mark| Arc::strong_count(mark) == 1).count();
        while freed() < marks.len() {
            thread::yield_now();
            crossbeam_epoch::pin().flush();
        }
    }
}
