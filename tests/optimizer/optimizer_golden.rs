//! Every optimizer against golden values over 100 steps, in dims 1, 7, 16 and 64, with weight decay
//! on and off.
//!
//! tests/golden/generate.py made the fixtures: PyTorch's own runs for the optimizers that it has,
//! the paper's formula in float64 for the others. `--nocapture` prints damo's distance from each.

use std::path::Path;

use damo::optimizer::Optimizer;
use damo::params::Params;
use serde::{Deserialize, Deserializer};

const TOLERANCE: f64 = 1e-6;
const PYTORCH: [&str; 5] = ["sgd", "adagrad", "adam", "amsgrad", "adamw"];

#[derive(Deserialize)]
struct Fixture {
    optimizer: String,
    /// The steps after which weights were recorded.
    steps: Vec<u64>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    params: Params,
    rows: Vec<Row>,
}

/// Weights at each recorded step.
type History = Vec<Vec<f64>>;

#[derive(Deserialize)]
struct Row {
    dim: usize,
    seed: u64,
    /// PyTorch in float32, rounding after each multiplication and addition. For the papers'
    /// formulas each step is in float64, and the row is rounded to float32 between steps: the best
    /// that a row of floats can hold.
    #[serde(deserialize_with = "float32")]
    float32: History,
    /// PyTorch's AVX2 kernels, which fuse multiplications with additions.
    #[serde(default, deserialize_with = "float32")]
    float32_fused: History,
    /// The same without float32.
    float64: History,
    /// The largest size the weight has had until then, its initial value included.
    largest: History,
}

/// Decimals of float32 values, widened.
fn float32<'de, D: Deserializer<'de>>(deserializer: D) -> Result<History, D::Error> {
    let history: Vec<Vec<f32>> = Deserialize::deserialize(deserializer)?;
    Ok(history.into_iter().map(|weights| weights.into_iter().map(f64::from).collect()).collect())
}

fn fixture(optimizer: &str) -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{optimizer}.json"));
    let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(fixture.optimizer, optimizer);
    assert_eq!(fixture.steps, [1, 2, 10, 100]);
    fixture
}

/// The random bits of one weight or gradient: splitmix64 of its position, as in
/// tests/golden/inputs.py.
fn bits(seed: u64, step: u64, column: usize) -> u64 {
    let x = ((seed << 32) + (step << 16) + column as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// In [-1/4, 1/4); exact.
fn initial_weight(seed: u64, column: usize) -> f32 {
    ((bits(seed, 0, column) >> 40) as f32 - 2f32.powi(23)) * 2f32.powi(-25)
}

/// Zero one time in eight, otherwise of widely varying size up to 1; exact.
fn gradient(seed: u64, step: u64, column: usize) -> f32 {
    let bits = bits(seed, step, column);
    if bits.is_multiple_of(8) {
        return 0.0;
    }
    let size = ((bits >> 40) + 1) as f32 * 2f32.powi(-24) * 2f32.powi(-(((bits >> 8) % 9) as i32));
    let negative = (bits >> 3) % 2 == 1 && !column.is_multiple_of(3);
    if negative { -size } else { size }
}

fn initial_weights(row: &Row) -> Vec<f32> {
    (0..row.dim).map(|column| initial_weight(row.seed, column)).collect()
}

/// damo's weights at the recorded steps.
fn run(optimizer: &Optimizer, row: &Row, steps: &[u64]) -> History {
    let mut floats = initial_weights(row);
    floats.resize(optimizer.row_len(row.dim), 0.0);
    let mut history = Vec::new();
    for step in 1..=*steps.last().unwrap() {
        let gradient: Vec<f32> =
            (0..row.dim).map(|column| gradient(row.seed, step, column)).collect();
        optimizer.step(&mut floats, &gradient, optimizer.rate(step as i64 - 1).unwrap(), step);
        if steps.contains(&step) {
            history.push(floats[..row.dim].iter().map(|w| f64::from(*w)).collect());
        }
    }
    history
}

/// The largest error, or NaN if there is one: `f64::max` drops it, and no tolerance may.
fn worst_of(errors: impl Iterator<Item = f64>) -> f64 {
    errors.fold(0.0, |worst, error| if worst >= error || worst.is_nan() { worst } else { error })
}

/// The largest |a - b| / |b|, weight by weight.
fn elementwise(history: &History, reference: &History) -> f64 {
    let pairs = history.iter().flatten().zip(reference.iter().flatten());
    worst_of(pairs.map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() / b.abs() }))
}

/// The largest |a - b| / the largest size of the weight so far, its initial value included.
///
/// A weight that crosses zero carries the rounding of where it came from, half a unit in the last
/// place a step. Near zero that exceeds any multiple of its size: in these runs PyTorch's two sets
/// of float32 kernels differ from each other by up to 1e-4 of |b|, but by 3e-7 of this.
fn scaled(history: &History, reference: &History, row: &Row) -> f64 {
    let pairs = history.iter().flatten().zip(reference.iter().flatten());
    worst_of(
        pairs.zip(row.largest.iter().flatten()).map(|((a, b), largest)| (a - b).abs() / largest),
    )
}

/// Calls `check` with each row of an optimizer's fixture, damo's run of it, and words for messages.
fn for_each_run(optimizer: &str, mut check: impl FnMut(&Row, &History, &str)) {
    let fixture = fixture(optimizer);
    assert!(fixture.cases.len() >= 2);
    for case in &fixture.cases {
        let built = Optimizer::new(optimizer, &case.params, None).unwrap();
        assert_eq!(case.rows.iter().map(|row| row.dim).collect::<Vec<_>>(), [1, 7, 16, 64]);
        for row in &case.rows {
            let words = format!("{optimizer} {} dim {}", case.params.to_json(), row.dim);
            for history in [&row.float32, &row.float64, &row.largest] {
                assert!(
                    history.len() == 4 && history.iter().all(|weights| weights.len() == row.dim),
                    "{words}"
                );
            }
            check(row, &run(&built, row, &fixture.steps), &words);
        }
    }
}

/// Asserts the tolerance in every run of an optimizer and prints the worst.
fn within_tolerance(optimizer: &str, what: &str, measure: impl Fn(&Row, &History) -> f64) {
    let mut worst = 0.0f64;
    for_each_run(optimizer, |row, history, words| {
        let error = measure(row, history);
        assert!(error <= TOLERANCE, "{words}: {error:.2e} from {what}");
        worst = worst.max(error);
    });
    println!("{optimizer}: at most {worst:.1e} from {what}");
}

#[test]
fn pytorch_weight_by_weight() {
    for optimizer in PYTORCH {
        within_tolerance(optimizer, "PyTorch, of the weight itself", |row, history| {
            elementwise(history, &row.float32)
        });
    }
}

#[test]
fn pytorch_with_fused_kernels() {
    for optimizer in PYTORCH {
        within_tolerance(optimizer, "PyTorch's AVX2 kernels", |row, history| {
            scaled(history, &row.float32_fused, row)
        });
    }
}

#[test]
fn papers_in_float64() {
    for optimizer in ["ftrl", "rowwise_adagrad"] {
        within_tolerance(optimizer, "its paper's formula in float64", |row, history| {
            scaled(history, &row.float64, row)
        });
    }
}

/// Lion adds the same 3e-4 to a weight a hundred times, and each sum is rounded the same way: with
/// the best arithmetic, a weight that is kept in float32 between steps ends up to 3e-6 from
/// float64.
#[test]
fn lion_in_float64_with_its_row_kept_in_float32() {
    within_tolerance("lion", "its paper's formula", |row, history| {
        scaled(history, &row.float32, row)
    });
}

/// Any row of floats drifts from float64. damo must not add to that.
#[test]
fn as_near_to_float64_as_the_float32_reference() {
    for optimizer in Optimizer::names().into_iter().filter(|name| *name != "none") {
        let (mut worst, mut worst_reference) = (0.0f64, 0.0f64);
        for_each_run(optimizer, |row, history, words| {
            let error = scaled(history, &row.float64, row);
            let reference = scaled(&row.float32, &row.float64, row);
            assert!(
                error <= reference + TOLERANCE / 2.0,
                "{words}: {error:.2e}, the reference {reference:.2e}"
            );
            worst = worst.max(error);
            worst_reference = worst_reference.max(reference);
        });
        println!(
            "{optimizer}: at most {worst:.1e} from float64, \
             the float32 reference {worst_reference:.1e}"
        );
    }
}

/// L1 regularisation makes a model sparse by exact zeros, not small numbers.
#[test]
fn ftrl_has_its_zeros_where_the_paper_has_them() {
    let mut zeros = 0;
    for_each_run("ftrl", |row, history, words| {
        for (a, b) in history.iter().flatten().zip(row.float64.iter().flatten()) {
            assert_eq!(*a == 0.0, *b == 0.0, "{words}: {a} where the paper has {b}");
            zeros += usize::from(*a == 0.0);
        }
    });
    assert!(zeros > 50, "the fixture has only {zeros} zeros");
}
