//! The bias corrections of adam, amsgrad and adamw, looked up by update count.
//!
//! Two powers a row would be most of a step's cost. A row's count is small, or so large that the
//! correction is 1, so a table nearly always has the answer. The table holds what the powers give,
//! to the bit.

use std::sync::OnceLock;

/// A block of counts, computed when the first of them is asked for.
const BLOCK: usize = 512;
/// Beyond this many blocks (256 KiB of f64) the correction of a slow average is computed each time.
const MOST_BLOCKS: u64 = 64;

/// `finish(1 - beta^t)` for every count t.
pub(super) struct Correction<T> {
    beta: f64,
    finish: fn(f64) -> T,
    /// From this count on the value is `finish(1)`.
    settled_at: u64,
    settled: T,
    blocks: Box<[OnceLock<Box<[T; BLOCK]>>]>,
}

impl<T: Copy> Correction<T> {
    /// `finish` must give the same for `1 - x` and 1 when x <= 2^-`bits`, with one bit to spare for
    /// the rounding of powers.
    pub(super) fn new(beta: f64, bits: u32, finish: fn(f64) -> T) -> Correction<T> {
        // The first t with beta^t <= 2^-bits; 1 for beta = 0, since 0^0 is 1.
        let settled_at =
            (f64::from(bits) * std::f64::consts::LN_2 / -beta.ln()).ceil().max(1.0) as u64;
        let blocks = settled_at.div_ceil(BLOCK as u64).min(MOST_BLOCKS);
        let blocks = (0..blocks).map(|_| OnceLock::new()).collect();
        Correction { beta, finish, settled_at, settled: finish(1.0), blocks }
    }

    #[inline(always)]
    pub(super) fn at(&self, t: u64) -> T {
        if t >= self.settled_at {
            return self.settled;
        }
        match self.blocks.get((t / BLOCK as u64) as usize).and_then(OnceLock::get) {
            Some(block) => block[(t % BLOCK as u64) as usize],
            None => self.first_at(t),
        }
    }

    #[cold]
    #[inline(never)]
    fn first_at(&self, t: u64) -> T {
        let first = t - t % BLOCK as u64;
        match self.blocks.get((t / BLOCK as u64) as usize) {
            Some(block) => {
                let computed =
                    || Box::new(std::array::from_fn(|i| self.computed(first + i as u64)));
                block.get_or_init(computed)[(t - first) as usize]
            }
            None => self.computed(t),
        }
    }

    fn computed(&self, t: u64) -> T {
        (self.finish)(1.0 - self.beta.powf(t as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BETAS: [f64; 9] =
        [0.0, 1e-300, 0.1, 0.5, 0.9, 0.999, 0.9999, 0.9999999, 1.0 - f64::EPSILON / 2.0];

    fn root(correction: f64) -> f32 {
        correction.sqrt() as f32
    }

    #[test]
    fn a_table_holds_what_powers_give() {
        for beta in BETAS {
            let first = Correction::new(beta, 55, |correction| correction);
            let second = Correction::new(beta, 26, root);
            let around = |t: u64| t.saturating_sub(600)..t.saturating_add(600);
            let counts = (0..3000)
                .chain(around(first.settled_at))
                .chain(around(second.settled_at))
                .chain(around(BLOCK as u64 * MOST_BLOCKS))
                .chain([1 << 40, u64::MAX]);
            for t in counts {
                let exact = 1.0 - beta.powf(t as f64);
                for _ in 0..2 {
                    assert_eq!(first.at(t).to_bits(), exact.to_bits(), "beta {beta} t {t}");
                    assert_eq!(second.at(t).to_bits(), root(exact).to_bits(), "beta {beta} t {t}");
                }
            }
        }
    }

    #[test]
    fn tables_are_small_and_made_as_they_are_needed() {
        for beta in BETAS {
            assert!(
                Correction::new(beta, 55, |correction| correction).blocks.len() * BLOCK * 8
                    <= 256 << 10
            );
            assert!(Correction::new(beta, 26, root).blocks.len() * BLOCK * 4 <= 128 << 10);
        }
        let correction = Correction::new(0.999, 26, root);
        let made = || correction.blocks.iter().filter(|block| block.get().is_some()).count();
        assert_eq!((made(), correction.blocks.len()), (0, 36));
        correction.at(1000);
        assert_eq!(made(), 1);
        correction.at(1 << 30);
        assert_eq!(made(), 1);
    }
}
