//! The choice of vector instructions for stepping rows, made when an optimizer is built.
//!
//! An algorithm's `step` is compiled once for each [`Path`], and an optimizer keeps one of these as
//! its rule. So a row costs one virtual call and no question about the CPU. All paths give the same
//! bits.

use std::ops::Range;
use std::sync::LazyLock;

use super::gradient::MAX_GRADIENT;
use super::lanes::{Formula, columns, lanes_within, step_lanes};
use super::rule::{Algorithm, Rule, Stepper};
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512, F32x4};

/// A set of instructions that this CPU has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path {
    /// The instructions that the library is compiled for.
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Path {
    /// All paths that the CPU supports, the fastest last.
    pub(super) fn available() -> impl Iterator<Item = Path> {
        let paths = [Some(Path::Baseline)].into_iter();
        #[cfg(target_arch = "x86_64")]
        let paths =
            paths.chain([Avx2::detect().map(Path::Avx2), Avx512::detect().map(Path::Avx512)]);
        paths.flatten()
    }

    pub(super) fn fastest() -> Path {
        static FASTEST: LazyLock<Path> =
            LazyLock::new(|| Path::available().last().unwrap_or(Path::Baseline));
        *FASTEST
    }

    /// The algorithm, compiled for this path.
    pub(super) fn rule(self, algorithm: impl Algorithm) -> Box<dyn Rule> {
        match self {
            Path::Baseline => Box::new(BaselineRule(algorithm)),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2(avx2) => avx2.rule(algorithm),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512(avx512) => avx512.rule(algorithm),
        }
    }

    pub(super) fn are_gradients(self, floats: &[f32]) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Path::Avx2(avx2) => avx2.are_within(floats, MAX_GRADIENT),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512(avx512) => avx512.are_within(floats, MAX_GRADIENT),
            Path::Baseline => {
                #[cfg(target_arch = "x86_64")]
                let (whole, floats) = lanes_within::<F32x4, _>(floats, MAX_GRADIENT);
                #[cfg(not(target_arch = "x86_64"))]
                let whole = true;
                whole & lanes_within::<f32, _>(floats, MAX_GRADIENT).0
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Baseline;

impl Stepper for Baseline {
    #[inline(always)]
    fn step_each<const C: usize>(
        self,
        row: &mut [f32],
        gradient: &[f32],
        formula: impl Formula<C>,
    ) {
        let columns = columns(row, gradient.len());
        #[cfg(target_arch = "x86_64")]
        let (columns, gradient) = step_lanes::<F32x4, _, C>(columns, gradient, formula);
        step_lanes::<f32, _, C>(columns, gradient, formula);
    }
}

struct BaselineRule<A>(A);

impl<A: Algorithm> Rule for BaselineRule<A> {
    fn state_len(&self, dim: usize) -> usize {
        self.0.state_len(dim)
    }

    fn begin(&self, state: &mut [f32]) {
        self.0.begin(state);
    }

    fn squares(&self, dim: usize) -> Range<usize> {
        self.0.squares(dim)
    }

    fn begin_at(&self, weights: &[f32], state: &mut [f32]) {
        self.0.begin_at(weights, state);
    }

    fn step(&self, row: &mut [f32], gradient: &[f32], rate: f64, t: u64) {
        self.0.step(Baseline, row, gradient, rate, t);
    }
}
