//! Sum gradients: the sums that apply_gradients steps with, for a caller that needs them earlier.

use super::clip::Clip;
use super::non_finite::NonFinite;
use super::norm::measure;
use super::outcome::Stop;
use super::part::{Duplicates, Part};
use super::{Gradients, OpenGroup};
use crate::engine::Engine;
use crate::error::Result;
use crate::memory::room_for;

/// What sum_gradients tells of a batch's sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summed {
    /// How many keys were written.
    pub keys: usize,
    /// The 2-norm of all sums together, added up in double precision.
    pub norm: f64,
    /// The largest absolute value among the sums.
    pub largest: f64,
}

/// One part and the pieces of the caller's buffers that it is copied into.
struct Copying<'a> {
    part: &'a Part,
    keys: &'a mut [i64],
    sums: &'a mut [f32],
    squares: f64,
    largest: f32,
}

impl OpenGroup {
    /// Writes each key except the padding key once into `summed_keys`, and the sum or mean of its
    /// gradients, `dim` floats, at the same index in `sums`. Both must have room for the whole
    /// batch. Looks at no row, and clips nothing.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for floats that are not gradients; `OUT_OF_MEMORY`. Nothing is written
    /// then.
    pub(crate) fn sum_gradients(
        &self,
        engine: &Engine,
        gradients: Gradients<'_>,
        (summed_keys, sums): (&mut [i64], &mut [f32]),
    ) -> Result<Summed> {
        let duplicates = match gradients.duplicates {
            Duplicates::Sequential | Duplicates::Sum => Duplicates::Sum,
            Duplicates::Mean => Duplicates::Mean,
        };
        let (clip, non_finite) = (Clip::default(), NonFinite::Refuse);
        let gradients = Gradients { duplicates, clip, non_finite, ..gradients };
        let dedup = self.merged_gradients(engine, gradients).map_err(Stop::into_error)?;
        let summed = self.copy_sums(engine, &dedup.parts, summed_keys, sums);
        self.kept.keep(dedup, false);
        summed
    }

    /// Copies the parts into the buffers, one after the other.
    fn copy_sums(
        &self,
        engine: &Engine,
        parts: &[Part],
        mut keys_left: &mut [i64],
        mut sums_left: &mut [f32],
    ) -> Result<Summed> {
        let mut copies = room_for(parts.len())?;
        let mut count = 0;
        for part in parts {
            let (keys, sums);
            (keys, keys_left) = keys_left.split_at_mut(part.keys.len());
            (sums, sums_left) = sums_left.split_at_mut(part.floats.len());
            count += keys.len();
            copies.push(Copying { part, keys, sums, squares: 0.0, largest: 0.0 });
        }
        let _call = engine.pool.begin_work(count);
        engine.pool.each(count, &mut copies, |copy| {
            copy.keys.copy_from_slice(&copy.part.keys);
            copy.sums.copy_from_slice(&copy.part.floats);
            (copy.squares, copy.largest) = measure(&copy.part.floats);
            Ok(())
        })?;
        // Added in the order of the parts, so that the norm does not depend on the threads.
        let squares: f64 = copies.iter().map(|copy| copy.squares).sum();
        let largest = copies.iter().fold(0.0, |largest, copy| copy.largest.max(largest));
        Ok(Summed { keys: count, norm: squares.sqrt(), largest: largest.into() })
    }
}
