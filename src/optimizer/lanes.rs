//! Formulas over many weights at a time.
//!
//! A rule has one formula: what one weight and its state become, for floats of any width
//! ([`Lanes`]). Every lane sees the same operations in the same order, none fused, so a row does
//! not depend on the width that it was stepped with.
//!
//! Everything here is `#[inline(always)]`, so that it becomes part of functions that are compiled
//! for wide vectors (x86.rs).

use std::ops::{Add, BitAnd, Div, Mul, Neg, Sub};

/// One float32, or several side by side. Each operation acts on every lane as float32's own does.
pub(super) trait Lanes:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Add<f32, Output = Self>
    + Sub<f32, Output = Self>
    + Mul<f32, Output = Self>
    + Div<f32, Output = Self>
{
    /// `[f32; N]`.
    type Array;
    /// A truth value a lane.
    type Mask: Copy + BitAnd<Output = Self::Mask>;

    fn splat(float: f32) -> Self;
    fn load(array: &Self::Array) -> Self;
    fn store(self, array: &mut Self::Array);

    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    fn copysign(self, sign: Self) -> Self;

    fn gt(self, other: Self) -> Self::Mask;
    fn le(self, other: Self) -> Self::Mask;
    fn ne(self, other: Self) -> Self::Mask;
    fn same_sign(self, other: Self) -> Self::Mask;
    /// `yes` where the mask is true, `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    fn all(mask: Self::Mask) -> bool;
}

/// What one weight and its state become: `C` floats, the weight first. `self` has the scalars of
/// the step.
pub(super) trait Formula<const C: usize>: Copy {
    fn next<V: Lanes>(self, weight_and_state: [V; C], gradient: V) -> [V; C];
}

/// A row's columns, each as long as the gradient: the weights, then the state.
#[inline(always)]
pub(super) fn columns<const C: usize>(row: &mut [f32], dim: usize) -> [&mut [f32]; C] {
    let mut rest = row;
    [(); C].map(|()| {
        let (column, after) = std::mem::take(&mut rest).split_at_mut(dim);
        rest = after;
        column
    })
}

/// Steps as many weights as fill whole lanes of one width; returns the rest of the columns and of
/// the gradient.
#[inline(always)]
pub(super) fn step_lanes<'a, V: Lanes<Array = [f32; N]>, const N: usize, const C: usize>(
    columns: [&'a mut [f32]; C],
    gradient: &'a [f32],
    formula: impl Formula<C>,
) -> ([&'a mut [f32]; C], &'a [f32]) {
    let (gradients, gradient_rest) = gradient.as_chunks::<N>();
    let mut columns = columns.map(|column| {
        let (chunks, rest) = column.as_chunks_mut::<N>();
        // The length that all chunks have: seen here, the compiler need not check it in the loop.
        (&mut chunks[..gradients.len()], rest)
    });
    for index in 0..gradients.len() {
        let mut lanes = [V::splat(0.0); C];
        for (lanes, (chunks, _)) in lanes.iter_mut().zip(&columns) {
            *lanes = V::load(&chunks[index]);
        }
        let next = formula.next(lanes, V::load(&gradients[index]));
        for (next, (chunks, _)) in next.iter().zip(&mut columns) {
            next.store(&mut chunks[index]);
        }
    }
    (columns.map(|(_, rest)| rest), gradient_rest)
}

/// Whether floats are within -limit to limit, for as many as fill whole lanes of one width; and the
/// rest of them.
#[inline(always)]
pub(super) fn lanes_within<V: Lanes<Array = [f32; N]>, const N: usize>(
    floats: &[f32],
    limit: f32,
) -> (bool, &[f32]) {
    let (chunks, rest) = floats.as_chunks::<N>();
    let limit = V::splat(limit);
    let mut within = limit.le(limit);
    for chunk in chunks {
        within = within & V::load(chunk).abs().le(limit);
    }
    (V::all(within), rest)
}

impl Lanes for f32 {
    type Array = [f32; 1];
    type Mask = bool;

    #[inline(always)]
    fn splat(float: f32) -> f32 {
        float
    }

    #[inline(always)]
    fn load(array: &[f32; 1]) -> f32 {
        array[0]
    }

    #[inline(always)]
    fn store(self, array: &mut [f32; 1]) {
        array[0] = self;
    }

    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }

    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }

    #[inline(always)]
    fn copysign(self, sign: f32) -> f32 {
        f32::copysign(self, sign)
    }

    #[inline(always)]
    fn gt(self, other: f32) -> bool {
        self > other
    }

    #[inline(always)]
    fn le(self, other: f32) -> bool {
        self <= other
    }

    #[inline(always)]
    fn ne(self, other: f32) -> bool {
        self != other
    }

    #[inline(always)]
    fn same_sign(self, other: f32) -> bool {
        self.is_sign_negative() == other.is_sign_negative()
    }

    #[inline(always)]
    fn select(mask: bool, yes: f32, no: f32) -> f32 {
        if mask { yes } else { no }
    }

    #[inline(always)]
    fn all(mask: bool) -> bool {
        mask
    }
}
