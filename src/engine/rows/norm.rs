//! How large floats are, and making them smaller.

/// The sum of the squares of finite floats, and the largest absolute value. Eight lanes, so that
/// the compiler makes vectors of them.
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

/// Multiplies floats by a factor, unless it is 1.
pub(super) fn scale(floats: &mut [f32], factor: f32) {
    if factor != 1.0 {
        floats.iter_mut().for_each(|float| *float *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::measure;

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
}
