//! Rows of floats at equal distances, such as some columns of a matrix.
//!
//! A slice cannot stand for them: it would also have the floats between the rows, which another
//! thread may be writing. These hand out one row at a time.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::error::{Error, Result};
use crate::limits::{MAX_DIM, is_dim};
use crate::prefetch::prefetch_lines;

/// The floats of a cache line.
const FLOATS_A_LINE: usize = 16;
/// The processor's own prefetcher follows after these.
const MAX_LINES: usize = 4;

/// The number of rows in `len` floats: `dim` floats a row, `stride` floats from the beginning of a
/// row to that of the next. What lies behind the last row may be missing.
///
/// # Errors
/// `INVALID_ARGUMENT` for a wrong dim or stride, and for a part of a row at the end. `name` is the
/// buffer's.
pub(crate) fn count_of(name: &str, len: usize, dim: usize, stride: usize) -> Result<usize> {
    if !is_dim(dim) {
        return Err(Error::invalid(format!(
            "dim is {dim}; a number from 1 to {MAX_DIM} is needed"
        )));
    }
    if stride < dim {
        return Err(Error::invalid(format!(
            "{name}_stride is {stride} and dim is {dim}; at least dim is needed: the floats from \
             the beginning of a row to that of the next"
        )));
    }
    let count = len.div_ceil(stride);
    let last = len - count.saturating_sub(1) * stride;
    if count > 0 && last < dim {
        return Err(Error::invalid(format!(
            "{name}_len is {len}, {name}_stride {stride} and dim {dim}: row {} would have {last} \
             floats; whole rows are needed",
            count - 1
        )));
    }
    Ok(count)
}

/// Refuses another number of rows than positions.
///
/// # Errors
/// `INVALID_ARGUMENT` naming both.
pub(crate) fn check_count(name: &str, count: usize, positions: usize) -> Result<()> {
    if count == positions {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name} has {count} rows and positions_len is {positions}; one row a position is needed"
    )))
}

/// Rows to read.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    first: NonNull<f32>,
    count: usize,
    dim: usize,
    stride: usize,
    floats: PhantomData<&'a [f32]>,
}

/// Rows to write.
pub struct RowsMut<'a> {
    first: NonNull<f32>,
    count: usize,
    dim: usize,
    stride: usize,
    floats: PhantomData<&'a mut [f32]>,
}

// SAFETY: as `&[f32]`: the rows are only read.
unsafe impl Send for Rows<'_> {}
// SAFETY: as above.
unsafe impl Sync for Rows<'_> {}
// SAFETY: as `&mut [f32]`: nobody else has these rows.
unsafe impl Send for RowsMut<'_> {}
// SAFETY: as above; a shared reference gives no row out.
unsafe impl Sync for RowsMut<'_> {}

impl<'a> Rows<'a> {
    /// The rows of a slice, each `dim` floats, `stride` floats apart.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a wrong dim or stride, and for a part of a row at the end.
    pub fn new(floats: &'a [f32], dim: usize, stride: usize) -> Result<Rows<'a>> {
        let count = count_of("rows", floats.len(), dim, stride)?;
        // SAFETY: the slice has all rows, and a slice's address is not NULL.
        Ok(unsafe { Rows::from_raw(NonNull::from(floats).cast(), count, dim, stride) })
    }

    /// The rows from an address on.
    ///
    /// # Safety
    /// For each row there are `dim` floats, `stride` apart, which live for `'a` and are not written
    /// meanwhile. If there are rows, `first` is aligned.
    pub(crate) unsafe fn from_raw(
        first: NonNull<f32>,
        count: usize,
        dim: usize,
        stride: usize,
    ) -> Rows<'a> {
        Rows { first, count, dim, stride, floats: PhantomData }
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The floats of each row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn row(&self, index: usize) -> &'a [f32] {
        assert!(index < self.count);
        // SAFETY: the row exists, and the promise of `from_raw`.
        unsafe {
            std::slice::from_raw_parts(self.first.add(index * self.stride).as_ptr(), self.dim)
        }
    }

    /// All rows as one slice; None if there are floats between them.
    pub fn as_slice(&self) -> Option<&'a [f32]> {
        let is_dense = self.stride == self.dim || self.count <= 1;
        let len = is_dense.then(|| self.count * self.dim)?;
        if len == 0 {
            return Some(&[]);
        }
        // SAFETY: the rows exist, one right behind the other, and the promise of `from_raw`.
        Some(unsafe { std::slice::from_raw_parts(self.first.as_ptr(), len) })
    }

    /// Fetches the first cache lines of a row; one that does not exist is left out.
    #[inline(always)]
    pub fn prefetch(&self, index: usize) {
        if index < self.count {
            // SAFETY: the row exists.
            prefetch_row(unsafe { self.first.add(index * self.stride) }, self.dim);
        }
    }
}

impl<'a> RowsMut<'a> {
    /// As [`Rows::new`].
    ///
    /// # Errors
    /// As [`Rows::new`].
    pub fn new(floats: &'a mut [f32], dim: usize, stride: usize) -> Result<RowsMut<'a>> {
        let count = count_of("rows", floats.len(), dim, stride)?;
        // SAFETY: as in `Rows::new`.
        Ok(unsafe { RowsMut::from_raw(NonNull::from(floats).cast(), count, dim, stride) })
    }

    /// The rows from an address on.
    ///
    /// # Safety
    /// As [`Rows::from_raw`]; nobody else reads or writes the rows meanwhile. The floats between
    /// them may be anybody's.
    pub(crate) unsafe fn from_raw(
        first: NonNull<f32>,
        count: usize,
        dim: usize,
        stride: usize,
    ) -> RowsMut<'a> {
        RowsMut { first, count, dim, stride, floats: PhantomData }
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The floats of each row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn row(&mut self, index: usize) -> &mut [f32] {
        assert!(index < self.count);
        // SAFETY: the row exists, the promise of `from_raw`, and rows do not overlap.
        unsafe {
            std::slice::from_raw_parts_mut(self.first.add(index * self.stride).as_ptr(), self.dim)
        }
    }

    /// As [`Rows::as_slice`].
    pub fn as_slice(&mut self) -> Option<&mut [f32]> {
        let is_dense = self.stride == self.dim || self.count <= 1;
        let len = is_dense.then(|| self.count * self.dim)?;
        if len == 0 {
            return Some(&mut []);
        }
        // SAFETY: as in `Rows::as_slice`; nobody else has the rows.
        Some(unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), len) })
    }

    /// As [`Rows::prefetch`].
    #[inline(always)]
    pub fn prefetch(&self, index: usize) {
        if index < self.count {
            // SAFETY: the row exists.
            prefetch_row(unsafe { self.first.add(index * self.stride) }, self.dim);
        }
    }

    /// The rows before `index` and those from there on, for two threads.
    ///
    /// # Panics
    /// If there are fewer rows.
    pub fn split_at(self, index: usize) -> (RowsMut<'a>, RowsMut<'a>) {
        assert!(index <= self.count);
        let RowsMut { first, count, dim, stride, .. } = self;
        // SAFETY: a row that exists has an address; each half has rows of its own, out of those of
        // `self`. The last row may end before its stride does, so no address may come after it.
        unsafe {
            let second = if index == count { first } else { first.add(index * stride) };
            (
                RowsMut::from_raw(first, index, dim, stride),
                RowsMut::from_raw(second, count - index, dim, stride),
            )
        }
    }
}

#[inline(always)]
fn prefetch_row(first: NonNull<f32>, dim: usize) {
    prefetch_lines(first, dim.div_ceil(FLOATS_A_LINE).min(MAX_LINES));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_columns_of_a_matrix() {
        let floats: Vec<f32> = (0..12).map(|n| n as f32).collect();
        // Columns 1 and 2 of a matrix of 3 rows and 4 columns; the last float is not theirs.
        let rows = Rows::new(&floats[1..11], 2, 4).unwrap();
        assert_eq!((rows.count(), rows.dim()), (3, 2));
        assert_eq!([rows.row(0), rows.row(2)], [[1.0, 2.0], [9.0, 10.0]]);
        assert_eq!(Rows::new(&floats[1..], 2, 4).unwrap().count(), 3);
        assert_eq!(Rows::new(&[], 2, 4).unwrap().count(), 0);
        (0..9).for_each(|index| rows.prefetch(index));
    }

    #[test]
    fn rows_without_floats_in_between_are_a_slice() {
        let mut floats: Vec<f32> = (0..6).map(|n| n as f32).collect();
        let as_slice = |len: usize, dim, stride| Rows::new(&floats[..len], dim, stride).unwrap();
        assert_eq!(as_slice(6, 2, 2).as_slice(), Some(&floats[..]));
        assert_eq!(as_slice(2, 2, 5).as_slice(), Some(&floats[..2]));
        assert_eq!(as_slice(5, 2, 3).as_slice(), None);
        assert_eq!(as_slice(0, 2, 3).as_slice(), Some(&[][..]));
        RowsMut::new(&mut floats, 3, 3).unwrap().as_slice().unwrap().fill(1.0);
        assert_eq!(floats, [1.0; 6]);
        assert!(RowsMut::new(&mut floats, 2, 4).unwrap().as_slice().is_none());
    }

    #[test]
    fn halves_are_written_by_two_threads() {
        let mut floats = vec![0.0; 11];
        let (mut before, mut after) = RowsMut::new(&mut floats, 2, 3).unwrap().split_at(1);
        assert_eq!((before.count(), after.count(), after.dim()), (1, 3, 2));
        std::thread::scope(|scope| {
            scope.spawn(|| before.row(0).fill(1.0));
            scope.spawn(|| (0..3).for_each(|index| after.row(index).fill(2.0)));
        });
        let (all, none) = RowsMut::new(&mut floats, 2, 3).unwrap().split_at(4);
        assert_eq!((all.count(), none.count()), (4, 0));
        assert_eq!(floats, [1.0, 1.0, 0.0, 2.0, 2.0, 0.0, 2.0, 2.0, 0.0, 2.0, 2.0]);
    }

    #[test]
    fn wrong_shapes_are_named() {
        let refused = |len: usize, dim: usize, stride: usize, words: &str| {
            let error = count_of("rows", len, dim, stride).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        };
        refused(4, 0, 4, "dim is 0;");
        refused(4, MAX_DIM + 1, MAX_DIM + 1, "dim is 262145;");
        refused(4, 4, 3, "rows_stride is 3 and dim is 4");
        refused(6, 4, 5, "row 1 would have 1 floats");
        refused(3, 4, 5, "row 0 would have 3 floats");
        assert_eq!(count_of("rows", usize::MAX, 1, usize::MAX).unwrap(), 1);
        let error = check_count("outputs", 2, 3).unwrap_err();
        assert!(error.message().contains("outputs has 2 rows and positions_len is 3"), "{error}");
    }

    #[test]
    #[should_panic]
    fn a_row_that_does_not_exist_panics() {
        Rows::new(&[1.0, 2.0], 2, 2).unwrap().row(1);
    }
}
