//! Every path gives the same bits.

use super::*;

/// Random floats, among them both zeros, denormals and sizes up to 1e18.
struct Floats(u64);

impl Floats {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let float = ((self.0 >> 40) as f32 - 8388608.0) / 8388608.0;
        match self.0 % 16 {
            0 => 0.0,
            1 => -0.0,
            2 => float * 1e-38,
            3 => float * 1e-44,
            4 => float * 1e18,
            5 => float * 1e9,
            6 => float * 1e-12,
            _ => float,
        }
    }

    fn some(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

#[track_caller]
fn assert_same(actual: &[f32], expected: &[f32], words: &str) {
    assert_eq!(actual.len(), expected.len());
    for (index, (a, b)) in actual.iter().zip(expected).enumerate() {
        let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        assert!(same, "{words}, float {index}: {a:e} is not {b:e}");
    }
}

fn built_on(path: Path, name: &str, params: &[(&str, f64)]) -> Optimizer {
    let params =
        params.iter().fold(Params::new(), |bag, (key, value)| bag.with(key, *value).unwrap());
    Optimizer::on(path, name, &params, None).unwrap()
}

const CASES: [(&str, &[(&str, f64)]); 16] = [
    ("sgd", &[]),
    ("sgd", &[("lambda", 0.1)]),
    ("ftrl", &[]),
    ("ftrl", &[("beta", 1.0), ("lambda1", 0.1), ("lambda2", 0.2)]),
    ("adagrad", &[]),
    ("adagrad", &[("eta", 0.1), ("lambda", 0.1), ("epsilon", 0.0)]),
    ("rowwise_adagrad", &[]),
    ("rowwise_adagrad", &[("lambda", 0.1), ("epsilon", 0.0)]),
    ("adam", &[]),
    ("adam", &[("beta1", 0.0), ("beta2", 0.99999), ("lambda", 0.1), ("epsilon", 0.0)]),
    ("amsgrad", &[]),
    ("amsgrad", &[("lambda", 0.1), ("epsilon", 0.0)]),
    ("adamw", &[]),
    ("adamw", &[("beta2", 0.0), ("lambda", 0.5), ("epsilon", 0.0)]),
    ("lion", &[]),
    ("lion", &[("beta1", 0.5), ("lambda", 0.0)]),
];

/// From the first update to counts beyond every table.
const COUNTS: [u64; 8] = [1, 2, 7, 511, 512, 20_000, 40_000, 1 << 40];

#[test]
fn every_path_gives_the_same_bits() {
    let paths: Vec<Path> = Path::available().collect();
    println!("{paths:?}");
    let mut floats = Floats(88172645463325252);
    let mut nans = 0;
    for (name, params) in CASES {
        let optimizers: Vec<Optimizer> =
            paths.iter().map(|path| built_on(*path, name, params)).collect();
        for dim in 1..=70 {
            let row_len = optimizers[0].row_len(dim);
            let fresh = [floats.some(dim), vec![0.0; row_len - dim]].concat();
            // Sums of squares, where a state is one, are not negative.
            let old =
                [floats.some(dim), floats.some(row_len - dim).iter().map(|x| x.abs()).collect()];
            for start in [fresh, old.concat()] {
                let mut rows = vec![start; paths.len()];
                for (t, rate) in
                    COUNTS.into_iter().zip([1e-3, 0.0, 0.1, 1e-38, 1.0].into_iter().cycle())
                {
                    let gradient = floats.some(dim);
                    for (optimizer, row) in optimizers.iter().zip(&mut rows) {
                        optimizer.step(row, &gradient, rate, t);
                    }
                    for (path, row) in paths.iter().zip(&rows) {
                        let words = format!("{name} {params:?} dim {dim} t {t} on {path:?}");
                        assert_same(row, &rows[0], &words);
                    }
                }
                nans += usize::from(rows[0].iter().any(|float| float.is_nan()));
            }
        }
    }
    assert!(nans < 200, "{nans} of 2240 rows ended with NaN, which hides what they were");
}

/// A row of one weight is stepped with scalar instructions on every path.
#[test]
fn lanes_give_the_bits_of_scalars() {
    let mut floats = Floats(7);
    for (name, params) in CASES.into_iter().filter(|(name, _)| *name != "rowwise_adagrad") {
        for path in Path::available() {
            let optimizer = built_on(path, name, params);
            let dim = 16 + 8 + 4 + 3;
            let columns = optimizer.row_len(1);
            let mut row = floats.some(dim * columns);
            row.iter_mut().for_each(|float| *float = float.abs());
            let gradient = floats.some(dim);
            let mut expected = row.clone();
            for column in 0..dim {
                let mut one: Vec<f32> = row[column..].iter().copied().step_by(dim).collect();
                optimizer.step(&mut one, &gradient[column..=column], 0.01, 3);
                for (float, one) in expected[column..].iter_mut().step_by(dim).zip(one) {
                    *float = one;
                }
            }
            optimizer.step(&mut row, &gradient, 0.01, 3);
            assert_same(&row, &expected, &format!("{name} {params:?} on {path:?}"));
        }
    }
}

#[test]
fn one_float_that_is_no_gradient_is_found_wherever_it_is() {
    let bad =
        [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, MAX_GRADIENT.next_up(), -1.1e18];
    for length in 0..140 {
        let mut floats = Floats(length as u64 + 1).some(length);
        floats.iter_mut().step_by(5).for_each(|float| *float = MAX_GRADIENT.copysign(*float));
        let agree = |floats: &[f32], expected: bool| {
            assert_eq!(are_gradients(floats), expected, "{floats:?}");
            Path::available().for_each(|path| {
                assert_eq!(path.are_gradients(floats), expected, "{path:?} {floats:?}")
            });
        };
        agree(&floats, true);
        for index in 0..length {
            let good = std::mem::replace(&mut floats[index], bad[index % bad.len()]);
            agree(&floats, false);
            floats[index] = good;
        }
    }
}
