//! The option that says what is done with a call which has wrong gradients.

use crate::error::Result;
use crate::params::ParamReader;

/// What is done with a call that has a gradient, or a sum of gradients, which is NaN, infinite or
/// too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// The call is refused.
    #[default]
    Refuse,
    /// The call succeeds, and changes nothing.
    Skip,
}

const NON_FINITE: [(&str, NonFinite); 2] =
    [("refuse", NonFinite::Refuse), ("skip", NonFinite::Skip)];

impl NonFinite {
    /// Reads the option non_finite; None when it is not given.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for another word.
    pub fn read(reader: &mut ParamReader<'_>) -> Result<Option<NonFinite>> {
        let chosen = reader.choice_if_set("non_finite", &NON_FINITE.map(|(word, _)| word))?;
        Ok(chosen.map(|index| NON_FINITE[index].1))
    }
}
