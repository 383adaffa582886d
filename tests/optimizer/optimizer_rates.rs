//! Learning rates that change while training, and gradients that break optimizers: zero, tiny,
//! huge, late.

use std::sync::Arc;

use damo::optimizer::Optimizer;
use damo::params::Params;
use damo::scheduler::Scheduler;

fn params<const N: usize>(values: [(&str, f64); N]) -> Params {
    values.into_iter().fold(Params::new(), |bag, (key, value)| bag.with(key, value).unwrap())
}

fn build<const N: usize>(name: &str, values: [(&str, f64); N]) -> Optimizer {
    Optimizer::new(name, &params(values), None).unwrap()
}

fn fresh_row(optimizer: &Optimizer, weights: &[f32]) -> Vec<f32> {
    let mut row = weights.to_vec();
    row.resize(optimizer.row_len(weights.len()), 0.0);
    row
}

/// A row of one weight, 1/4, that has had three gradients.
fn trained_row(optimizer: &Optimizer) -> Vec<f32> {
    let mut row = fresh_row(optimizer, &[0.25]);
    for (gradient, t) in [0.5, -0.25, 1.0].into_iter().zip(1..) {
        optimizer.step(&mut row, &[gradient], optimizer.learning_rate(), t);
    }
    row
}

/// The distance that one more gradient moves the weight, at the optimizer's current rate.
fn displacement(optimizer: &Optimizer, row: &[f32]) -> f32 {
    let mut row = row.to_vec();
    let before = row[0];
    optimizer.step(&mut row, &[0.5], optimizer.rate(3).unwrap(), 4);
    row[0] - before
}

/// The optimizers that take steps.
fn stepping() -> impl Iterator<Item = &'static str> {
    Optimizer::names().into_iter().filter(|name| *name != "none")
}

#[test]
fn a_rate_set_at_run_time_scales_the_next_step_of_every_optimizer() {
    for name in stepping() {
        let optimizer = build(name, [("gamma", 0.125)]);
        let row = trained_row(&optimizer);
        let step = displacement(&optimizer, &row);
        optimizer.set_learning_rate(0.25).unwrap();
        assert_eq!(optimizer.learning_rate(), 0.25);
        let ratio = displacement(&optimizer, &row) / step;
        assert!(
            step < -0.01 && (ratio - 2.0).abs() < 1e-5,
            "{name}: {step}, then {ratio} times as far"
        );
    }
}

#[test]
fn rates_that_are_no_rates_are_refused_and_change_nothing() {
    let optimizer = build("adam", [("gamma", 0.125)]);
    for rate in [-0.1, 1e39, f64::NAN, f64::INFINITY] {
        let error = optimizer.set_learning_rate(rate).unwrap_err();
        let expected =
            format!("learning_rate is {rate:?}; a number >= 0 that float32 can hold is needed");
        assert_eq!(error.message(), expected);
    }
    assert_eq!(optimizer.learning_rate(), 0.125);
}

#[test]
fn a_scheduler_scales_whatever_the_rate_was_set_to() {
    let halving = params([("decay_rate", 0.5)]).with("decay_steps", 100i64).unwrap();
    let scheduler = Arc::new(Scheduler::new("exponential_decay", &halving).unwrap());
    for name in stepping() {
        let bag = params([("learning_rate", 0.5)]);
        let optimizer = Optimizer::new(name, &bag, Some(Arc::clone(&scheduler))).unwrap();
        assert_eq!(
            [0, 100, 200].map(|step| optimizer.rate(step).unwrap()),
            [0.5, 0.25, 0.125],
            "{name}"
        );
        optimizer.set_learning_rate(2.0).unwrap();
        assert_eq!(optimizer.rate(100).unwrap(), 1.0, "{name}");
        assert_eq!(
            optimizer.learning_rate(),
            2.0,
            "{name}: the base rate is not the scheduled one"
        );
    }
}

#[test]
fn a_rate_of_zero_leaves_weights_as_they_are() {
    for name in stepping() {
        let optimizer = build(name, [("gamma", 0.1)]);
        let fresh = fresh_row(&optimizer, &[0.25]);
        let trained = trained_row(&optimizer);
        optimizer.set_learning_rate(0.0).unwrap();
        assert_eq!(displacement(&optimizer, &fresh), 0.0, "{name}");
        assert_eq!(displacement(&optimizer, &trained), 0.0, "{name}");
    }
}

/// Otherwise a warmup would multiply every weight by the ratio of the rates: see
/// src/optimizer/ftrl.rs.
#[test]
fn ftrl_without_regularisation_is_adagrad_at_any_rate() {
    let warmup = params([])
        .with("decay_steps", 50i64)
        .and_then(|bag| bag.with("warmup_steps", 50i64))
        .unwrap();
    let scheduler = Arc::new(Scheduler::new("cosine_decay", &warmup).unwrap());
    let bag = params([("gamma", 0.1)]);
    let ftrl = Optimizer::new("ftrl", &bag, Some(Arc::clone(&scheduler))).unwrap();
    let adagrad =
        Optimizer::new("adagrad", &bag.with("epsilon", 0.0).unwrap(), Some(scheduler)).unwrap();

    let weights = [0.75, -0.5, 0.25];
    let (mut a, mut b) = (fresh_row(&ftrl, &weights), fresh_row(&adagrad, &weights));
    // At step 0 the rate is 0: ftrl skips the step, adagrad counts it.
    for t in 1..100 {
        let gradient = [1.0, -2.0, 3.0].map(|x: f32| (x * t as f32).sin());
        ftrl.step(&mut a, &gradient, ftrl.rate(t).unwrap(), t as u64);
        adagrad.step(&mut b, &gradient, adagrad.rate(t).unwrap(), t as u64);
    }
    for (a, b) in a[..3].iter().zip(&b[..3]) {
        assert!((a - b).abs() <= 1e-6, "ftrl {a}, adagrad {b}");
    }
}

#[test]
fn ftrl_goes_on_from_where_it_is_when_the_rate_changes() {
    let regularised = [("alpha", 0.1), ("beta", 1.0), ("lambda1", 0.01), ("lambda2", 0.5)];
    let optimizer = build("ftrl", regularised);
    let mut row = trained_row(&optimizer);
    let before = row[0];
    for rate in [0.1, 0.01, 10.0, 1e-20, 0.3] {
        optimizer.step(&mut row, &[0.0], rate, 4);
        assert_eq!(row[0], before, "rate {rate}");
    }
}

/// w = -(z - lambda1) / ((beta + sqrt(n)) / alpha + lambda2) with z = 2, n = 4.
#[test]
fn ftrl_by_hand() {
    let optimizer =
        build("ftrl", [("alpha", 0.5), ("beta", 1.0), ("lambda1", 1.0), ("lambda2", 0.5)]);
    let mut row = fresh_row(&optimizer, &[0.0]);
    optimizer.step(&mut row, &[2.0], 0.5, 1);
    assert_eq!(row, [-1.0 / 6.5, 2.0, 4.0]);
    // Gradients that cancel bring z below lambda1, and the weight to exactly zero.
    optimizer.step(&mut row, &[-2.0], 0.5, 2);
    assert_eq!(row[0], 0.0);
}

#[test]
fn ftrl_with_l1_keeps_noise_at_exactly_zero() {
    let optimizer = build("ftrl", [("alpha", 0.1), ("lambda1", 1.0)]);
    let mut row = fresh_row(&optimizer, &[0.0, 0.0]);
    for t in 1..=100 {
        let noise = if t % 2 == 0 { 0.5 } else { -0.5 };
        optimizer.step(&mut row, &[noise, 0.5], 0.1, t);
        assert_eq!(row[0], 0.0, "after {t} gradients that cancel");
    }
    assert!(row[1] < -0.5, "a weight that is needed is used: {}", row[1]);
}

#[test]
fn a_gradient_of_zero_moves_no_fresh_weight() {
    for name in stepping() {
        for zero in [0.0, -0.0] {
            let optimizer =
                if name == "ftrl" { build(name, []) } else { build(name, [("lambda", 0.0)]) };
            let mut row = fresh_row(&optimizer, &[0.25, -0.25]);
            optimizer.step(&mut row, &[zero, zero], 0.1, 1);
            // In FTRL the gradients alone make the weight: without any it is zero.
            let expected = if name == "ftrl" { [0.0, 0.0] } else { [0.25, -0.25] };
            assert_eq!(row[..2], expected, "{name}");
            assert!(row[2..].iter().all(|float| *float == 0.0), "{name}: {row:?}");
        }
    }
}

#[test]
fn epsilon_zero_never_gives_nan() {
    for name in ["adagrad", "rowwise_adagrad", "adam", "amsgrad", "adamw"] {
        let optimizer = build(name, [("epsilon", 0.0), ("lambda", 0.0)]);
        let mut row = fresh_row(&optimizer, &[0.25; 5]);
        for t in 1..=3 {
            optimizer.step(&mut row, &[0.0; 5], 0.1, t);
        }
        assert_eq!(row[..5], [0.25; 5], "{name}: 0 / 0 is no step");
        // The square of 1e-30 is zero in float32, and 1e-30 / 0 would be infinite.
        optimizer.step(&mut row, &[1e-30; 5], 0.1, 4);
        assert_eq!(row[..5], [0.25; 5], "{name}");
    }
}

/// Squares overflow from 1.8e19 on. Such a row learns no more, but nothing becomes NaN.
#[test]
fn finite_gradients_never_give_nan() {
    for name in stepping() {
        let optimizer = build(name, []);
        for gradients in [
            [1e30, 1.0, -1e30],
            [0.5, 1e30, 1e30],
            [1e-30, 1e20, 0.0],
            [0.5, -1e-30, f32::MIN_POSITIVE],
        ] {
            let mut row = fresh_row(&optimizer, &[0.25; 5]);
            for (gradient, t) in gradients.into_iter().zip(1..) {
                optimizer.step(&mut row, &[gradient; 5], optimizer.learning_rate(), t);
                assert!(row[..5].iter().all(|w| w.is_finite()), "{name} {gradients:?}: {row:?}");
                assert!(!row.iter().any(|float| float.is_nan()), "{name} {gradients:?}: {row:?}");
            }
        }
    }
}

/// `t` counts the row's own updates: a key that first comes after a thousand steps of training
/// takes a full first step.
#[test]
fn a_late_row_gets_the_bias_correction_of_a_first_step() {
    for name in ["adam", "amsgrad", "adamw"] {
        let optimizer = build(name, [("lambda", 0.0)]);
        let first_step = |t| {
            let mut row = fresh_row(&optimizer, &[0.0]);
            optimizer.step(&mut row, &[0.5], 1e-3, t);
            row[0]
        };
        assert!((first_step(1) + 1e-3).abs() < 1e-9, "{name}: {}", first_step(1));
        // With the group's step as `t`: m is a tenth of g, sqrt(v) a thirtieth, and 0.8 of v is
        // there.
        assert!(
            (first_step(1000) / first_step(1) - 2.514).abs() < 1e-3,
            "{name}: {}",
            first_step(1000)
        );
    }
}

#[test]
fn a_schedule_that_grows_beyond_float32_is_an_error_and_not_infinite_weights() {
    let bag =
        Params::new().with("decay_steps", 1i64).and_then(|p| p.with("decay_rate", 10i64)).unwrap();
    let growing = Scheduler::new("exponential_decay", &bag).unwrap();
    let sgd = Optimizer::new("sgd", &Params::new(), Some(growing.into())).unwrap();
    assert_eq!(sgd.rate(3).unwrap(), 1.0);
    let error = sgd.rate(1000).unwrap_err();
    assert!(
        error.message().contains("'exponential_decay' gives the rate inf at step 1000"),
        "{error}"
    );
}
