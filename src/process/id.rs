//! The number of this process, without a system call.
//!
//! It is kept in a page that the system empties in a child, however the child was forked
//! (MADV_WIPEONFORK). A system call at each call of damo was a third of a lookup of one key.

#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Has the number, or 0 where it is not known yet. NULL before the first question. No lock: in a
/// forked child its holder might not exist.
static KEPT: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// In place of the page where the system cannot empty pages. It stays 0.
static UNKNOWN: AtomicU32 = AtomicU32::new(0);

/// As [`std::process::id`].
#[inline]
pub fn id() -> u32 {
    // SAFETY: NULL, or what `ask` has stored, which stays for good.
    match unsafe { KEPT.load(Ordering::Acquire).as_ref() }.map(|kept| kept.load(Ordering::Relaxed))
    {
        None | Some(0) => ask(),
        Some(id) => id,
    }
}

#[cold]
fn ask() -> u32 {
    let id = std::process::id();
    if KEPT.load(Ordering::Acquire).is_null() {
        let page = map().unwrap_or(&UNKNOWN);
        // Of two threads that map at once, one leaves its page unused.
        let _ = KEPT.compare_exchange(
            ptr::null_mut(),
            ptr::from_ref(page).cast_mut(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }
    // SAFETY: as in `id`.
    if let Some(kept) = unsafe { KEPT.load(Ordering::Acquire).as_ref() }
        && !ptr::eq(kept, &UNKNOWN)
    {
        kept.store(id, Ordering::Relaxed);
    }
    id
}

/// Maps the page, for good.
#[cfg(target_os = "linux")]
fn map() -> Option<&'static AtomicU32> {
    const PAGE: usize = 4096;
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping of anonymous memory wherever the system likes; it touches no memory of
    // ours.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // An emulator may accept any advice and do nothing. It then accepts one that does not exist.
    const NO_ADVICE: libc::c_int = -1;
    // SAFETY: the mapping above.
    let is_emptied = unsafe {
        libc::madvise(page, PAGE, NO_ADVICE) != 0
            && libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) == 0
    };
    if !is_emptied {
        // SAFETY: as above, and nobody has the address.
        unsafe { libc::munmap(page, PAGE) };
        return None;
    }
    // SAFETY: zeros are a valid value, aligned to a page, and the mapping stays.
    Some(unsafe { &*page.cast::<AtomicU32>() })
}

#[cfg(not(target_os = "linux"))]
fn map() -> Option<&'static AtomicU32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_has_a_number_of_its_own() {
        for _ in 0..2 {
            assert_eq!(id(), std::process::id());
        }
        // SAFETY: the child calls nothing that needs a lock of another thread, and ends at once.
        unsafe {
            match libc::fork() {
                0 => libc::_exit(i32::from(id() != std::process::id())),
                child => {
                    let mut status = -1;
                    assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                    assert_eq!(status, 0);
                }
            }
        }
    }
}
