//! What a call gets: keys, and gradients for them.

use super::clip::Clip;
use super::non_finite::NonFinite;
use super::part::Duplicates;

/// The keys of a call, in the caller's order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyBatch<'a> {
    /// The keys, in the caller's order.
    pub(crate) keys: &'a [i64],
    /// A key that never has a row.
    pub(crate) padding: Option<i64>,
    /// How often each key occurs; None: once. What reads rows looks at it for statistics, and what
    /// changes them only for means of gradients.
    pub(crate) occurrences: Option<&'a [u32]>,
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
    /// The limits of the merged gradients.
    pub(crate) clip: Clip,
    /// What is done if some of them are wrong.
    pub(crate) non_finite: NonFinite,
}

impl<'a> KeyBatch<'a> {
    /// Keys of which none is the padding key.
    pub(crate) fn without_padding(keys: &'a [i64]) -> KeyBatch<'a> {
        KeyBatch { keys, padding: None, occurrences: None }
    }

    /// How often all keys occur together.
    pub(crate) fn count(&self) -> u64 {
        match self.occurrences {
            None => self.keys.len() as u64,
            Some(numbers) => numbers.iter().map(|number| u64::from(*number)).sum(),
        }
    }

    /// How often the keys at these positions occur together.
    pub(super) fn count_at(&self, positions: impl Iterator<Item = usize>) -> u64 {
        match self.occurrences {
            None => positions.count() as u64,
            Some(numbers) => positions.map(|position| u64::from(numbers[position])).sum(),
        }
    }

    /// The pieces of so many keys.
    pub(super) fn chunks(self, len: usize) -> impl Iterator<Item = KeyBatch<'a>> {
        let mut occurrences = self.occurrences.map(|numbers| numbers.chunks(len));
        self.keys.chunks(len).map(move |keys| {
            let occurrences = occurrences.as_mut().and_then(Iterator::next);
            KeyBatch { keys, occurrences, ..self }
        })
    }
}
