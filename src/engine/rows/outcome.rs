//! How a call with gradients ends.

use std::sync::atomic::Ordering;

use super::non_finite::NonFinite;
use super::part::WrongFloat;
use crate::engine::Engine;
use crate::error::{Error, Result};

/// What became of a call with gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Applied {
    /// Its rows were stepped. It has the norm of all gradients, if that was measured.
    Done(Option<f64>),
    /// It had wrong gradients, and was skipped. Nothing has changed.
    Skipped,
    /// It is stored already, or a later call of its client. Nothing has changed.
    Stored,
}

/// Why a call ends before it changes rows.
pub(super) enum Stop {
    /// It has wrong gradients, and such calls are skipped.
    Skip,
    /// It is stored already.
    Stored,
    Error(Error),
}

/// What a call with gradients has made, or why it has ended.
pub(super) type OrStop<T> = std::result::Result<T, Stop>;

impl Stop {
    /// For gradients that could not be merged.
    pub(super) fn of(wrong: WrongFloat, non_finite: NonFinite) -> Stop {
        match wrong {
            WrongFloat::Float { .. } | WrongFloat::Sum(_) if non_finite == NonFinite::Skip => {
                Stop::Skip
            }
            wrong => Stop::Error(wrong.into()),
        }
    }

    /// The error, for a call that is never skipped.
    pub(super) fn into_error(self) -> Error {
        match self {
            Stop::Skip => Error::bug("a call was skipped that changes no rows"),
            Stop::Stored => Error::bug("a call is stored that changes no rows"),
            Stop::Error(error) => error,
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

/// Ends a call: counts it if it is skipped. `outcome` has the norm of all gradients, if it was
/// measured.
pub(super) fn applied(engine: &Engine, outcome: OrStop<Option<f64>>) -> Result<Applied> {
    match outcome {
        Ok(norm) => Ok(Applied::Done(norm)),
        Err(Stop::Skip) => {
            engine.counters.own().steps_skipped.fetch_add(1, Ordering::Relaxed);
            Ok(Applied::Skipped)
        }
        Err(Stop::Stored) => Ok(Applied::Stored),
        Err(Stop::Error(error)) => Err(error),
    }
}
