//! Learning-rate schedules: a rate as a function of a base rate and the group's global step.
//!
//! Formulas and parameter names are TensorFlow's (`tf.compat.v1.train.*_decay`), one file each.
//! This file has their names and the warmup that all of them share.

mod cosine_decay;
mod decay;
mod exponential_decay;
mod inverse_time_decay;
mod linear_cosine_decay;
mod natural_exp_decay;
mod polynomial_decay;

use crate::error::Result;
use crate::params::{ParamReader, Params, find_name};
use decay::Decay;

type Build = fn(&mut ParamReader<'_>) -> Result<Box<dyn Decay>>;

const SCHEDULERS: [(&str, Build); 6] = [
    ("exponential_decay", exponential_decay::build),
    ("polynomial_decay", polynomial_decay::build),
    ("natural_exp_decay", natural_exp_decay::build),
    ("inverse_time_decay", inverse_time_decay::build),
    ("cosine_decay", cosine_decay::build),
    ("linear_cosine_decay", linear_cosine_decay::build),
];

const ALIASES: [(&str, &str); 2] = [
    ("nature_exponential_decay", "natural_exp_decay"),
    ("liner_cosine_decay", "linear_cosine_decay"),
];

/// A schedule with its parameters; safe to use from any thread.
pub struct Scheduler {
    name: &'static str,
    params: Params,
    warmup_steps: i64,
    decay: Box<dyn Decay>,
}

impl Scheduler {
    /// The names that [`Scheduler::new`] accepts, without aliases.
    pub fn names() -> Vec<&'static str> {
        SCHEDULERS.iter().map(|(name, _)| *name).collect()
    }

    /// Builds a schedule by name.
    ///
    /// Every schedule takes `warmup_steps` (int >= 0, default 0): the rate climbs linearly from 0
    /// to the base rate over that many steps, and the decay starts counting after them, as in
    /// TensorFlow's `CosineDecay`.
    ///
    /// # Errors
    /// An unknown name; a parameter that the schedule does not have, lacks or cannot accept.
    pub fn new(name: &str, params: &Params) -> Result<Scheduler> {
        let index = find_name("a scheduler", name, &Scheduler::names(), &ALIASES)?;
        let (name, build) = SCHEDULERS[index];
        let mut reader = params.reader(format!("scheduler '{name}'"));
        let decay = build(&mut reader)?;
        let warmup_steps = reader.int("warmup_steps", 0, 0, i64::MAX)?;
        reader.finish()?;
        Ok(Scheduler { name, params: params.clone(), warmup_steps, decay })
    }

    /// The rate at `step`; a negative step counts as 0.
    pub fn rate(&self, learning_rate: f64, step: i64) -> f64 {
        let step = step.max(0);
        if step < self.warmup_steps {
            learning_rate * (step as f64 / self.warmup_steps as f64)
        } else {
            self.decay.rate(learning_rate, step - self.warmup_steps)
        }
    }

    /// Its name, as in [`Scheduler::names`].
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The parameters it was built with.
    pub fn params(&self) -> &Params {
        &self.params
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Scheduler({}, {})", self.name, self.params.to_json())
    }
}
