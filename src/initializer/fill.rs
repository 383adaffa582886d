//! How a kind of initializer fills a row, and the random stream of a row.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The random stream of one row. ChaCha's output is fixed by its definition, so rows do not change
/// with releases.
pub(super) type Stream = ChaCha8Rng;

/// How one kind fills a row.
pub(super) enum Fill {
    /// Every weight the same.
    Constant(f32),
    /// A draw from the row's own stream.
    Random(Box<dyn Draw>),
}

/// A distribution over rows.
pub(super) trait Draw: Send + Sync {
    /// Draws all weights of a row from its stream.
    fn draw(&self, stream: &mut Stream, weights: &mut [f32]);
}

/// The stream of a row: ChaCha8 keyed with the row's identity, so that different rows get unrelated
/// streams.
///
/// The layout of the key is part of what a stored table means (docs/formats.md): changing it
/// changes every row that has not been trained.
pub(super) fn stream(seed: i64, group: u16, key: i64) -> Stream {
    let mut identity = *b"........damo row........v1......";
    identity[0..8].copy_from_slice(&seed.to_le_bytes());
    identity[16..24].copy_from_slice(&key.to_le_bytes());
    identity[26..28].copy_from_slice(&group.to_le_bytes());
    ChaCha8Rng::from_seed(identity)
}
