//! Optimizers apart from their numbers (those are in optimizer_golden.rs): names, parameters, the
//! layout of a row, learning rates that change, gradients of zero, and values that a person can
//! work out by hand.

use damo::error::Status;
use damo::optimizer::Optimizer;
use damo::params::{Params, Value};

const ALL: [&str; 8] =
    ["sgd", "ftrl", "adagrad", "rowwise_adagrad", "adam", "amsgrad", "adamw", "lion"];

fn params<const N: usize>(values: [(&str, f64); N]) -> Params {
    values.into_iter().fold(Params::new(), |bag, (key, value)| bag.with(key, value).unwrap())
}

fn build<const N: usize>(name: &str, values: [(&str, f64); N]) -> Optimizer {
    Optimizer::new(name, &params(values), None).unwrap()
}

fn refusal(name: &str, params: &Params) -> String {
    let error = Optimizer::new(name, params, None).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    error.message().to_owned()
}

/// The row after these gradients, each at the optimizer's rate, from these weights and no state.
fn row_after(optimizer: &Optimizer, weights: &[f32], gradients: &[&[f32]]) -> Vec<f32> {
    let mut row = weights.to_vec();
    row.resize(optimizer.row_len(weights.len()), 0.0);
    for (gradient, t) in gradients.iter().zip(1..) {
        optimizer.step(&mut row, gradient, optimizer.rate(t as i64 - 1).unwrap(), t);
    }
    row
}

#[track_caller]
fn assert_close(actual: &[f32], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    for (a, b) in actual.iter().zip(expected) {
        assert!((f64::from(*a) - b).abs() <= 1e-6 * b.abs(), "{actual:?} is not {expected:?}");
    }
}

#[test]
fn there_are_eight_and_none_and_an_unknown_name_lists_them() {
    assert_eq!(Optimizer::names(), [&ALL[..], &["none"]].concat());
    assert_eq!(
        refusal("adamax", &Params::new()),
        "name 'adamax' is not an optimizer; known are 'sgd', 'ftrl', 'adagrad', \
         'rowwise_adagrad', 'adam', 'amsgrad', 'adamw', 'lion', 'none'"
    );
    assert!(refusal("Adam", &Params::new()).contains("'Adam'"), "names are lower case");
}

#[test]
fn the_learning_rate_goes_by_the_algorithms_name_and_by_learning_rate() {
    for name in ALL {
        let own: &[&str] = match name {
            "ftrl" => &["alpha", "gamma", "learning_rate"],
            "lion" => &["eta", "gamma", "learning_rate"],
            _ => &["gamma", "learning_rate"],
        };
        for alias in own {
            assert_eq!(build(name, [(alias, 0.125)]).learning_rate(), 0.125, "{name} {alias}");
        }
        let both = refusal(name, &params([("gamma", 0.1), ("learning_rate", 0.1)]));
        assert!(both.contains("both 'gamma' and 'learning_rate'"), "{both}");
    }
    assert!(refusal("adam", &params([("alpha", 0.1)])).contains("no parameter 'alpha'"));
    assert_eq!(
        build("adagrad", [("eta", 0.1)]).learning_rate(),
        1e-2,
        "adagrad's eta is not its rate"
    );
}

#[test]
fn an_unknown_parameter_lists_the_valid_ones() {
    assert_eq!(
        refusal("adam", &params([("momentum", 0.9)])),
        "optimizer 'adam' has no parameter 'momentum' (given 0.9); valid names are 'gamma', \
         'learning_rate', 'beta1', 'beta2', 'epsilon', 'lambda'"
    );
    assert_eq!(
        refusal("ftrl", &params([("lambda", 0.1)])),
        "optimizer 'ftrl' has no parameter 'lambda' (given 0.1); valid names are 'alpha', \
         'gamma', 'learning_rate', 'beta', 'lambda1', 'lambda2', 'initial_accumulator_value'"
    );
}

#[test]
fn values_out_of_range_are_refused_with_what_is_accepted() {
    let not_negative = "a number >= 0 that float32 can hold is needed";
    for name in ALL {
        for value in [-1e-9, 1e39] {
            let text = refusal(name, &params([("learning_rate", value)]));
            assert_eq!(
                text,
                format!(
                    "optimizer '{name}': parameter 'learning_rate' is {value:?} (float); \
                     {not_negative}"
                )
            );
        }
    }
    let not_negative_parameters = [
        ("ftrl", ["beta", "lambda1", "lambda2"].as_slice()),
        ("adagrad", &["lambda", "epsilon"]),
        ("rowwise_adagrad", &["lambda", "epsilon"]),
        ("adam", &["lambda", "epsilon"]),
        ("amsgrad", &["lambda", "epsilon"]),
        ("adamw", &["lambda", "epsilon"]),
        ("lion", &["lambda"]),
    ];
    for (name, keys) in not_negative_parameters {
        for key in keys {
            for value in [-0.5, 1e39] {
                let text = refusal(name, &params([(key, value)]));
                assert!(
                    text.contains(&format!("'{key}' is {value:?}")) && text.ends_with(not_negative),
                    "{text}"
                );
            }
        }
    }
    for (name, key) in
        ["adam", "amsgrad", "adamw", "lion"].map(|name| [(name, "beta1"), (name, "beta2")]).concat()
    {
        for value in [-0.1, 1.0] {
            let text = refusal(name, &params([(key, value)]));
            assert!(text.contains(&format!("'{key}' is {value:?}")), "{text}");
            assert!(text.ends_with("a number in [0, 1) is needed"), "{text}");
        }
    }
    let text = refusal("adam", &Params::new().with("gamma", "fast").unwrap());
    assert!(text.contains("'gamma' is \"fast\" (string)"), "{text}");
    let whole = Params::new().with("gamma", Value::Int(1)).unwrap();
    assert_eq!(
        Optimizer::new("sgd", &whole, None).unwrap().learning_rate(),
        1.0,
        "an int where a float is wanted"
    );
}

#[test]
fn a_row_is_the_weights_and_the_state() {
    let floats = |dim| ALL.map(|name| build(name, []).row_len(dim));
    //                      sgd ftrl adagrad rowwise adam amsgrad adamw lion
    assert_eq!(floats(1), [1, 3, 2, 2, 3, 4, 3, 2]);
    assert_eq!(floats(16), [16, 48, 32, 17, 48, 64, 48, 32]);
}

/// From a weight of 1 with a gradient of 1/2.
#[test]
fn first_steps_with_default_parameters() {
    let first = |name| row_after(&build(name, []), &[1.0], &[&[0.5]])[0];
    let by_hand = [
        1.0 - 1e-3 * 0.5,          // sgd
        1.0 - 5e-3,                // ftrl: alpha g / sqrt(g^2)
        1.0 - 1e-2,                // adagrad: gamma g / sqrt(g^2)
        1.0 - 1e-2,                // rowwise_adagrad
        1.0 - 1e-3,                // adam: bias corrections make m / sqrt(v) = g / |g|
        1.0 - 1e-3,                // amsgrad
        1.0 - 1e-3 * 1e-2 - 1e-3,  // adamw
        1.0 - 3e-4 * (1.0 + 1e-2), // lion
    ];
    assert_close(&ALL.map(first), &by_hand);
}

#[test]
fn state_comes_in_the_documented_order() {
    let row = |name| row_after(&build(name, []), &[0.0], &[&[0.5], &[0.25]])[1..].to_vec();
    let m = 0.9 * 0.05 + 0.1 * 0.25;
    let v = 0.999 * 0.00025 + 0.001 * 0.0625;
    assert!(row("sgd").is_empty());
    assert_close(&row("adagrad"), &[0.25 + 0.0625]);
    assert_close(&row("adam"), &[m, v]);
    assert_close(&row("adamw"), &[m, v]);
    assert_close(&row("lion"), &[0.99 * 0.005 + 0.01 * 0.25]);
    // z = 1/2 after one step, w = -alpha; then sigma = (sqrt(0.3125) - sqrt(0.25)) / alpha.
    assert_close(&row("ftrl"), &[0.5 + 0.25 + (0.3125f64.sqrt() - 0.5), 0.3125]);

    let rowwise = row_after(&build("rowwise_adagrad", []), &[0.0; 2], &[&[0.3, 0.4]]);
    assert_close(&rowwise[2..], &[(0.09 + 0.16) / 2.0]);

    // All m, then all v, then all v_max. The second gradient is so small that v falls and v_max
    // does not.
    let amsgrad = row_after(&build("amsgrad", []), &[0.0; 2], &[&[1.0, 2.0], &[0.0; 2]]);
    assert_close(&amsgrad[2..], &[0.09, 0.18, 0.000999, 0.003996, 0.001, 0.004]);
}

#[test]
fn decoupled_decay_shrinks_the_weight_and_l2_goes_through_the_gradient() {
    let after_zero = |name, rate| {
        row_after(&build(name, [("gamma", rate), ("lambda", 0.5)]), &[2.0], &[&[0.0]])[0]
    };
    let by_hand = [
        2.0 - 0.1 * 1.0,    // sgd: g = lambda w = 1
        2.0 - 0.1,          // adagrad: g / sqrt(g^2)
        2.0 - 0.1,          // rowwise_adagrad
        2.0 - 0.1,          // adam
        2.0 - 0.1,          // amsgrad
        2.0 * (1.0 - 0.05), // adamw: no gradient, no moments
        2.0 * (1.0 - 0.05), // lion: sign(0) = 0
    ];
    let names = ["sgd", "adagrad", "rowwise_adagrad", "adam", "amsgrad", "adamw", "lion"];
    assert_close(&names.map(|name| after_zero(name, 0.1)), &by_hand);
}

/// The loops work on several weights at once, and on the rest one by one: both must give the same
/// bits.
#[test]
fn a_weight_does_not_depend_on_its_place_in_the_row() {
    for name in ALL.into_iter().filter(|name| *name != "rowwise_adagrad") {
        let optimizer = build(name, [("gamma", 0.1)]);
        let weights: Vec<f32> = (0..13).map(|i| 0.3 - i as f32 / 10.0).collect();
        let gradient: Vec<f32> = (0..13).map(|i| (i as f32).sin()).collect();
        let row = row_after(&optimizer, &weights, &[gradient.as_slice(); 3]);
        for (i, (w, g)) in weights.iter().zip(&gradient).enumerate() {
            assert_eq!(
                row[i],
                row_after(&optimizer, &[*w], &[[*g].as_slice(); 3])[0],
                "{name} column {i}"
            );
        }
    }
}

#[test]
fn rowwise_adagrad_averages_over_the_whole_row() {
    for dim in [1usize, 7, 8, 9, 16, 19, 64] {
        let gradient: Vec<f32> = (1..=dim).map(|i| i as f32).collect();
        let row = row_after(&build("rowwise_adagrad", []), &vec![0.0; dim], &[&gradient]);
        // The mean of the first dim squares.
        assert_close(&row[dim..], &[(dim + 1) as f64 * (2 * dim + 1) as f64 / 6.0]);
    }
}

#[test]
fn none_has_the_state_it_is_told_and_takes_no_steps() {
    for (state, row_len) in [(0, 5), (1, 6), (32, 37)] {
        let bag = params([("initial_accumulator_value", 0.5)]).with("state", state).unwrap();
        let optimizer = Optimizer::new("none", &bag, None).unwrap();
        assert_eq!((optimizer.row_len(5), optimizer.squares(5).len()), (row_len, 0));
        let mut first = vec![9.0; row_len - 5];
        optimizer.begin(&mut first);
        assert_eq!(first, vec![0.5; row_len - 5]);
        let refused = optimizer.rate(0).unwrap_err();
        assert_eq!(refused.status(), Status::InvalidArgument);
        assert!(refused.message().contains("'none' takes no steps"), "{refused}");
    }
    assert_eq!(build("none", []).row_len(7), 7);
    let state = |state| refusal("none", &Params::new().with("state", state).unwrap());
    assert!(state(-1i64).contains("an int from 0 to 786432 is needed"), "{}", state(-1));
    assert!(state(786_433).contains("'state' is 786433"), "{}", state(786_433));
    assert!(refusal("none", &params([("gamma", 0.1)])).contains("valid names are 'state'"));
}
