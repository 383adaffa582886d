//! Initializers: the weights of a row that nobody has trained yet.
//!
//! A random row is a pure function of (seed, group, key). It is the same whatever the batch,
//! thread, machine or order, so a row that was never trained need not be stored to be found again.
//! Each kind has a file; this one has their names.

mod constant;
mod random_normal;
mod random_uniform;
mod truncate_normal;
mod xavier_uniform;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};
use crate::params::{Params, Reader, quoted};

/// The random stream of one row. ChaCha's output is fixed by its definition, so rows do not change
/// with releases.
type Stream = ChaCha8Rng;

/// How one kind fills a row.
enum Fill {
    /// Every weight the same.
    Constant(f32),
    /// A draw from the row's own stream.
    Random(Box<dyn Draw>),
}

/// A distribution over rows.
pub(crate) trait Draw: Send + Sync {
    fn draw(&self, stream: &mut Stream, weights: &mut [f32]);
}

type Build = fn(&mut Reader<'_>) -> Result<Fill>;

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
        let canonical =
            ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, target)| target);
        let Some((name, build)) = INITIALIZERS.iter().find(|(known, _)| *known == canonical) else {
            return Err(Error::invalid(format!(
                "name '{name}' is not an initializer; known are {} (aliases {})",
                quoted(&Initializer::names()),
                quoted(&ALIASES.map(|(alias, _)| alias)),
            )));
        };
        let mut reader = params.reader(format!("initializer '{name}'"));
        let fill = build(&mut reader)?;
        let seed = match fill {
            Fill::Constant(_) => 0,
            Fill::Random(_) => reader.int("seed", 0, i64::MIN, i64::MAX)?,
        };
        reader.finish()?;
        Ok(Initializer { name, params: params.clone(), seed, fill })
    }

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

/// The stream of a row: ChaCha8 keyed with the row's identity, so that different rows get unrelated
/// streams.
///
/// The layout of the key is part of what a stored table means (docs/formats.md): changing it
/// changes every row that has not been trained.
fn stream(seed: i64, group: u16, key: i64) -> Stream {
    let mut identity = *b"........damo row........v1......";
    identity[0..8].copy_from_slice(&seed.to_le_bytes());
    identity[16..24].copy_from_slice(&key.to_le_bytes());
    identity[26..28].copy_from_slice(&group.to_le_bytes());
    ChaCha8Rng::from_seed(identity)
}

/// The parameters of a normal distribution.
fn mean_and_stddev(reader: &mut Reader<'_>) -> Result<(f32, f32)> {
    use crate::params::FloatRange;
    let mean = reader.float(&["mean"], 0.0, FloatRange::FLOAT32)?;
    let stddev = reader.float(&["stddev"], 1.0, FloatRange::FLOAT32_NOT_NEGATIVE)?;
    Ok((mean as f32, stddev as f32))
}
