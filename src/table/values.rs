//! How the weights of a row are stored: as float32, as IEEE half precision, or as bytes with a
//! scale and a bias per row.

use super::half::{from_half, to_half};
use crate::error::{Error, Result};

/// The type in which weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// Bit for bit.
    Float32,
    /// Rounded to the nearest half, ties to even. A float that would overflow becomes the largest
    /// half, 65504, with its sign.
    Float16,
    /// `bias + scale * byte`, with a scale and a bias for each row, as FBGEMM's row-wise 8 bits.
    /// Floats beyond 1.7e38 become 1.7e38; a row with a NaN or an infinity becomes all NaN.
    Int8,
}

impl ValueType {
    const ALL: [(ValueType, &'static str); 3] = [
        (ValueType::Float32, "float32"),
        (ValueType::Float16, "float16"),
        (ValueType::Int8, "int8"),
    ];

    /// The name in parameters.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    /// The type of this name.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` listing the known names.
    pub fn from_name(name: &str) -> Result<ValueType> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name).map(|(known, _)| *known);
        let list = || Self::ALL.map(|(_, name)| format!("'{name}'")).join(", ");
        found.ok_or_else(|| {
            Error::invalid(format!("value_type is '{name}'; one of {} is needed", list()))
        })
    }

    /// The code in the header of a file.
    pub(super) fn code(self) -> u32 {
        match self {
            ValueType::Float32 => 1,
            ValueType::Float16 => 2,
            ValueType::Int8 => 3,
        }
    }

    pub(super) fn from_code(code: u32) -> Option<ValueType> {
        Self::ALL.iter().map(|(known, _)| *known).find(|known| known.code() == code)
    }

    /// Bytes of the weights of a row.
    pub(super) fn bytes(self, dim: usize) -> usize {
        match self {
            ValueType::Float32 => 4 * dim,
            ValueType::Float16 => 2 * dim,
            ValueType::Int8 => 8 + dim,
        }
    }
}

/// One way of storing weights. `bytes` and `weights` always have lengths that fit, as
/// `ValueType::bytes` computes them.
pub(super) trait Values {
    /// Returns how many weights did not fit and were saturated.
    fn encode(weights: &[f32], bytes: &mut [u8]) -> u64;
    fn decode(bytes: &[u8], weights: &mut [f32]);
}

pub(super) struct Float32;
pub(super) struct Float16;
pub(super) struct Int8;

impl Values for Float32 {
    #[inline(always)]
    fn encode(weights: &[f32], bytes: &mut [u8]) -> u64 {
        let (bytes, _) = bytes.as_chunks_mut();
        bytes.iter_mut().zip(weights).for_each(|(bytes, weight)| *bytes = weight.to_le_bytes());
        0
    }

    #[inline(always)]
    fn decode(bytes: &[u8], weights: &mut [f32]) {
        let (bytes, _) = bytes.as_chunks();
        weights
            .iter_mut()
            .zip(bytes)
            .for_each(|(weight, bytes)| *weight = f32::from_le_bytes(*bytes));
    }
}

impl Values for Float16 {
    #[inline(always)]
    fn encode(weights: &[f32], bytes: &mut [u8]) -> u64 {
        let (bytes, _) = bytes.as_chunks_mut();
        let mut saturated = 0;
        for (bytes, weight) in bytes.iter_mut().zip(weights) {
            let (half, is_saturated) = to_half(*weight);
            *bytes = half.to_le_bytes();
            saturated += u32::from(is_saturated);
        }
        u64::from(saturated)
    }

    #[inline(always)]
    fn decode(bytes: &[u8], weights: &mut [f32]) {
        let (bytes, _) = bytes.as_chunks();
        weights
            .iter_mut()
            .zip(bytes)
            .for_each(|(weight, bytes)| *weight = from_half(u16::from_le_bytes(*bytes)));
    }
}

/// Maps a float to its place among all floats: negative NaN, -infinity, ..., -0, 0, ..., infinity,
/// NaN.
#[inline(always)]
fn ordered(float: f32) -> i32 {
    let bits = float.to_bits() as i32;
    bits ^ ((bits >> 31) & i32::MAX)
}

/// The inverse of [`ordered`].
#[inline(always)]
fn float_of(ordered: i32) -> f32 {
    f32::from_bits((ordered ^ ((ordered >> 31) & i32::MAX)) as u32)
}

/// `Int8` stores larger floats as this: the range of a row must be a float, or reading it would
/// overflow.
const LARGEST_INT8: f32 = 1.7e38;
/// The range of scales in which the arithmetic of a row stays within the normal floats.
const PLAIN_SCALES: std::ops::Range<f32> = 1e-30..1e30;

impl Values for Int8 {
    #[inline(always)]
    fn encode(weights: &[f32], bytes: &mut [u8]) -> u64 {
        // Compared as integers, whose minimum and maximum do not depend on the order, so that the
        // loop vectorises.
        let bounds = weights.iter().fold((i32::MAX, i32::MIN), |(low, high), weight| {
            let ordered = ordered(*weight);
            (low.min(ordered), high.max(ordered))
        });
        let is_finite = bounds.0 > ordered(f32::NEG_INFINITY) && bounds.1 < ordered(f32::INFINITY);
        let (low, high) = (float_of(bounds.0), float_of(bounds.1));
        let is_saturated = is_finite && low.abs().max(high.abs()) > LARGEST_INT8;
        let [low, high] = [low, high].map(|bound| bound.clamp(-LARGEST_INT8, LARGEST_INT8));
        let scale = ((f64::from(high) - f64::from(low)) / 255.0) as f32;
        let (scale, bias) = if is_finite { (scale, low) } else { (0.0, f32::NAN) };
        let Some((head, bytes)) = bytes.split_first_chunk_mut::<8>() else { return 0 };
        let (scale_bytes, bias_bytes) = (scale.to_le_bytes(), bias.to_le_bytes());
        head[..4].copy_from_slice(&scale_bytes);
        head[4..].copy_from_slice(&bias_bytes);
        if PLAIN_SCALES.contains(&scale) && !is_saturated {
            let inverse = 1.0 / scale;
            for (byte, weight) in bytes.iter_mut().zip(weights) {
                *byte = ((*weight - low) * inverse + 0.5).min(255.0) as i32 as u8;
            }
            return 0;
        }
        let inverse = if is_finite && scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
        for (byte, weight) in bytes.iter_mut().zip(weights) {
            *byte = ((f64::from(*weight) - f64::from(low)) * inverse + 0.5) as u8;
        }
        let saturated =
            weights.iter().filter(|weight| is_saturated && weight.abs() > LARGEST_INT8).count();
        saturated as u64
    }

    #[inline(always)]
    fn decode(bytes: &[u8], weights: &mut [f32]) {
        let Some((head, bytes)) = bytes.split_first_chunk::<8>() else { return };
        let head = u64::from_le_bytes(*head);
        let (scale, bias) = (f32::from_bits(head as u32), f32::from_bits((head >> 32) as u32));
        weights
            .iter_mut()
            .zip(bytes)
            .for_each(|(weight, byte)| *weight = f32::from(*byte) * scale + bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_for_int8_becomes_the_largest() {
        const L: f32 = LARGEST_INT8;
        let below = f32::from_bits(L.to_bits() - 1);
        for (weights, expected, saturated) in [
            ([2.0e38, 3.0e38], [L, L], 2),
            ([-2.0e38, -f32::MAX], [-L, -L], 2),
            ([f32::MAX, 1.8e38], [L, L], 2),
            ([-f32::MAX, f32::MAX], [-L, L], 2),
            ([1.0e38, f32::MAX], [1.0e38, L], 1),
            ([below, 3.0e38], [below, L], 1),
            ([L, L], [L, L], 0),
        ] {
            let mut bytes = [0; 10];
            assert_eq!(Int8::encode(&weights, &mut bytes), saturated, "{weights:?}");
            let mut read = [0.0; 2];
            Int8::decode(&bytes, &mut read);
            for (read, expected) in read.into_iter().zip(expected) {
                assert!((read - expected).abs() <= expected.abs() / 4e6, "{weights:?}: {read}");
                assert_eq!(read.signum(), expected.signum(), "{weights:?}");
            }
        }
    }
}
