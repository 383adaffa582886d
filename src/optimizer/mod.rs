//! Optimizers: how a gradient changes one row. A row is `dim` weights followed by the optimizer's
//! state.
//!
//! Each algorithm has a file with its formula and source. This file has their names, the learning
//! rate that can be set at run time, and the schedule that scales it. Nothing here knows where rows
//! are kept.
//!
//! Arithmetic is float32. Where PyTorch has the algorithm, operations follow the order of PyTorch's
//! kernels, so that results agree to the last bits; scalars are first computed in float64, as
//! PyTorch does.

mod adagrad;
mod adam;
mod adamw;
mod amsgrad;
mod bias;
mod ftrl;
mod gradient;
mod lanes;
mod lion;
mod moments;
mod none;
mod parameters;
mod rowwise_adagrad;
mod rule;
mod sgd;
mod simd;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use gradient::{GRADIENT_WORDS, MAX_GRADIENT, is_gradient};

use crate::error::{Error, Result};
use crate::params::{FloatRange, ParamReader, Params, find_name};
use crate::scheduler::Scheduler;
use rule::Rule;
use simd::Path;

/// Whether all floats pass [`is_gradient`]; as fast as they can be read.
pub fn are_gradients(floats: &[f32]) -> bool {
    // For few floats, looking up the path would take longer than checking them.
    let path = if floats.len() < 64 { Path::Baseline } else { Path::fastest() };
    path.are_gradients(floats)
}

/// Builds an algorithm from its parameters.
type Build = fn(&mut ParamReader<'_>, Path) -> Result<Box<dyn Rule>>;

struct KnownOptimizer {
    name: &'static str,
    /// The learning rate's names, the algorithm's own first.
    rate_names: &'static [&'static str],
    default_rate: f64,
    build: Build,
}

const OPTIMIZERS: [KnownOptimizer; 9] = [
    KnownOptimizer { name: "sgd", rate_names: &GAMMA, default_rate: 1e-3, build: sgd::build },
    KnownOptimizer { name: "ftrl", rate_names: &ALPHA, default_rate: 5e-3, build: ftrl::build },
    KnownOptimizer {
        name: "adagrad",
        rate_names: &GAMMA,
        default_rate: 1e-2,
        build: adagrad::build,
    },
    KnownOptimizer {
        name: "rowwise_adagrad",
        rate_names: &GAMMA,
        default_rate: 1e-2,
        build: rowwise_adagrad::build,
    },
    KnownOptimizer { name: "adam", rate_names: &GAMMA, default_rate: 1e-3, build: adam::build },
    KnownOptimizer {
        name: "amsgrad",
        rate_names: &GAMMA,
        default_rate: 1e-3,
        build: amsgrad::build,
    },
    KnownOptimizer { name: "adamw", rate_names: &GAMMA, default_rate: 1e-3, build: adamw::build },
    KnownOptimizer { name: "lion", rate_names: &ETA, default_rate: 3e-4, build: lion::build },
    KnownOptimizer { name: none::NAME, rate_names: &[], default_rate: 0.0, build: none::build },
];

const GAMMA: [&str; 2] = ["gamma", "learning_rate"];
const ALPHA: [&str; 3] = ["alpha", "gamma", "learning_rate"];
const ETA: [&str; 3] = ["eta", "gamma", "learning_rate"];

/// An optimizer with its hyper-parameters; shared by any number of embeddings and threads.
pub struct Optimizer {
    name: &'static str,
    params: Params,
    rule: Box<dyn Rule>,
    /// The bits of an f64: set by any thread, read once a call.
    learning_rate: AtomicU64,
    scheduler: Option<Arc<Scheduler>>,
}

impl Optimizer {
    /// The names that [`Optimizer::new`] accepts.
    pub fn names() -> Vec<&'static str> {
        OPTIMIZERS.iter().map(|entry| entry.name).collect()
    }

    /// Builds an optimizer by name; without a scheduler the learning rate is what it was last set
    /// to.
    ///
    /// # Errors
    /// An unknown name; a parameter that the optimizer does not have or cannot accept.
    pub fn new(
        name: &str,
        params: &Params,
        scheduler: Option<Arc<Scheduler>>,
    ) -> Result<Optimizer> {
        Optimizer::on(Path::fastest(), name, params, scheduler)
    }

    fn on(
        path: Path,
        name: &str,
        params: &Params,
        scheduler: Option<Arc<Scheduler>>,
    ) -> Result<Optimizer> {
        let entry = &OPTIMIZERS[find_name("an optimizer", name, &Optimizer::names(), &[])?];
        let mut reader = params.reader(format!("optimizer '{name}'"));
        let rate =
            reader.float(entry.rate_names, entry.default_rate, FloatRange::FLOAT32_NOT_NEGATIVE)?;
        let rule = (entry.build)(&mut reader, path)?;
        reader.finish()?;
        Ok(Optimizer {
            name: entry.name,
            params: params.clone(),
            rule,
            learning_rate: AtomicU64::new(rate.to_bits()),
            scheduler,
        })
    }

    /// Its name, as in [`Optimizer::names`].
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The parameters it was built with; a learning rate set later is not among them.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The schedule of its learning rate.
    pub fn scheduler(&self) -> Option<&Scheduler> {
        self.scheduler.as_deref()
    }

    /// Floats of a row: `dim` weights and the state.
    pub fn row_len(&self, dim: usize) -> usize {
        dim + self.rule.state_len(dim)
    }

    /// Where a row has sums or means of squares. Steps take their roots, so a negative one would
    /// make its weight NaN.
    pub fn squares(&self, dim: usize) -> Range<usize> {
        self.rule.squares(dim)
    }

    /// Writes the state of a row that begins with the initializer's weights.
    pub fn begin(&self, state: &mut [f32]) {
        self.rule.begin(state);
    }

    /// Writes the state of a row that begins with weights trained elsewhere: steps continue from
    /// them.
    pub fn begin_at(&self, weights: &[f32], state: &mut [f32]) {
        self.rule.begin_at(weights, state);
    }

    /// Refuses an optimizer that takes no steps.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, saying who changes its rows.
    #[inline]
    pub fn check_steps(&self) -> Result<()> {
        if self.name == none::NAME { Err(none::no_steps()) } else { Ok(()) }
    }

    /// The base rate, before any schedule.
    pub fn learning_rate(&self) -> f64 {
        f64::from_bits(self.learning_rate.load(Ordering::Relaxed))
    }

    /// Sets the base rate for every call that starts from now on, in every embedding that uses this
    /// optimizer.
    ///
    /// # Errors
    /// A rate that is negative or NaN, or beyond float32.
    pub fn set_learning_rate(&self, learning_rate: f64) -> Result<()> {
        let range = FloatRange::FLOAT32_NOT_NEGATIVE;
        if !(range.accepts)(learning_rate) {
            return Err(Error::invalid(format!(
                "learning_rate is {learning_rate:?}; {} is needed",
                range.words
            )));
        }
        self.learning_rate.store(learning_rate.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    /// The rate at a global step.
    ///
    /// # Errors
    /// A schedule that grew beyond float32: a step with its rate would fill the row with
    /// infinities. An optimizer without steps.
    pub fn rate(&self, global_step: i64) -> Result<f64> {
        self.check_steps()?;
        let base = self.learning_rate();
        let Some(scheduler) = &self.scheduler else { return Ok(base) };
        let rate = scheduler.rate(base, global_step);
        let range = FloatRange::FLOAT32_NOT_NEGATIVE;
        if (range.accepts)(rate) {
            return Ok(rate);
        }
        Err(Error::invalid(format!(
            "the scheduler '{}' gives the rate {rate:?} at step {global_step} for learning_rate \
             {base:?}; {} is needed",
            scheduler.name(),
            range.words
        )))
    }

    /// Applies one gradient to one row in place. `row` has [`Optimizer::row_len`] floats for
    /// `gradient.len()` weights; `t` >= 1 counts the row's own updates, this one included.
    pub fn step(&self, row: &mut [f32], gradient: &[f32], rate: f64, t: u64) {
        debug_assert_eq!(row.len(), self.row_len(gradient.len()));
        self.rule.step(row, gradient, rate, t);
    }
}

impl std::fmt::Debug for Optimizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Optimizer({}, {})", self.name, self.params.to_json())
    }
}
