//! Prefetches: hints to the processor that memory will be needed. A batch knows its rows long
//! before it uses them. Knows nothing of what the memory holds.
#![allow(unsafe_code)]

use std::ptr::NonNull;

/// The floats of a cache line.
const FLOATS_A_LINE: usize = 16;
const LINE_BYTES: usize = 64;

/// Fetches the cache line that holds a value.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    prefetch_at(std::ptr::from_ref(value));
}

/// Fetches `lines` cache lines from the one at a pointer on. It may lead anywhere.
#[inline(always)]
pub(crate) fn prefetch_lines(floats: NonNull<f32>, lines: usize) {
    (0..lines).for_each(|line| prefetch_at(floats.as_ptr().wrapping_add(FLOATS_A_LINE * line)));
}

/// Fetches the cache line at an address, which may be any.
#[inline(always)]
fn prefetch_at<T>(address: *const T) {
    let address = address.cast::<i8>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program can see and never faults, whatever the
    // address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; `prfm` has no operand but the address and changes neither memory nor flags.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{0}]",
            in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Fetches the first cache lines of a row; the processor's own prefetcher follows.
#[inline(always)]
pub(crate) fn prefetch_floats(floats: &[f32], lines: usize) {
    floats.chunks(FLOATS_A_LINE).take(lines).for_each(|line| prefetch(&line[0]));
}

/// As [`prefetch_floats`], for bytes that may begin and end anywhere in a line.
#[inline(always)]
pub(crate) fn prefetch_bytes(bytes: &[u8], lines: usize) {
    bytes.iter().step_by(LINE_BYTES).take(lines).for_each(prefetch);
    if bytes.len() < lines * LINE_BYTES
        && let Some(last) = bytes.last()
    {
        prefetch(last);
    }
}
