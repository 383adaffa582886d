//! The number of this process, without a system call.
//!
//! It is kept in a page that the system empties in a child, however the child was forked
//! (MADV_WIPEONFORK). A system call at each call of damo was a third of a lookup of one key.

#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number, or 0 where it is not known yet. None where the system cannot empty pages.
static KEPT: OnceLock<Option<&'static AtomicU32>> = OnceLock::new();

/// As [`std::process::id`].
#[inline]
pub fn id() -> u32 {
    let Some(kept) = KEPT.get_or_init(map) else { return std::process::id() };
    match kept.load(Ordering::Relaxed) {
        0 => {
            let id = std::process::id();
            kept.store(id, Ordering::Relaxed);
            id
        }
        id => id,
    }
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
    // SAFETY: the mapping above.
    if unsafe { libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) } != 0 {
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
