//! Every schedule against TensorFlow's formulas (fixtures by tests/golden/generate.py) and values
//! worked out by hand, with staircase, cycle and warmup; and what a schedule refuses.

use std::path::Path;

use damo::error::Status;
use damo::params::Params;
use damo::scheduler::Scheduler;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    learning_rate: f64,
    steps: Vec<i64>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    scheduler: String,
    params: Params,
    rates: Vec<f64>,
}

/// Params from JSON: ints, floats and booleans in one line.
fn params(json: &str) -> Params {
    serde_json::from_str(json).unwrap()
}

fn rates<const N: usize>(name: &str, json: &str, learning_rate: f64, steps: [i64; N]) -> [f64; N] {
    let scheduler = Scheduler::new(name, &params(json)).unwrap();
    steps.map(|step| scheduler.rate(learning_rate, step))
}

fn refusal(name: &str, json: &str) -> String {
    let error = Scheduler::new(name, &params(json)).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    error.message().to_owned()
}

#[test]
fn tensorflows_formulas() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/schedulers.json");
    let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(fixture.steps, [0, 1, 7, 99, 100, 101, 1000]);
    for case in &fixture.cases {
        let scheduler = Scheduler::new(&case.scheduler, &case.params).unwrap();
        assert_eq!(case.rates.len(), fixture.steps.len());
        for (step, expected) in fixture.steps.iter().zip(&case.rates) {
            let rate = scheduler.rate(fixture.learning_rate, *step);
            // Relative to the base rate: where a cosine ends at 0, only rounding is left.
            let error = (rate - expected).abs() / fixture.learning_rate;
            assert!(error <= 1e-14, "{scheduler:?} at step {step}: {rate}, not {expected}");
        }
    }
    for name in Scheduler::names() {
        let of_this_name = fixture.cases.iter().filter(|case| case.scheduler == name);
        assert!(of_this_name.count() >= 4, "{name} has no golden values");
    }
}

#[test]
fn rates_worked_out_by_hand() {
    let halving = r#"{"decay_steps": 10, "decay_rate": 0.25}"#;
    assert_eq!(rates("exponential_decay", halving, 8.0, [0, 5, 10, 20]), [8.0, 4.0, 2.0, 0.5]);
    // 1 / (1 + 3 step / 10)
    let inverse = r#"{"decay_steps": 10, "decay_rate": 3}"#;
    assert_eq!(rates("inverse_time_decay", inverse, 8.0, [0, 10, 50]), [8.0, 2.0, 0.5]);
    // From 0.5 down to 0.1 in 4 steps, and constant from there; squared, half the way leaves a
    // quarter.
    let linear = r#"{"decay_steps": 4, "end_learning_rate": 0.25}"#;
    assert_eq!(
        rates("polynomial_decay", linear, 1.25, [0, 1, 2, 4, 5]),
        [1.25, 1.0, 0.75, 0.25, 0.25]
    );
    let square = r#"{"decay_steps": 4, "end_learning_rate": 0, "power": 2}"#;
    assert_eq!(rates("polynomial_decay", square, 1.0, [0, 2, 4]), [1.0, 0.25, 0.0]);
    // cos(0) = 1, cos(pi / 3) = 1/2, cos(pi) = -1
    let cosine =
        rates("cosine_decay", r#"{"decay_steps": 30, "alpha": 0.5}"#, 8.0, [0, 10, 30, 31]);
    for (rate, expected) in cosine.into_iter().zip([8.0, 7.0, 4.0, 4.0]) {
        assert!((rate - expected).abs() < 1e-14, "{cosine:?}");
    }
    // exp(-ln 2) after each 10 steps.
    let natural = format!(r#"{{"decay_steps": 10, "decay_rate": {}}}"#, std::f64::consts::LN_2);
    let natural = rates("natural_exp_decay", &natural, 8.0, [0, 10, 30]);
    for (rate, expected) in natural.into_iter().zip([8.0, 4.0, 1.0]) {
        assert!((rate - expected).abs() < 1e-14, "{natural:?}");
    }
    // Half a cosine period: ((1 - step / 20) (1 + cos(pi step / 20)) / 2 + 0.25) 8
    let both = r#"{"decay_steps": 20, "beta": 0.25}"#;
    let both = rates("linear_cosine_decay", both, 8.0, [0, 10, 20, 1000]);
    for (rate, expected) in both.into_iter().zip([10.0, 4.0, 2.0, 2.0]) {
        assert!((rate - expected).abs() < 1e-14, "{both:?}");
    }
}

#[test]
fn staircase_falls_only_after_whole_periods() {
    let stairs = r#"{"decay_steps": 10, "decay_rate": 0.5, "staircase": true}"#;
    let steps = [0, 9, 10, 19, 20];
    assert_eq!(rates("exponential_decay", stairs, 8.0, steps), [8.0, 8.0, 4.0, 4.0, 2.0]);
    assert_eq!(
        rates("inverse_time_decay", stairs, 8.0, steps),
        [8.0, 8.0, 8.0 / 1.5, 8.0 / 1.5, 4.0]
    );
    let natural = rates("natural_exp_decay", stairs, 8.0, steps);
    assert_eq!((natural[0], natural[2]), (natural[1], natural[3]));
    for name in ["polynomial_decay", "cosine_decay", "linear_cosine_decay"] {
        assert!(
            refusal(name, stairs.replace(r#""decay_rate": 0.5, "#, "").as_str())
                .contains("'staircase'")
        );
    }
}

#[test]
fn cycle_starts_again_after_each_period() {
    let cycle = r#"{"decay_steps": 4, "end_learning_rate": 0, "cycle": true}"#;
    // The period grows to the next multiple of 4 that is not below the step: at step 6 it is 8.
    assert_eq!(
        rates("polynomial_decay", cycle, 8.0, [0, 2, 4, 5, 6, 8, 9]),
        [8.0, 4.0, 0.0, 3.0, 2.0, 0.0, 2.0]
    );
}

#[test]
fn warmup_climbs_linearly_and_then_the_decay_begins() {
    let warm = r#"{"decay_steps": 10, "decay_rate": 0.25, "warmup_steps": 4}"#;
    assert_eq!(
        rates("exponential_decay", warm, 8.0, [-1, 0, 1, 2, 3, 4, 9, 14]),
        [0.0, 0.0, 2.0, 4.0, 6.0, 8.0, 4.0, 2.0]
    );
    for name in Scheduler::names() {
        let needed = if name.contains("exp") || name.contains("inverse") {
            r#", "decay_rate": 0.5"#
        } else {
            ""
        };
        let json = format!(r#"{{"decay_steps": 10, "warmup_steps": 4{needed}}}"#);
        let plain = format!(r#"{{"decay_steps": 10{needed}}}"#);
        assert_eq!(rates(name, &json, 8.0, [0, 2]), [0.0, 4.0], "{name}");
        assert_eq!(
            rates(name, &json, 8.0, [4, 9, 14]),
            rates(name, &plain, 8.0, [0, 5, 10]),
            "{name}"
        );
    }
}

#[test]
fn aliases_name_the_same_schedule() {
    for (alias, name) in [
        ("nature_exponential_decay", "natural_exp_decay"),
        ("liner_cosine_decay", "linear_cosine_decay"),
    ] {
        let needed = if name.contains("exp") { r#", "decay_rate": 0.5"# } else { "" };
        let scheduler =
            Scheduler::new(alias, &params(&format!(r#"{{"decay_steps": 10{needed}}}"#))).unwrap();
        assert_eq!(scheduler.name(), name);
    }
    assert_eq!(
        refusal("step_decay", "{}"),
        "name 'step_decay' is not a scheduler; known are 'exponential_decay', 'polynomial_decay', \
         'natural_exp_decay', 'inverse_time_decay', 'cosine_decay', 'linear_cosine_decay' (aliases \
         'nature_exponential_decay', 'liner_cosine_decay')"
    );
}

#[test]
fn what_is_missing_or_out_of_range_is_named() {
    for name in Scheduler::names() {
        assert_eq!(
            refusal(name, "{}"),
            format!("scheduler '{name}' needs the parameter 'decay_steps' (an int >= 1)")
        );
        for steps in ["0", "-5", "2.5", "true"] {
            let text = refusal(name, &format!(r#"{{"decay_steps": {steps}}}"#));
            assert!(text.contains(&format!("'decay_steps' is {steps} (")), "{text}");
            assert!(text.ends_with("an int >= 1 is needed"), "{text}");
        }
    }
    for (name, accepted) in [
        ("exponential_decay", "a number > 0"),
        ("natural_exp_decay", "a number >= 0"),
        ("inverse_time_decay", "a number >= 0"),
    ] {
        assert_eq!(
            refusal(name, r#"{"decay_steps": 10}"#),
            format!("scheduler '{name}' needs the parameter 'decay_rate' ({accepted})")
        );
        let text = refusal(name, r#"{"decay_steps": 10, "decay_rate": -0.5}"#);
        assert!(text.contains("'decay_rate' is -0.5 (float)") && text.contains(accepted), "{text}");
    }
    let bad = [
        ("polynomial_decay", "end_learning_rate", "-0.1", "a number >= 0"),
        ("polynomial_decay", "power", "0.0", "a number > 0"),
        ("polynomial_decay", "cycle", "1", "true or false"),
        ("cosine_decay", "alpha", "-0.1", "a number >= 0"),
        ("linear_cosine_decay", "num_periods", "0.0", "a number > 0"),
        ("linear_cosine_decay", "beta", "-0.1", "a number >= 0"),
        ("cosine_decay", "warmup_steps", "-1", "an int >= 0"),
    ];
    for (name, key, value, accepted) in bad {
        let text = refusal(name, &format!(r#"{{"decay_steps": 10, "{key}": {value}}}"#));
        assert!(text.contains(&format!("'{key}' is {value}")) && text.contains(accepted), "{text}");
    }
    let text = refusal("cosine_decay", r#"{"decay_steps": 10, "decay_rate": 0.5}"#);
    assert!(text.ends_with("valid names are 'decay_steps', 'alpha', 'warmup_steps'"), "{text}");
}

/// The step is an int64 that anyone may set: at both ends no rate is NaN or negative.
#[test]
fn the_first_and_the_last_step_have_rates() {
    for (name, more) in [
        ("exponential_decay", r#", "decay_rate": 0.5"#),
        ("natural_exp_decay", r#", "decay_rate": 0.5, "staircase": true"#),
        ("inverse_time_decay", r#", "decay_rate": 0.5"#),
        ("polynomial_decay", r#", "power": 0.5"#),
        ("polynomial_decay", r#", "power": 0.5, "cycle": true"#),
        ("cosine_decay", ""),
        ("linear_cosine_decay", ""),
    ] {
        for decay_steps in [1, 7, 1000, i64::MAX] {
            let json = format!(r#"{{"decay_steps": {decay_steps}{more}}}"#);
            // The one in the middle is, divided by 7 and multiplied by it again, less than it was.
            for step in [i64::MIN, 0, (1 << 53) + 1, 4128803425495045632, i64::MAX] {
                let [rate] = rates(name, &json, 0.1, [step]);
                assert!((0.0..=0.11).contains(&rate), "{name} {json} at step {step}: {rate}");
            }
        }
    }
}
