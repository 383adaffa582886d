//! Vectors of x86-64: SSE2, which every such CPU has, AVX2 and AVX-512.
//!
//! The intrinsics may run only where the CPU has the instructions. For vectors of more than 4 lanes
//! two things ensure that. The vectors are private to this file and used only in functions that
//! take an [`Avx2`] or an [`Avx512`]. Such a value exists only after the CPU was asked. Everything
//! is `#[inline(always)]`, down into functions that are compiled for the instructions: an operation
//! on a vector then is one of them.

#![allow(unsafe_code)]

use std::arch::x86_64::{__m128, __m256, __m512};
use std::ops::{Add, BitAnd, Div, Mul, Neg, Sub};

use super::lanes::{Formula, Lanes, columns, lanes_within, step_lanes};
use super::rule::{Algorithm, Rule, Stepper};

/// A vector built from the intrinsics of a module; all modules use the same names.
macro_rules! vector {
    (
        $visibility:vis $name:ident,
        $inner:ty,
        $lanes:literal,
        $mask:ident,
        $inner_mask:ty,
        $intrinsics:ident
    ) => {
        #[derive(Clone, Copy)]
        $visibility struct $name($inner);

        #[derive(Clone, Copy)]
        $visibility struct $mask($inner_mask);

        vector!(@operator $name, Add, add, $intrinsics);
        vector!(@operator $name, Sub, sub, $intrinsics);
        vector!(@operator $name, Mul, mul, $intrinsics);
        vector!(@operator $name, Div, div, $intrinsics);

        impl Neg for $name {
            type Output = $name;

            #[inline(always)]
            fn neg(self) -> $name {
                // SAFETY: see the module.
                unsafe { $name($intrinsics::xor(self.0, $intrinsics::splat(-0.0))) }
            }
        }

        impl BitAnd for $mask {
            type Output = $mask;

            #[inline(always)]
            fn bitand(self, other: $mask) -> $mask {
                // SAFETY: see the module.
                unsafe { $mask($intrinsics::mask_and(self.0, other.0)) }
            }
        }

        impl Lanes for $name {
            type Array = [f32; $lanes];
            type Mask = $mask;

            #[inline(always)]
            fn splat(float: f32) -> $name {
                // SAFETY: see the module.
                unsafe { $name($intrinsics::splat(float)) }
            }

            #[inline(always)]
            fn load(array: &[f32; $lanes]) -> $name {
                // SAFETY: see the module; an array has as many floats as are read, in any
                // alignment.
                unsafe { $name($intrinsics::load(array.as_ptr())) }
            }

            #[inline(always)]
            fn store(self, array: &mut [f32; $lanes]) {
                // SAFETY: see the module; an array has as many floats as are written, in any
                // alignment.
                unsafe { $intrinsics::store(array.as_mut_ptr(), self.0) }
            }

            #[inline(always)]
            fn sqrt(self) -> $name {
                // SAFETY: see the module.
                unsafe { $name($intrinsics::sqrt(self.0)) }
            }

            #[inline(always)]
            fn abs(self) -> $name {
                // SAFETY: see the module.
                unsafe { $name($intrinsics::and_not($intrinsics::splat(-0.0), self.0)) }
            }

            #[inline(always)]
            fn copysign(self, sign: $name) -> $name {
                // SAFETY: see the module.
                unsafe {
                    let sign = $intrinsics::and($intrinsics::splat(-0.0), sign.0);
                    $name($intrinsics::or(sign, self.abs().0))
                }
            }

            #[inline(always)]
            fn gt(self, other: $name) -> $mask {
                // SAFETY: see the module.
                unsafe { $mask($intrinsics::gt(self.0, other.0)) }
            }

            #[inline(always)]
            fn le(self, other: $name) -> $mask {
                // SAFETY: see the module.
                unsafe { $mask($intrinsics::le(self.0, other.0)) }
            }

            #[inline(always)]
            fn ne(self, other: $name) -> $mask {
                // SAFETY: see the module.
                unsafe { $mask($intrinsics::ne(self.0, other.0)) }
            }

            #[inline(always)]
            fn same_sign(self, other: $name) -> $mask {
                // SAFETY: see the module.
                unsafe { $mask($intrinsics::same_sign(self.0, other.0)) }
            }

            #[inline(always)]
            fn select(mask: $mask, yes: $name, no: $name) -> $name {
                // SAFETY: see the module.
                unsafe { $name($intrinsics::select(mask.0, yes.0, no.0)) }
            }

            #[inline(always)]
            fn all(mask: $mask) -> bool {
                // SAFETY: see the module.
                unsafe { $intrinsics::all(mask.0) }
            }
        }
    };
    (@operator $name:ident, $operator:ident, $function:ident, $intrinsics:ident) => {
        impl $operator for $name {
            type Output = $name;

            #[inline(always)]
            fn $function(self, other: $name) -> $name {
                // SAFETY: see the module.
                unsafe { $name($intrinsics::$function(self.0, other.0)) }
            }
        }

        impl $operator<f32> for $name {
            type Output = $name;

            #[inline(always)]
            fn $function(self, other: f32) -> $name {
                self.$function($name::splat(other))
            }
        }
    };
}

vector!(pub(super) F32x4, __m128, 4, Mask4, __m128, sse2);
vector!(F32x8, __m256, 8, Mask8, __m256, avx2);
vector!(F32x16, __m512, 16, Mask16, u16, avx512);

/// The proof that the CPU has a set of instructions, and the code that is compiled for it.
macro_rules! path {
    ($name:ident, $rule:ident, $features:tt, $detect:expr, $($lanes:ident),+) => {
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $name(());

        impl $name {
            pub(super) fn detect() -> Option<$name> {
                $detect.then_some($name(()))
            }

            pub(super) fn rule(self, algorithm: impl Algorithm) -> Box<dyn Rule> {
                Box::new($rule { path: self, algorithm })
            }

            pub(super) fn are_within(self, floats: &[f32], limit: f32) -> bool {
                #[target_feature(enable = $features)]
                fn wide(floats: &[f32], limit: f32) -> bool {
                    let all = true;
                    $(
                        let (whole, floats) = lanes_within::<$lanes, _>(floats, limit);
                        let all = all & whole;
                    )+
                    all & floats.is_empty()
                }
                // SAFETY: `self` is the proof that the CPU has the features.
                unsafe { wide(floats, limit) }
            }
        }

        impl Stepper for $name {
            #[inline(always)]
            fn step_each<const C: usize>(
                self,
                row: &mut [f32],
                gradient: &[f32],
                formula: impl Formula<C>,
            ) {
                let columns = columns(row, gradient.len());
                $(
                    let (columns, gradient) =
                        step_lanes::<$lanes, _, C>(columns, gradient, formula);
                )+
                let _ = (columns, gradient);
            }
        }

        struct $rule<A> {
            path: $name,
            algorithm: A,
        }

        impl<A: Algorithm> Rule for $rule<A> {
            fn state_len(&self, dim: usize) -> usize {
                self.algorithm.state_len(dim)
            }

            fn begin(&self, state: &mut [f32]) {
                self.algorithm.begin(state);
            }

            fn squares(&self, dim: usize) -> std::ops::Range<usize> {
                self.algorithm.squares(dim)
            }

            fn begin_at(&self, weights: &[f32], state: &mut [f32]) {
                self.algorithm.begin_at(weights, state);
            }

            fn step(&self, row: &mut [f32], gradient: &[f32], rate: f64, t: u64) {
                #[target_feature(enable = $features)]
                fn wide<A: Algorithm>(
                    rule: &$rule<A>,
                    row: &mut [f32],
                    gradient: &[f32],
                    rate: f64,
                    t: u64,
                ) {
                    rule.algorithm.step(rule.path, row, gradient, rate, t);
                }
                // SAFETY: `self.path` is the proof that the CPU has the features.
                unsafe { wide(self, row, gradient, rate, t) }
            }
        }
    };
}

path!(Avx2, Avx2Rule, "avx2", is_x86_feature_detected!("avx2"), F32x8, F32x4, f32);
path!(
    Avx512,
    Avx512Rule,
    "avx512f,avx512dq,avx512vl",
    has_fast_avx512(),
    F32x16,
    F32x8,
    F32x4,
    f32
);

fn has_fast_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        // AVX-512 VBMI2 itself is not used. CPUs without it, Skylake to Cascade Lake, lower their
        // clock for 512-bit arithmetic.
        && is_x86_feature_detected!("avx512vbmi2")
}

mod sse2 {
    use std::arch::x86_64::*;
    pub(super) use std::arch::x86_64::{
        _mm_add_ps as add, _mm_and_ps as and, _mm_and_ps as mask_and, _mm_andnot_ps as and_not,
        _mm_cmpgt_ps as gt, _mm_cmple_ps as le, _mm_cmpneq_ps as ne, _mm_div_ps as div,
        _mm_loadu_ps as load, _mm_mul_ps as mul, _mm_or_ps as or, _mm_set1_ps as splat,
        _mm_sqrt_ps as sqrt, _mm_storeu_ps as store, _mm_sub_ps as sub, _mm_xor_ps as xor,
    };

    #[inline(always)]
    pub(super) unsafe fn same_sign(a: __m128, b: __m128) -> __m128 {
        // SAFETY: as the caller's.
        unsafe {
            let differ = _mm_castps_si128(and(xor(a, b), splat(-0.0)));
            _mm_castsi128_ps(_mm_cmpeq_epi32(differ, _mm_setzero_si128()))
        }
    }

    #[inline(always)]
    pub(super) unsafe fn select(mask: __m128, yes: __m128, no: __m128) -> __m128 {
        // SAFETY: as the caller's.
        unsafe { or(and(mask, yes), and_not(mask, no)) }
    }

    #[inline(always)]
    pub(super) unsafe fn all(mask: __m128) -> bool {
        // SAFETY: as the caller's.
        unsafe { _mm_movemask_ps(mask) == 0xf }
    }
}

mod avx2 {
    use std::arch::x86_64::*;
    pub(super) use std::arch::x86_64::{
        _mm256_add_ps as add, _mm256_and_ps as and, _mm256_and_ps as mask_and,
        _mm256_andnot_ps as and_not, _mm256_div_ps as div, _mm256_mul_ps as mul,
        _mm256_or_ps as or, _mm256_set1_ps as splat, _mm256_sqrt_ps as sqrt,
        _mm256_storeu_ps as store, _mm256_sub_ps as sub, _mm256_xor_ps as xor,
    };

    /// Not `_mm256_loadu_ps`: the compiler makes two instructions of it where the baseline is an
    /// old CPU.
    #[inline(always)]
    pub(super) unsafe fn load(floats: *const f32) -> __m256 {
        // SAFETY: as the caller's.
        unsafe { _mm256_castsi256_ps(_mm256_lddqu_si256(floats.cast())) }
    }

    #[inline(always)]
    pub(super) unsafe fn gt(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as the caller's.
        unsafe { _mm256_cmp_ps::<_CMP_GT_OQ>(a, b) }
    }

    #[inline(always)]
    pub(super) unsafe fn le(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as the caller's.
        unsafe { _mm256_cmp_ps::<_CMP_LE_OQ>(a, b) }
    }

    #[inline(always)]
    pub(super) unsafe fn ne(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as the caller's.
        unsafe { _mm256_cmp_ps::<_CMP_NEQ_UQ>(a, b) }
    }

    #[inline(always)]
    pub(super) unsafe fn same_sign(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as the caller's.
        unsafe {
            let differ = _mm256_castps_si256(and(xor(a, b), splat(-0.0)));
            _mm256_castsi256_ps(_mm256_cmpeq_epi32(differ, _mm256_setzero_si256()))
        }
    }

    #[inline(always)]
    pub(super) unsafe fn select(mask: __m256, yes: __m256, no: __m256) -> __m256 {
        // SAFETY: as the caller's.
        unsafe { _mm256_blendv_ps(no, yes, mask) }
    }

    #[inline(always)]
    pub(super) unsafe fn all(mask: __m256) -> bool {
        // SAFETY: as the caller's.
        unsafe { _mm256_movemask_ps(mask) == 0xff }
    }
}

mod avx512 {
    use std::arch::x86_64::*;
    pub(super) use std::arch::x86_64::{
        _mm512_add_ps as add, _mm512_and_ps as and, _mm512_andnot_ps as and_not,
        _mm512_div_ps as div, _mm512_loadu_ps as load, _mm512_mul_ps as mul, _mm512_or_ps as or,
        _mm512_set1_ps as splat, _mm512_sqrt_ps as sqrt, _mm512_storeu_ps as store,
        _mm512_sub_ps as sub, _mm512_xor_ps as xor,
    };

    #[inline(always)]
    pub(super) unsafe fn mask_and(a: u16, b: u16) -> u16 {
        a & b
    }

    #[inline(always)]
    pub(super) unsafe fn gt(a: __m512, b: __m512) -> u16 {
        // SAFETY: as the caller's.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) }
    }

    #[inline(always)]
    pub(super) unsafe fn le(a: __m512, b: __m512) -> u16 {
        // SAFETY: as the caller's.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b) }
    }

    #[inline(always)]
    pub(super) unsafe fn ne(a: __m512, b: __m512) -> u16 {
        // SAFETY: as the caller's.
        unsafe { _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(a, b) }
    }

    #[inline(always)]
    pub(super) unsafe fn same_sign(a: __m512, b: __m512) -> u16 {
        // SAFETY: as the caller's.
        unsafe {
            _mm512_testn_epi32_mask(
                _mm512_castps_si512(xor(a, b)),
                _mm512_castps_si512(splat(-0.0)),
            )
        }
    }

    #[inline(always)]
    pub(super) unsafe fn select(mask: u16, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: as the caller's.
        unsafe { _mm512_mask_blend_ps(mask, no, yes) }
    }

    #[inline(always)]
    pub(super) unsafe fn all(mask: u16) -> bool {
        mask == 0xffff
    }
}
