//! `damo_scheduler`: a learning rate as a function of the step.

use std::ffi::c_char;
use std::sync::Arc;

use super::{arguments, damo_params, guard};
use crate::error::{Error, damo_status};
use crate::params::FloatRange;
use crate::scheduler::Scheduler;

/// A learning rate as a function of a base rate and the group's global step.
///
/// The formulas and names are TensorFlow's. Names and parameters (defaults; a parameter without one
/// must be given):
///
/// ```text
///     exponential_decay     decay_steps, decay_rate, staircase (false)
///     natural_exp_decay     decay_steps, decay_rate, staircase (false)
///                           alias nature_exponential_decay
///     inverse_time_decay    decay_steps, decay_rate, staircase (false)
///     polynomial_decay      decay_steps, end_learning_rate (1e-4), power (1), cycle (false)
///     cosine_decay          decay_steps, alpha (0)
///     linear_cosine_decay   decay_steps, num_periods (0.5), alpha (0), beta (1e-3)
///                           alias liner_cosine_decay
/// ```
///
/// Each also takes warmup_steps (0): the rate rises linearly from 0 over that many steps, and then
/// the decay starts.
///
/// May be used by many threads at once.
pub struct damo_scheduler {
    pub(super) inner: Arc<Scheduler>,
}

/// Makes a scheduler by name. Free it with damo_scheduler_free.
///
/// params may be NULL.
///
/// Returns NULL on failure and sets the last error:
/// - INVALID_ARGUMENT: a NULL name; an unknown name (the message lists the known ones); a parameter
///   that is missing, unknown, of a wrong type or out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_scheduler_new(
    name: *const c_char,
    params: *const damo_params,
) -> *mut damo_scheduler {
    guard::handle("damo_scheduler_new", || {
        // SAFETY: the contract of `arguments`.
        let (name, params) =
            unsafe { (arguments::text(name, "name")?, arguments::params(params, "params")?) };
        Ok(damo_scheduler { inner: Arc::new(Scheduler::new(name, params)?) })
    })
}

/// Frees a scheduler. NULL is a no-op. Optimizers made with it keep what they need.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_scheduler_free(scheduler: *mut damo_scheduler) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(scheduler) }
}

/// Writes the learning rate at a step to *rate.
///
/// - learning_rate: the base rate, 0 or more.
/// - step: 0 or more.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle or rate; a negative step; a learning_rate that is negative,
///   NaN or infinite.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_scheduler_rate(
    scheduler: *const damo_scheduler,
    learning_rate: f64,
    step: i64,
    rate: *mut f64,
) -> damo_status {
    guard::status("damo_scheduler_rate", || {
        // SAFETY: the contract of `arguments`.
        let (scheduler, rate) =
            unsafe { (arguments::handle(scheduler, "scheduler")?, arguments::out(rate, "rate")?) };
        if !learning_rate.is_finite() || learning_rate < 0.0 {
            let accepted = FloatRange::NOT_NEGATIVE.words;
            return Err(Error::invalid(format!(
                "learning_rate is {learning_rate:?}; {accepted} is needed"
            )));
        }
        check_step(step)?;
        *rate = scheduler.inner.rate(learning_rate, step);
        Ok(())
    })
}

pub(super) fn check_step(step: i64) -> Result<(), Error> {
    if step < 0 {
        return Err(Error::invalid(format!("step is {step}; a number >= 0 is needed")));
    }
    Ok(())
}
