//! IEEE 754 half precision: 1 sign bit, 5 bits of exponent, 10 of mantissa. The code has no
//! branches, so that loops vectorise.

const INFINITY: u32 = 0x7f80_0000;
/// 65520, halfway between the largest half, 65504, and 65536: from here on rounding overflows.
const TOO_LARGE: u32 = 0x477f_f000;
/// 2^-14: smaller floats are subnormal halves.
const SMALLEST_NORMAL: u32 = 113 << 23;
const LARGEST_HALF: u32 = 0x7bff;

/// The nearest half, ties to even, and whether the float was finite and too large for one.
#[inline(always)]
pub(super) fn to_half(float: f32) -> (u16, bool) {
    let bits = float.to_bits();
    let (sign, size) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
    // Adding 0.5, whose last place is 2^-24 as a subnormal half's, makes the processor round to
    // that place.
    let subnormal = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(126 << 23);
    let normal =
        size.wrapping_add((15_u32.wrapping_sub(127) << 23) + 0xfff + (size >> 13 & 1)) >> 13;
    let is_saturated = (TOO_LARGE..INFINITY).contains(&size);
    let half = if size < SMALLEST_NORMAL { subnormal } else { normal };
    let half = if size >= TOO_LARGE { LARGEST_HALF } else { half };
    let half = if size >= INFINITY { 0x7c00 } else { half };
    let half = if size > INFINITY { 0x7e00 } else { half };
    ((half | sign) as u16, is_saturated)
}

/// Exact: every half is a float.
#[inline(always)]
pub(super) fn from_half(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let shifted = u32::from(half & 0x7fff) << 13;
    let exponent = shifted & (0x7c00 << 13);
    let normal = shifted + ((127 - 15) << 23);
    let infinite = normal + ((128 - 16) << 23);
    // A subnormal: its mantissa with the exponent of 2^-14, minus 2^-14.
    let subnormal =
        (f32::from_bits(normal + (1 << 23)) - f32::from_bits(SMALLEST_NORMAL)).to_bits();
    let bits = if exponent == 0 { subnormal } else { normal };
    let bits = if exponent == 0x7c00 << 13 { infinite } else { bits };
    f32::from_bits(bits | sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a half by its definition.
    fn defined(half: u16) -> f64 {
        let (exponent, mantissa) = (i32::from(half >> 10 & 31), f64::from(half & 0x3ff));
        let size = match exponent {
            0 => mantissa * 2f64.powi(-24),
            31 if mantissa == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1024.0 + mantissa) * 2f64.powi(exponent - 25),
        };
        if half & 0x8000 == 0 { size } else { -size }
    }

    #[test]
    fn every_half_is_read_as_defined_and_written_back_as_it_was() {
        for half in 0..=u16::MAX {
            let float = from_half(half);
            if defined(half).is_nan() {
                assert!(float.is_nan());
                assert_eq!(to_half(float), (0x7e00 | half & 0x8000, false));
            } else {
                assert_eq!(f64::from(float), defined(half), "{half:#x}");
                assert_eq!(float.is_sign_negative(), half & 0x8000 != 0);
                assert_eq!(to_half(float), (half, false));
            }
        }
    }

    #[test]
    fn floats_between_two_halves_go_to_the_nearer_and_ties_to_the_even() {
        for half in 0..0x7bff_u16 {
            let (low, high) = (defined(half), defined(half + 1));
            let middle = ((low + high) / 2.0) as f32;
            let even = half + (half & 1);
            for (float, expected) in [
                (middle, even),
                (f32::from_bits(middle.to_bits() - 1), half),
                (f32::from_bits(middle.to_bits() + 1), half + 1),
            ] {
                assert_eq!(to_half(float), (expected, false), "{float:e}");
                assert_eq!(to_half(-float), (expected | 0x8000, false), "-{float:e}");
            }
        }
    }

    #[test]
    fn what_is_too_large_becomes_the_largest_and_infinity_stays() {
        assert_eq!(to_half(65519.996), (0x7bff, false));
        assert_eq!(to_half(65520.0), (0x7bff, true));
        assert_eq!(to_half(-1e38), (0xfbff, true));
        assert_eq!(to_half(f32::INFINITY), (0x7c00, false));
        assert_eq!(to_half(f32::NEG_INFINITY), (0xfc00, false));
        assert_eq!(to_half(f32::from_bits(1)), (0, false));
    }
}
