//! Initializers: the weights of a row that nobody has trained yet.
//!
//! A random row is a pure function of (seed, group, key). It is the same whatever the batch,
//! thread, machine or order, so a row that was never trained need not be stored to be found again.
//! Each kind has a file; this one has their names.

mod constant;
mod fill;
mod normal;
mod random_normal;
mod random_uniform;
mod truncate_normal;
mod xavier_uniform;

use crate::error::Result;
use crate::params::{ParamReader, Params, find_name};
use fill::{Fill, stream};

type Build = fn(&mut ParamReader<'_>) -> Result<Fill>;

const INITIALIZERS: [(&str, Build); 7] = [
    ("zeros", |_| Ok(Fill::Constant(0.0))),
    ("ones", |_| Ok(Fill::Constant(1.0))),
    ("constant", constant::build),
    ("random_uniform", random_uniform::build),
    ("random_normal", random_normal::build),
    ("truncate_normal", truncate_normal::build),
    ("xavier_uniform", xavier_uniform::build),
];

const ALIASES: [(&str, &str); 4] = [
    ("uniform", "random_uniform"),
    ("normal", "random_normal"),
    ("truncated_normal", "truncate_normal"),
    ("xavier", "xavier_uniform"),
];

/// An initializer with its parameters; safe to use from any thread.
pub struct Initializer {
    name: &'static str,
    params: Params,
    seed: i64,
    fill: Fill,
}

impl Initializer {
    /// The names that [`Initializer::new`] accepts, without aliases.
    pub fn names() -> Vec<&'static str> {
        INITIALIZERS.iter().map(|(name, _)| *name).collect()
    }

    /// Builds an initializer by name. Every random one takes `seed` (int, default 0).
    ///
    /// # Errors
    /// An unknown name; a parameter that the initializer does not have or cannot accept.
    pub fn new(name: &str, params: &Params) -> Result<Initializer> {
        let index = find_name("an initializer", name, &Initializer::names(), &ALIASES)?;
        let (name, build) = INITIALIZERS[index];
        let mut reader = params.reader(format!("initializer '{name}'"));
        let fill = build(&mut reader)?;
        let seed = match fill {
            Fill::Constant(_) => 0,
            Fill::Random(_) => reader.int("seed", 0, i64::MIN, i64::MAX)?,
        };
        reader.finish()?;
        Ok(Initializer { name, params: params.clone(), seed, fill })
    }

    /// Its name, as in [`Initializer::names`].
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The parameters it was built with.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Writes the first weights of the row `key` of `group`.
    pub fn fill(&self, group: u16, key: i64, weights: &mut [f32]) {
        match &self.fill {
            Fill::Constant(value) => weights.fill(*value),
            Fill::Random(random) => random.draw(&mut stream(self.seed, group, key), weights),
        }
    }
}

impl std::fmt::Debug for Initializer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Initializer({}, {})", self.name, self.params.to_json())
    }
}
