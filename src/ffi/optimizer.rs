//! `damo_optimizer`: how a gradient changes a row.

use std::ffi::c_char;
use std::sync::Arc;

use super::scheduler::check_step;
use super::{arguments, damo_params, damo_scheduler, guard};
use crate::error::{Error, damo_status};
use crate::optimizer::{GRADIENT_WORDS, Optimizer, is_gradient};

/// How a gradient changes a row: dim weights followed by the optimizer's state.
///
/// Names, parameters (defaults) and state:
///
/// ```text
///     sgd              gamma (1e-3), lambda (0)                             none
///     ftrl             alpha (5e-3), beta (0), lambda1 (0), lambda2 (0)     z, n
///     adagrad          gamma (1e-2), lambda (0), eta (0), epsilon (1e-10)   n
///     rowwise_adagrad  gamma (1e-2), lambda (0), epsilon (1e-8)             1 float
///     adam             gamma (1e-3), beta1 (.9), beta2 (.999), lambda (0),  m, v
///                      epsilon (1e-8)
///     amsgrad          as adam                                              m, v, v_max
///     adamw            as adam, but lambda (1e-2)                           m, v
///     lion             eta (3e-4), beta1 (.9), beta2 (.99), lambda (1e-2)   m
///     none             state (0): a number of floats                        these
/// ```
///
/// - The learning rate is gamma, alpha for ftrl, and eta for lion. Every optimizer but none also
///   accepts it as learning_rate; ftrl and lion accept it as gamma, too.
/// - lambda is weight decay. adamw and lion decouple it; the others add it to the gradient. ftrl
///   has lambda1 and lambda2 instead.
/// - ftrl, adagrad and rowwise_adagrad also take initial_accumulator_value (0). It is the first
///   value of n, or of the 1 float. For none it is the first value of every float of state.
/// - none has no learning rate, and refuses gradients with INVALID_ARGUMENT. It is for a trainer
///   that changes rows itself (damo_rows_pin). state is 0 to 786432 floats a row. A group's state
///   never changes its length.
/// - Bias corrections use the row's own update count.
///
/// Under ftrl a weight is a function of its gradients alone. From the first gradient on its initial
/// value no longer counts, and after gradients of 0 only it is 0. A weight that was inserted is an
/// exception: steps continue from it.
///
/// May be used by many threads at once.
pub struct damo_optimizer {
    pub(super) inner: Arc<Optimizer>,
}

/// Makes an optimizer by name. Free it with damo_optimizer_free.
///
/// params and scheduler may be NULL. The scheduler can be freed afterwards.
///
/// Returns NULL on failure and sets the last error:
/// - INVALID_ARGUMENT: a NULL name; an unknown name (the message lists the known ones); a parameter
///   that is unknown, of a wrong type or out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_optimizer_new(
    name: *const c_char,
    params: *const damo_params,
    scheduler: *const damo_scheduler,
) -> *mut damo_optimizer {
    guard::handle("damo_optimizer_new", || {
        // SAFETY: the contract of `arguments`.
        let (name, params, scheduler) = unsafe {
            (
                arguments::text(name, "name")?,
                arguments::params(params, "params")?,
                arguments::optional_handle(scheduler, "scheduler")?,
            )
        };
        let scheduler = scheduler.map(|scheduler| Arc::clone(&scheduler.inner));
        Ok(damo_optimizer { inner: Arc::new(Optimizer::new(name, params, scheduler)?) })
    })
}

/// Frees an optimizer. NULL is a no-op. Embeddings made with it keep what they need.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_optimizer_free(optimizer: *mut damo_optimizer) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(optimizer) }
}

/// Writes the number of floats in a row of dim weights to *row_len: the weights and the state.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle or row_len; a dim of 0, or one whose row no memory can hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_optimizer_row_len(
    optimizer: *const damo_optimizer,
    dim: usize,
    row_len: *mut usize,
) -> damo_status {
    guard::status("damo_optimizer_row_len", || {
        // SAFETY: the contract of `arguments`.
        let (optimizer, row_len) = unsafe {
            (arguments::handle(optimizer, "optimizer")?, arguments::out(row_len, "row_len")?)
        };
        check_dim("dim", dim)?;
        *row_len = optimizer.inner.row_len(dim);
        Ok(())
    })
}

/// Applies one gradient to one row that the caller keeps.
///
/// - row: row_len floats, the weights first, then the state. row_len is what damo_optimizer_row_len
///   gives for gradients_len. The state of a fresh row is zeros, except that n, or the 1 float, is
///   initial_accumulator_value.
/// - gradients: gradients_len floats, the row's dim.
/// - step: the number of gradients that this row has had before, 0 for the first. It is also the
///   step of the scheduler, if there is one.
///
/// Errors, after which the row is unchanged:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; lengths that do not fit
///   together; overlapping buffers; a negative step; a gradient that is NaN, infinite or beyond
///   1e18 in size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_optimizer_apply(
    optimizer: *const damo_optimizer,
    row: *mut f32,
    row_len: usize,
    gradients: *const f32,
    gradients_len: usize,
    step: i64,
) -> damo_status {
    guard::status("damo_optimizer_apply", || {
        // SAFETY: the contract of `arguments`.
        let optimizer = unsafe { arguments::handle(optimizer, "optimizer") }?;
        check_dim("gradients_len", gradients_len)?;
        let expected = optimizer.inner.row_len(gradients_len);
        if row_len != expected {
            return Err(Error::invalid(format!(
                "row_len is {row_len} and gradients_len is {gradients_len}; a row of {} with \
                 {gradients_len} weights has {expected} floats",
                optimizer.inner.name()
            )));
        }
        arguments::check_apart(
            (row.cast_const(), row_len, "row"),
            (gradients, gradients_len, "gradients"),
        )?;
        // SAFETY: the contract of `arguments`.
        let (row, gradients) = unsafe {
            (
                arguments::slice_mut(row, row_len, "row")?,
                arguments::slice(gradients, gradients_len, "gradients")?,
            )
        };
        check_step(step)?;
        if let Some((index, float)) =
            gradients.iter().enumerate().find(|(_, float)| !is_gradient(**float))
        {
            return Err(Error::invalid(format!(
                "gradients[{index}] is {float:?}; {GRADIENT_WORDS} are needed"
            )));
        }
        let rate = optimizer.inner.rate(step)?;
        optimizer.inner.step(row, gradients, rate, step as u64 + 1);
        Ok(())
    })
}

/// Sets the learning rate, before any schedule, of every embedding made with this optimizer.
///
/// It holds for calls that start from now on. It is not stored with the table.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a rate that is negative, NaN or beyond float32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_optimizer_set_learning_rate(
    optimizer: *const damo_optimizer,
    learning_rate: f64,
) -> damo_status {
    guard::status("damo_optimizer_set_learning_rate", || {
        // SAFETY: the contract of `arguments`.
        let optimizer = unsafe { arguments::handle(optimizer, "optimizer") }?;
        optimizer.inner.set_learning_rate(learning_rate)
    })
}

/// Writes the learning rate, before any schedule, to *learning_rate.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle or learning_rate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_optimizer_learning_rate(
    optimizer: *const damo_optimizer,
    learning_rate: *mut f64,
) -> damo_status {
    guard::status("damo_optimizer_learning_rate", || {
        // SAFETY: the contract of `arguments`.
        let (optimizer, learning_rate) = unsafe {
            (
                arguments::handle(optimizer, "optimizer")?,
                arguments::out(learning_rate, "learning_rate")?,
            )
        };
        *learning_rate = optimizer.inner.learning_rate();
        Ok(())
    })
}

/// Rows longer than this cannot exist; it also keeps `row_len` from overflowing.
const MAX_FLOATS: usize = isize::MAX as usize / 64;

fn check_dim(name: &str, dim: usize) -> Result<(), Error> {
    if !(1..=MAX_FLOATS).contains(&dim) {
        return Err(Error::invalid(format!(
            "{name} is {dim}; a number from 1 to {MAX_FLOATS} is needed"
        )));
    }
    Ok(())
}
