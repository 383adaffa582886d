//! A row that one thread holds: nobody else changes it until this is dropped.
#![allow(unsafe_code)]

use std::ops::Deref;
use std::ptr::NonNull;

use super::slot::{ABSENT, Slot};
use crate::seqno::Seqno;

/// A row's header and floats, with its latch.
pub(crate) struct Row<'a> {
    slot: &'a Slot,
    floats: NonNull<f32>,
    len: u32,
    has_changed: bool,
}

impl<'a> Row<'a> {
    /// Takes a row whose latch this thread has just taken.
    ///
    /// # Safety
    /// `floats` leads to `len` initialized floats, which stay in memory for `'a`. Everybody changes
    /// them with the latch of `slot` only, and reads them with it or with [`read_floats`].
    #[inline(always)]
    pub(super) unsafe fn latched(slot: &'a Slot, floats: NonNull<f32>, len: usize) -> Row<'a> {
        Row { slot, floats, len: len as u32, has_changed: false }
    }

    /// The row's floats: the weights, then the optimizer's state.
    #[inline(always)]
    pub(crate) fn floats(&self) -> &[f32] {
        // SAFETY: as `latched` says. Its latch is held, so nobody changes them.
        unsafe { std::slice::from_raw_parts(self.floats.as_ptr(), self.len as usize) }
    }

    #[inline(always)]
    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        self.begin_change();
        // SAFETY: as `latched` says. Its latch is held, so nobody else uses them, and `self` is
        // borrowed for as long as they are.
        unsafe { std::slice::from_raw_parts_mut(self.floats.as_ptr(), self.len as usize) }
    }

    #[inline(always)]
    pub(crate) fn set_updates(&mut self, updates: u64) {
        self.header_mut().set_updates(updates);
    }

    /// Counts an update and returns the new count.
    #[inline(always)]
    pub(crate) fn count_update(&mut self) -> u64 {
        self.header_mut().count_update()
    }

    /// Records the time and sequence number of a write.
    #[inline(always)]
    pub(crate) fn stamp(&mut self, time: u64, seqno: Seqno) {
        self.header_mut().stamp(time, seqno);
    }

    /// Sets whether the row is known to be absent.
    #[inline(always)]
    pub(crate) fn set_absent(&mut self, absent: bool) {
        self.header_mut().set_to(ABSENT, absent);
    }

    /// The header, to change what readers look at.
    #[inline(always)]
    pub(super) fn header_mut(&mut self) -> &'a Slot {
        self.begin_change();
        self.slot
    }

    /// The header, to change what readers do not look at: the flags of writing and cuts.
    #[inline(always)]
    pub(super) fn slot(&self) -> &'a Slot {
        self.slot
    }

    #[inline(always)]
    fn begin_change(&mut self) {
        if !self.has_changed {
            self.slot.begin_change();
            self.has_changed = true;
        }
    }
}

/// Copies floats that another thread may be changing meanwhile. The copy counts only if nobody has
/// held the row since before: see [`Slot::is_unchanged`].
///
/// # Safety
/// `floats` leads to as many initialized floats as `copy` has, in memory that is not freed
/// meanwhile.
#[inline(always)]
pub(super) unsafe fn read_floats(floats: NonNull<f32>, copy: &mut [f32]) {
    // Volatile, so that the compiler reads everything once and believes nothing about it.
    let (pairs, rest) = copy.as_chunks_mut::<2>();
    let last = 2 * pairs.len();
    if floats.cast::<u64>().is_aligned() {
        for (number, pair) in pairs.iter_mut().enumerate() {
            // SAFETY: within the floats, and aligned. Any bits are an integer, and two floats.
            let bits = unsafe { floats.cast::<u64>().add(number).read_volatile() };
            *pair = bytemuck::cast(bits);
        }
    } else {
        for (number, float) in pairs.as_flattened_mut().iter_mut().enumerate() {
            // SAFETY: within the floats. Any bits are a float.
            *float = unsafe { floats.add(number).read_volatile() };
        }
    }
    if let [float] = rest {
        // SAFETY: as above.
        *float = unsafe { floats.add(last).read_volatile() };
    }
}

impl Deref for Row<'_> {
    type Target = Slot;

    #[inline(always)]
    fn deref(&self) -> &Slot {
        self.slot
    }
}

impl Drop for Row<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.slot.unlatch(self.has_changed);
    }
}
