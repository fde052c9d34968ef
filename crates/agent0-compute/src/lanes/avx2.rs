//! Lanes on AVX2 and FMA: two registers.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{LANES, Lanes};

#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

/// `x * 2^n` in two steps, since 2^n itself may be out of range; only the second can round.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn scale_half(x: __m256, n: __m256) -> __m256 {
    let power = |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))));
    let n = _mm256_cvtps_epi32(n);
    let first = _mm256_srai_epi32::<1>(n);
    _mm256_mul_ps(_mm256_mul_ps(x, power(first)), power(_mm256_sub_epi32(n, first)))
}

/// Eight words of two bf16 each: the numbers in the lower halves.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn lower(x: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x))
}

/// The numbers in the upper halves.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn upper(x: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(0xffff_0000u32 as i32)))
}

/// Eight numbers as four words of two bf16 neighbours, each in the upper half of 64 bits.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn spread_pairs(x: __m256) -> __m256 {
    let rounded = _mm256_add_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(0x8000));
    let first = _mm256_srli_epi64::<16>(_mm256_slli_epi64::<32>(rounded));
    _mm256_castsi256_ps(_mm256_blend_epi16::<0b1000_1000>(first, rounded))
}

/// Sixteen numbers as eight words of two bf16 neighbours.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn pairs(x: Avx2) -> __m256i {
    // The shuffle works in 128-bit halves, the permutation mends that.
    let mixed = _mm256_shuffle_ps::<0b11_01_11_01>(spread_pairs(x.0), spread_pairs(x.1));
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_castps_si256(mixed))
}

// SAFETY of every block below: the type is used only where AVX2 and FMA are enabled and present (see `Lanes`), and memory
// is reached through slices just checked to hold 16 numbers.
impl Lanes for Avx2 {
    const TILE_ROWS: usize = 6;
    const TILE_COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the top.
        unsafe { Self(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    fn load(x: &[f32]) -> Self {
        let x = x[..LANES].as_ptr();
        // SAFETY: see the top.
        unsafe { Self(_mm256_loadu_ps(x), _mm256_loadu_ps(x.add(8))) }
    }
    #[inline(always)]
    fn store(self, x: &mut [f32]) {
        let x = x[..LANES].as_mut_ptr();
        // SAFETY: see the top.
        unsafe {
            _mm256_storeu_ps(x, self.0);
            _mm256_storeu_ps(x.add(8), self.1);
        }
    }
    #[inline(always)]
    fn splat_pair(x: u32) -> (Self, Self) {
        // SAFETY: see the top.
        unsafe {
            let x = _mm256_set1_epi32(x as i32);
            (Self(lower(x), lower(x)), Self(upper(x), upper(x)))
        }
    }
    #[inline(always)]
    fn load_pairs(x: &[u32]) -> (Self, Self) {
        let x = x[..LANES].as_ptr();
        // SAFETY: see the top.
        unsafe {
            let (a, b) = (_mm256_loadu_si256(x.cast()), _mm256_loadu_si256(x.add(8).cast()));
            (Self(lower(a), lower(b)), Self(upper(a), upper(b)))
        }
    }
    #[inline(always)]
    fn store_pairs(self, next: Self, x: &mut [u32]) {
        let x = x[..LANES].as_mut_ptr();
        // SAFETY: see the top.
        unsafe {
            _mm256_storeu_si256(x.cast(), pairs(self));
            _mm256_storeu_si256(x.add(8).cast(), pairs(next));
        }
    }
    #[inline(always)]
    fn prefetch<T>(at: *const T) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: see the top.
        unsafe { Self(_mm256_add_ps(self.0, b.0), _mm256_add_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: see the top.
        unsafe { Self(_mm256_sub_ps(self.0, b.0), _mm256_sub_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: see the top.
        unsafe { Self(_mm256_mul_ps(self.0, b.0), _mm256_mul_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: see the top.
        unsafe { Self(_mm256_div_ps(self.0, b.0), _mm256_div_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: see the top.
        unsafe { Self(_mm256_sqrt_ps(self.0), _mm256_sqrt_ps(self.1)) }
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see the top.
        unsafe { Self(_mm256_fmadd_ps(self.0, b.0, c.0), _mm256_fmadd_ps(self.1, b.1, c.1)) }
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        // SAFETY: see the top.
        unsafe { Self(_mm256_max_ps(self.0, b.0), _mm256_max_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        // SAFETY: see the top.
        unsafe { Self(_mm256_min_ps(self.0, b.0), _mm256_min_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: see the top.
        unsafe { Self(_mm256_round_ps::<NEAREST>(self.0), _mm256_round_ps::<NEAREST>(self.1)) }
    }
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        // SAFETY: see the top.
        unsafe { Self(scale_half(self.0, n.0), scale_half(self.1, n.1)) }
    }
}
