//! How large floats are, and making them smaller.

/// The sum of the squares of finite floats.
pub(super) fn squares(floats: &[f32]) -> f64 {
    measure(floats).0
}

/// The sum of the squares of finite floats, and the largest absolute value. Eight lanes, so that
/// the compiler makes vectors of them.
// Where the largest value is not used, it is not computed.
#[inline(always)]
pub(super) fn measure(floats: &[f32]) -> (f64, f32) {
    const LANES: usize = 8;
    let (mut squares, mut largest) = ([0.0; LANES], [0.0; LANES]);
    let (chunks, rest) = floats.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            add(chunk[lane], &mut squares[lane], &mut largest[lane]);
        }
    }
    let (mut square, mut greatest) =
        (squares.iter().sum(), largest.iter().copied().fold(0.0, f32::max));
    rest.iter().for_each(|float| add(*float, &mut square, &mut greatest));
    (square, greatest)
}

#[inline(always)]
fn add(float: f32, square: &mut f64, largest: &mut f32) {
    let double = f64::from(float);
    *square += double * double;
    // f32::max would spend instructions on NaN.
    *largest = if float.abs() > *largest { float.abs() } else { *largest };
}

/// What torch's embedding_renorm_ adds to a norm before it divides by it.
const EPSILON: f64 = 1e-7;

/// Makes a row's weights smaller if their 2-norm is beyond a limit, as torch's embedding_renorm_
/// does. Weights that are not finite stay.
// Rows without a limit should not pay for its code.
#[inline(never)]
pub(super) fn limit_norm(weights: &mut [f32], max_norm: f64) {
    let norm = squares(weights).sqrt();
    if norm > max_norm && norm.is_finite() {
        scale(weights, (max_norm / (norm + EPSILON)) as f32);
    }
}

/// Multiplies floats by a factor, unless it is 1.
pub(super) fn scale(floats: &mut [f32], factor: f32) {
    if factor != 1.0 {
        floats.iter_mut().for_each(|float| *float *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_measured_whole() {
        for len in 0..40 {
            let floats: Vec<f32> =
                (0..len).map(|n| if n % 2 == 0 { n as f32 } else { -n as f32 }).collect();
            let squares: f64 = floats.iter().map(|float| f64::from(*float).powi(2)).sum();
            assert_eq!(measure(&floats), (squares, (len - 1).max(0) as f32), "{len}");
        }
        assert_eq!(measure(&[1e18, -1e-45]), (f64::from(1e18f32).powi(2), 1e18));
        assert_eq!(measure(&[-1e-45]).0.sqrt(), f64::from(1e-45f32));
    }

    #[test]
    fn weights_come_within_the_limit_and_others_stay() {
        let limited = |weights: &[f32], max_norm| {
            let mut limited = weights.to_vec();
            limit_norm(&mut limited, max_norm);
            limited
        };
        assert_eq!(limited(&[3.0, -4.0], 5.0), [3.0, -4.0]);
        let half = limited(&[3.0, -4.0], 2.5);
        assert!((half[0] - 1.5).abs() < 1e-6 && (half[1] + 2.0).abs() < 1e-6, "{half:?}");
        assert_eq!(limited(&[0.0; 9], 1e-300), [0.0; 9]);
        assert_eq!(limited(&[f32::INFINITY, 1.0], 1.0), [f32::INFINITY, 1.0]);
        assert!(limited(&[f32::NAN, 1.0], 1.0)[0].is_nan());
        assert!((limited(&[f32::MAX; 16], 2.0)[3] - 0.5).abs() < 1e-6);
    }
}
