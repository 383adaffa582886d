//! `damo_step`: a training step over several features. One file a verb.

// In the order of the header. rustfmt sorts only what has no blank line in between.
mod add_keys;
mod add_keys_counted;

mod add_bags;

mod lookup;
mod peek;

mod apply_gradients;
mod gradient_norm;
mod skipped;

mod lookup_at;

mod apply_gradients_once;

mod clear;

use super::embedding::expected_step;
use super::{arguments, damo_params, damo_storage, guard};
use crate::error::{Error, Result};
use crate::kernels::{Rows, RowsMut};
use crate::locks::{Mutex, MutexGuard};
use crate::step::Step;

pub use add_bags::*;
pub use add_keys::*;
pub use add_keys_counted::*;
pub use apply_gradients::*;
pub use apply_gradients_once::*;
pub use clear::*;
pub use gradient_norm::*;
pub use lookup::*;
pub use lookup_at::*;
pub use peek::*;
pub use skipped::*;

/// A training step over several features: one lookup for all of them, and one transaction for all
/// of their gradients.
///
/// A step has parts, numbered 0, 1, and so on. Each is an embedding with keys, and has one row of
/// floats a key (damo_step_add_keys) or one a bag of keys (damo_step_add_bags). The rows are looked
/// up together, and their gradients applied together: all groups and their global steps change, or
/// none does. That survives a kill with durability "process", and a power failure with "power".
/// With "checkpoint" it is not promised.
///
/// Make one step for a loop. damo_step_clear removes its parts; the next ones use their memory.
///
/// Keeps its storage open, and its parts their embeddings. For one thread at a time.
pub struct damo_step {
    pub(super) inner: Mutex<Step>,
}

/// Rows of floats in the caller's memory, such as some columns of a matrix.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct damo_rows {
    /// The first float of the first row. May be NULL if there are no rows.
    pub floats: *mut f32,
    /// The length of the buffer in floats, which says how many rows there are: as many as begin
    /// within it. The gap behind the last row may be missing. For the columns from c on of a matrix
    /// with n floats this is n - c.
    pub floats_len: usize,
    /// The floats from the beginning of a row to that of the next one. The floats between rows are
    /// neither read nor written.
    pub stride: usize,
}

impl arguments::Plain for damo_rows {}

/// Makes a step without parts. Free it with damo_step_free.
///
/// - options: may be NULL. Names, none of which has a default; the first three are limits > 0:
///
/// ```text
///     clip_value      of each float of a gradient, as torch.nn.utils.clip_grad_value_
///     clip_row_norm   of the 2-norm of each key's gradient
///     clip_norm       of the 2-norm of the gradients of all keys together, over all groups, as
///                     torch.nn.utils.clip_grad_norm_; damo_step_gradient_norm returns the norm
///     non_finite      what damo_step_apply_gradients does if a gradient is NaN, infinite or beyond
///                     1e18. "refuse": it is an error. "skip": it returns OK, no row or global step
///                     has changed, and damo_step_skipped says 1. Without this option it skips if
///                     all embeddings with such gradients have "skip", and otherwise refuses
/// ```
///
/// Gradients are clipped in this order, after those of a key were added up and the options of their
/// embedding have clipped them. A gradient whose norm is beyond its limit is multiplied by
/// limit / (norm + 1e-6), as in torch.
///
/// Returns NULL on failure and sets the last error:
/// - INVALID_ARGUMENT: a NULL storage; a wrong option.
/// - FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_new(
    storage: *const damo_storage,
    options: *const damo_params,
) -> *mut damo_step {
    guard::handle("damo_step_new", || {
        // SAFETY: the contract of `arguments`.
        let (storage, options) = unsafe {
            (arguments::handle(storage, "storage")?, arguments::params(options, "options")?)
        };
        storage.inner.check_process()?;
        let step = Step::with_options(storage.inner.clone(), options)?;
        Ok(damo_step { inner: Mutex::new(step) })
    })
}

/// Frees a step, and closes its storage if no other handle has it. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_step_free(step: *mut damo_step) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(step) }
}

/// The step of a handle, for this thread.
///
/// # Errors
/// `BUSY` while another thread uses it. It is not waited for: in a forked child that thread may not
/// exist.
///
/// # Safety
/// As [`arguments::handle`].
unsafe fn locked<'a>(step: *const damo_step) -> Result<MutexGuard<'a, Step>> {
    // SAFETY: the caller's promise.
    let step = unsafe { arguments::handle(step, "step") }?;
    step.inner.try_lock().ok_or_else(|| {
        Error::busy("another thread is using the step; make one step for each thread")
    })
}

/// Rows to write, one list a part.
///
/// # Safety
/// The contract of `arguments` for each of `given`.
unsafe fn outputs<'a>(step: &Step, given: &[damo_rows]) -> Result<Vec<RowsMut<'a>>> {
    let dims = step.dims(given.len())?;
    let outputs = given.iter().zip(&dims).enumerate().map(|(part, (rows, dim))| {
        let name = format!("outputs[{part}]");
        // SAFETY: the caller's promise. No row is looked at before `check_apart`.
        unsafe { arguments::rows_mut((rows.floats, rows.floats_len), (*dim, rows.stride), &name) }
    });
    let outputs = outputs.collect::<Result<Vec<_>>>()?;
    check_apart(given, &outputs)?;
    Ok(outputs)
}

/// Rows to read, one list a part.
///
/// # Safety
/// As [`outputs`].
unsafe fn gradients<'a>(step: &Step, given: &[damo_rows]) -> Result<Vec<Rows<'a>>> {
    let dims = step.dims(given.len())?;
    let gradients = given.iter().zip(dims).enumerate().map(|(part, (rows, dim))| {
        let (floats, name) = (rows.floats.cast_const(), format!("gradients[{part}]"));
        // SAFETY: the caller's promise.
        unsafe { arguments::rows((floats, rows.floats_len), (dim, rows.stride), &name) }
    });
    gradients.collect()
}

/// The global steps that are expected of the parts' groups; none for NULL. `name` is what the list
/// is called.
///
/// # Safety
/// As [`outputs`].
unsafe fn expected_steps(
    steps: *const i64,
    parts_len: usize,
    name: &str,
) -> Result<Vec<Option<i64>>> {
    if steps.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the caller's promise.
    let steps = unsafe { arguments::slice(steps, parts_len, name) }?;
    let read = |(part, step): (usize, &i64)| expected_step(*step, &format!("{name}[{part}]"));
    steps.iter().enumerate().map(read).collect()
}

/// Where the rows of a part lie.
#[derive(Clone, Copy)]
struct Extent {
    part: usize,
    /// The address of the first byte, and of the first one behind the last row.
    begin: usize,
    end: usize,
    /// In bytes.
    stride: usize,
    row: usize,
    is_one: bool,
}

impl Extent {
    /// Whether no row of one overlaps a row of the other. Rows of two parts may take turns in
    /// memory if they have one stride, and one row may lie between others.
    fn is_apart(&self, other: &Extent) -> bool {
        let (first, second) = if self.begin <= other.begin { (self, other) } else { (other, self) };
        if second.begin >= first.end || second.begin == second.end {
            return true;
        }
        let offset = (second.begin - first.begin).checked_rem(first.stride).unwrap_or(0);
        let is_alike = first.stride == second.stride || second.is_one;
        is_alike && offset >= first.row && offset + second.row <= first.stride
    }
}

/// Refuses rows of a part that overlap rows of another one. Compares addresses only.
fn check_apart(given: &[damo_rows], outputs: &[RowsMut<'_>]) -> Result<()> {
    let extent = |(part, (given, rows)): (usize, (&damo_rows, &RowsMut<'_>))| {
        let (begin, count, row) = (given.floats.addr(), rows.count(), 4 * rows.dim());
        let stride = given.stride.saturating_mul(4);
        // The rows fit the buffer, so this fits, too.
        let end = if count == 0 { begin } else { begin + (count - 1) * stride + row };
        Extent { part, begin, end, stride, row, is_one: count == 1 }
    };
    let mut extents: Vec<_> = given.iter().zip(outputs).enumerate().map(extent).collect();
    extents.sort_unstable_by_key(|extent| (extent.begin, extent.part));
    for (index, extent) in extents.iter().enumerate() {
        let others = extents.iter().skip(index + 1);
        let mut within = others.take_while(|other| other.begin < extent.end);
        if let Some(other) = within.find(|other| !extent.is_apart(other)) {
            return Err(Error::invalid(format!(
                "outputs[{}] and outputs[{}] overlap; rows of their own are needed",
                extent.part.min(other.part),
                extent.part.max(other.part)
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Extent;

    #[test]
    fn columns_of_one_matrix_are_apart_and_shared_floats_are_found() {
        let extent = |begin, rows: usize, stride, row| Extent {
            part: 0,
            begin,
            end: if rows == 0 { begin } else { begin + (rows - 1) * stride + row },
            stride,
            row,
            is_one: rows == 1,
        };
        let column = extent(1000, 10, 40, 16);
        for (other, is_apart) in [
            (extent(1016, 10, 40, 24), true),
            (extent(1016, 10, 40, 28), false),
            (extent(1012, 10, 40, 4), false),
            (extent(1000, 10, 40, 4), false),
            (extent(1056, 3, 40, 8), true),
            (extent(1060, 3, 40, 24), false),
            (extent(1016, 10, 44, 4), false),
            (extent(1376, 10, 44, 4), true),
            (extent(1376, 1, 4, 4), true),
            (extent(900, 1, 100, 100), true),
            (extent(900, 1, 104, 104), false),
            (extent(1016, 1, 24, 24), true),
            (extent(1056, 1, 999, 24), true),
            (extent(1056, 1, 999, 28), false),
            (extent(1000, 1, 4, 4), false),
            (extent(1000, 0, 0, 4), true),
            (extent(1004, 2, 0, 4), false),
        ] {
            assert_eq!(column.is_apart(&other), is_apart, "{} {}", other.begin, other.stride);
            assert_eq!(other.is_apart(&column), is_apart, "{} {}", other.begin, other.stride);
        }
    }
}
