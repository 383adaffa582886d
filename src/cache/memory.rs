//! The memory of a chunk of rows: headers and floats in one allocation.
//!
//! It begins at a cache line, and at a huge page when it is that large: without huge pages each
//! random row of a large table costs a page-table walk.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;

use super::slot::Slot;
use crate::error::{Error, Result};

/// The size of a huge page on x86-64 and most aarch64 systems.
pub(super) const HUGE_PAGE: usize = 2 << 20;
const LINE: usize = 64;

/// `rows` headers followed by `floats` floats, all zero at first. Clones are the same memory, which
/// is freed with the last of them.
#[derive(Clone)]
pub(super) struct Memory {
    start: NonNull<u8>,
    rows: usize,
    floats: usize,
    _allocation: Arc<Allocation>,
}

/// What is freed at the end.
struct Allocation {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: an Allocation owns its memory as a Vec would, and does nothing but to free it.
unsafe impl Send for Allocation {}
// SAFETY: as above.
unsafe impl Sync for Allocation {}
// SAFETY: a Memory keeps its allocation. It hands out slots, whose fields are atomics, and
// pointers.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Allocates zeroed memory.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn new(rows: usize, floats: usize) -> Result<Memory> {
        let bytes = rows
            .saturating_mul(size_of::<Slot>())
            .saturating_add(floats.saturating_mul(size_of::<f32>()));
        // Whole huge pages are mapped directly: an allocator would write the zeros, and into small
        // pages.
        let (size, align) = if is_huge(bytes) {
            (bytes.next_multiple_of(HUGE_PAGE), HUGE_PAGE)
        } else {
            (bytes, LINE)
        };
        let layout = Layout::from_size_align(size.max(1), align).map_err(|_| refused(bytes))?;
        let start = if is_huge(bytes) {
            huge_pages(size)
        } else {
            // SAFETY: the layout's size is not zero.
            NonNull::new(unsafe { alloc_zeroed(layout) })
        };
        let start = start.ok_or_else(|| refused(bytes))?;
        let _allocation = Arc::new(Allocation { start, layout });
        Ok(Memory { start, rows, floats, _allocation })
    }

    #[inline(always)]
    pub(super) fn slots(&self) -> &[Slot] {
        // SAFETY: the allocation holds `rows` slots from its start, aligned to a cache line; zeros
        // are a valid Slot, and whatever was written since is one too.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.rows) }
    }

    /// Where the floats from number `first` on begin.
    #[inline(always)]
    pub(super) fn floats_from(&self, first: usize) -> NonNull<f32> {
        assert!(first <= self.floats);
        // SAFETY: the allocation is as large as all slots and floats, and begins at `start`.
        unsafe { self.start.add(self.rows * size_of::<Slot>()).cast().add(first) }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if self.layout.align() == HUGE_PAGE {
            // SAFETY: mapped with this size in `huge_pages`, and nothing borrows it any more. Slots
            // own nothing.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.layout.size()) };
        } else {
            // SAFETY: allocated with this very layout in `new`; as above.
            unsafe { dealloc(self.start.as_ptr(), self.layout) }
        }
    }
}

fn is_huge(bytes: usize) -> bool {
    cfg!(target_os = "linux") && bytes.next_multiple_of(HUGE_PAGE) - bytes <= bytes / 16
}

/// Maps zeroed memory that begins at a huge page; `size` is a multiple of a huge page.
fn huge_pages(size: usize) -> Option<NonNull<u8>> {
    let mapped = size.checked_add(HUGE_PAGE)?;
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping of anonymous memory wherever the system likes; it touches no memory of
    // ours.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), mapped, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return None;
    }
    let address = address.cast::<u8>();
    let before = address.align_offset(HUGE_PAGE);
    if before > HUGE_PAGE {
        return None;
    }
    // SAFETY: the mapping is one huge page larger than `size`, so what is unmapped before and
    // behind lies within it.
    unsafe {
        let start = address.add(before);
        if before > 0 {
            libc::munmap(address.cast(), before);
        }
        if before < HUGE_PAGE {
            libc::munmap(start.add(size).cast(), HUGE_PAGE - before);
        }
        #[cfg(target_os = "linux")]
        // Advice: it fails where the system has no huge pages, which does no harm.
        libc::madvise(start.cast(), size, libc::MADV_HUGEPAGE);
        NonNull::new(start)
    }
}

/// Asks for huge pages where values will lie, before anything is written there. Where the system
/// has none, this does nothing.
pub(super) fn advise_huge<T>(room: &mut Vec<T>) {
    let bytes = room.spare_capacity_mut();
    let (start, end) = (bytes.as_ptr_range().start as usize, bytes.as_ptr_range().end as usize);
    let start = start.next_multiple_of(HUGE_PAGE);
    if start + HUGE_PAGE > end {
        return;
    }
    #[cfg(target_os = "linux")]
    // SAFETY: advice about memory that the vector owns; what lies there stays as it is.
    unsafe {
        libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE);
    }
}

fn refused(bytes: usize) -> Error {
    Error::out_of_memory(format!("{bytes} bytes of memory for rows cannot be had"))
}
