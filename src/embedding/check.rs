//! The checks that calls make before they change anything: lengths that fit together, floats that
//! rows may hold.

use super::Embedding;
use crate::error::{Error, Result};
use crate::limits;

impl Embedding {
    /// Refuses a buffer that does not hold `dim` floats a key.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming both lengths.
    pub fn check_floats(&self, argument: &str, given: usize, keys: usize) -> Result<()> {
        let dim = self.dim();
        limits::check_floats(argument, given, keys, dim, format_args!("dim {dim}"))
    }

    /// Refuses a buffer that does not hold whole rows.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming both lengths.
    pub(super) fn check_rows(&self, given: usize, keys: usize) -> Result<()> {
        let row_len = self.row_len();
        let per_key = format_args!("{row_len} floats of a row (weights and optimizer state)");
        limits::check_floats("rows", given, keys, row_len, per_key)
    }

    /// Refuses whole rows with a state that no gradients can lead to: the next step would make them
    /// NaN.
    pub(super) fn check_squares(&self, keys: &[i64], rows: &[f32]) -> Result<()> {
        let squares = self.table.optimizer().squares(self.dim());
        for (index, (key, row)) in keys.iter().zip(rows.chunks_exact(self.row_len())).enumerate() {
            if let Some(column) = squares.clone().find(|column| row[*column] < 0.0) {
                return Err(Error::invalid(format!(
                    "the row of key {key} (position {index}, column {column}) has {:?} for a sum \
                     or mean of squares in the state of {}; 0 or more is needed, and no row was \
                     changed",
                    row[column],
                    self.table.optimizer().name()
                )));
            }
        }
        Ok(())
    }
}

/// Refuses floats that are NaN or infinite. `what` they are, `width` of them a key.
pub(super) fn check_finite(
    what: &str,
    keys: &[i64],
    (floats, width): (&[f32], usize),
) -> Result<()> {
    for (index, (key, row)) in keys.iter().zip(floats.chunks_exact(width)).enumerate() {
        if !are_finite(row) {
            let column = row.iter().position(|float| !float.is_finite()).unwrap_or(0);
            return Err(Error::invalid(format!(
                "the {what} of key {key} (position {index}, column {column}) is {:?}; finite \
                 numbers are needed, and no row was changed",
                row[column]
            )));
        }
    }
    Ok(())
}

/// True when all floats are finite: a fold without early exit, which vectorises.
fn are_finite(floats: &[f32]) -> bool {
    floats.iter().fold(true, |all, float| all & float.is_finite())
}
