//! What a call gets: keys, and gradients for them.

use super::part::Duplicates;

/// The keys of a call, in the caller's order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyBatch<'a> {
    /// The keys, in the caller's order.
    pub(crate) keys: &'a [i64],
    /// A key that never has a row.
    pub(crate) padding: Option<i64>,
}

/// The gradients of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gradients<'a> {
    /// Whose rows these are for.
    pub(crate) batch: KeyBatch<'a>,
    /// `dim` floats a key.
    pub(crate) floats: &'a [f32],
    /// What is done with a key that is given more than once.
    pub(crate) duplicates: Duplicates,
}

impl<'a> KeyBatch<'a> {
    /// Keys of which none is the padding key.
    pub(crate) fn without_padding(keys: &'a [i64]) -> KeyBatch<'a> {
        KeyBatch { keys, padding: None }
    }
}
