//! What a call gets: keys, and gradients for them.

use super::part::Duplicates;

/// The keys of a call, in the caller's order.
#[derive(Clone, Copy, Debug)]
pub struct KeyBatch<'a> {
    /// The keys, in the caller's order.
    pub keys: &'a [i64],
    /// A key that never has a row.
    pub padding: Option<i64>,
}

/// The gradients of a call.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// Whose rows these are for.
    pub batch: KeyBatch<'a>,
    /// `dim` floats a key.
    pub floats: &'a [f32],
    /// What is done with a key that is given more than once.
    pub duplicates: Duplicates,
}

impl<'a> KeyBatch<'a> {
    /// Keys of which none is the padding key.
    pub fn without_padding(keys: &'a [i64]) -> KeyBatch<'a> {
        KeyBatch { keys, padding: None }
    }
}
