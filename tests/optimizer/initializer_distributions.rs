//! Random initializers draw from the distributions that they are named after. Each test takes 160
//! 000 draws with a fixed seed, so one that passes once always does.

use damo::initializer::Initializer;
use damo::params::Params;

const KEYS: i64 = 10_000;
const DIM: usize = 16;
const DRAWS: f64 = KEYS as f64 * DIM as f64;

/// The rows of the keys from 0 of group 3, concatenated.
fn draws(name: &str, json: &str) -> Vec<f64> {
    let params: Params = serde_json::from_str(json).unwrap();
    let initializer = Initializer::new(name, &params).unwrap();
    let mut weights = [0.0f32; DIM];
    let rows = (0..KEYS).flat_map(|key| {
        initializer.fill(3, key, &mut weights);
        weights
    });
    rows.map(f64::from).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn stddev(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, x| largest.max(x.abs()))
}

/// The Kolmogorov-Smirnov test: the largest distance between the draws' distribution function and
/// `cdf`. Draws from the distribution itself exceed 1.63 / sqrt(n) one time in a hundred.
fn assert_distributed(mut values: Vec<f64>, cdf: impl Fn(f64) -> f64) {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let distances = values.iter().enumerate().map(|(i, x)| {
        let expected = cdf(*x);
        (expected - i as f64 / n).abs().max((expected - (i + 1) as f64 / n).abs())
    });
    let distance = distances.fold(0.0, f64::max);
    assert!(distance < 1.63 / n.sqrt(), "the distance is {distance}");
}

/// The standard normal's distribution function, by Marsaglia's series (2004).
fn normal_cdf(x: f64) -> f64 {
    if x.abs() > 8.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut sum, mut term, mut divisor) = (x, x, 1.0);
    while term.abs() > 1e-17 {
        divisor += 2.0;
        term *= x * x / divisor;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[test]
fn the_reference_cdf_is_right() {
    // Known values: 68.27 % within one stddev, 95.45 % within two.
    for (x, expected) in [(0.0, 0.5), (1.0, 0.841_344_746_068_543), (-2.0, 0.022_750_131_948_179)] {
        assert!((normal_cdf(x) - expected).abs() < 1e-12, "{x}");
    }
}

#[test]
fn uniform_fills_its_interval_evenly() {
    let values = draws("random_uniform", r#"{"min": -0.5, "max": 1.5, "seed": 1}"#);
    assert!(values.iter().all(|x| (-0.5..=1.5).contains(x)));
    let width = 2.0;
    // Four standard errors.
    assert!((mean(&values) - 0.5).abs() < 4.0 * width / 12f64.sqrt() / DRAWS.sqrt());
    assert!((stddev(&values) - width / 12f64.sqrt()).abs() < 0.003);
    assert_distributed(values, |x| (x + 0.5) / width);
}

#[test]
fn uniform_is_between_minus_one_and_one_by_default() {
    let values = draws("random_uniform", "{}");
    assert!(largest(&values) <= 1.0 && largest(&values) > 0.9999);
    assert_distributed(values, |x| (x + 1.0) / 2.0);
}

#[test]
fn normal_has_its_mean_and_stddev() {
    let values = draws("random_normal", r#"{"mean": 0.25, "stddev": 0.05, "seed": 1}"#);
    assert!((mean(&values) - 0.25).abs() < 4.0 * 0.05 / DRAWS.sqrt());
    assert!((stddev(&values) - 0.05).abs() < 4.0 * 0.05 / (2.0 * DRAWS).sqrt());
    // 160 000 draws of a normal reach beyond four stddev and not beyond six.
    let far = largest(&values.iter().map(|x| (x - 0.25) / 0.05).collect::<Vec<_>>());
    assert!((4.0..6.0).contains(&far), "{far}");
    assert_distributed(values, |x| normal_cdf((x - 0.25) / 0.05));
}

#[test]
fn truncated_normal_is_redrawn_and_not_clamped() {
    let values = draws("truncate_normal", r#"{"stddev": 0.5, "seed": 1}"#);
    assert!(largest(&values) <= 1.0 && largest(&values) > 0.999);
    // Cut at 2, a standard normal has the variance 1 - 4 phi(2) / (2 Phi(2) - 1).
    assert!((stddev(&values) - 0.5 * 0.879_63).abs() < 0.002);
    assert!(mean(&values).abs() < 4.0 * 0.44 / DRAWS.sqrt());
    // Clamped values would pile up at the ends.
    let at_the_ends = values.iter().filter(|x| x.abs() == 1.0).count();
    assert!(at_the_ends <= 1, "{at_the_ends} at the ends");
    let (low, high) = (normal_cdf(-2.0), normal_cdf(2.0));
    assert_distributed(values, |x| (normal_cdf(x / 0.5) - low) / (high - low));
}

#[test]
fn truncated_normal_is_cut_around_its_mean() {
    let values = draws("truncate_normal", r#"{"mean": 8, "stddev": 0.25}"#);
    assert!(values.iter().all(|x| (7.5..=8.5).contains(x)));
    assert!((mean(&values) - 8.0).abs() < 4.0 * 0.22 / DRAWS.sqrt());
}

#[test]
fn xaviers_limit_is_that_of_the_rows_dim() {
    let values = draws("xavier_uniform", r#"{"seed": 1}"#);
    let limit = (3.0 / DIM as f64).sqrt();
    assert!(largest(&values) <= limit + 1e-7 && largest(&values) > 0.9999 * limit);
    assert_distributed(values, |x| (x + limit) / (2.0 * limit));

    let initializer = Initializer::new("xavier_uniform", &Params::new()).unwrap();
    for (dim, limit) in [(1, 3f32.sqrt()), (3, 1.0), (12, 0.5), (300, 0.1)] {
        let mut weights = vec![0.0; dim];
        let rows = (0..1000).flat_map(|key| {
            initializer.fill(0, key, &mut weights);
            weights.clone()
        });
        let largest = rows.fold(0.0, |largest: f32, w| largest.max(w.abs()));
        assert!(largest <= limit && largest > 0.99 * limit, "dim {dim}: {largest}");
    }
}

/// Keys are ids that count up: rows of adjacent keys must not resemble each other, nor the columns
/// of a row.
#[test]
fn neighbouring_rows_and_columns_are_uncorrelated() {
    for name in ["random_uniform", "random_normal"] {
        let values = draws(name, "{}");
        for distance in [1, DIM, 2 * DIM, 256 * DIM] {
            let products: Vec<f64> =
                values.iter().zip(&values[distance..]).map(|(a, b)| a * b).collect();
            let correlation = mean(&products) / stddev(&values).powi(2);
            assert!(
                correlation.abs() < 4.0 / DRAWS.sqrt(),
                "{name}, {distance} apart: {correlation}"
            );
        }
    }
}
