//! Lanes on AVX-512: one register.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{LANES, Lanes};

#[derive(Clone, Copy)]
pub(crate) struct Avx512(pub(crate) __m512);

/// The bf16 in the lower and in the upper halves of words.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(x: __m512i) -> (Avx512, Avx512) {
    let upper = _mm512_and_si512(x, _mm512_set1_epi32(0xffff_0000u32 as i32));
    (Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(x))), Avx512(_mm512_castsi512_ps(upper)))
}

// SAFETY of every block below: the type is used only where AVX-512 F and BW are enabled and present (see `Lanes`), and memory is
// reached through slices just checked to hold 16 numbers.
impl Lanes for Avx512 {
    const TILE_ROWS: usize = 6;
    const TILE_COLUMNS: usize = 4;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the top.
        Self(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    fn load(x: &[f32]) -> Self {
        // SAFETY: see the top.
        Self(unsafe { _mm512_loadu_ps(x[..LANES].as_ptr()) })
    }
    #[inline(always)]
    fn store(self, x: &mut [f32]) {
        // SAFETY: see the top.
        unsafe { _mm512_storeu_ps(x[..LANES].as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn splat_pair(x: u32) -> (Self, Self) {
        // SAFETY: see the top.
        unsafe { halves(_mm512_set1_epi32(x as i32)) }
    }
    #[inline(always)]
    fn load_pairs(x: &[u32]) -> (Self, Self) {
        // SAFETY: see the top.
        unsafe { halves(_mm512_loadu_si512(x[..LANES].as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_pairs(self, next: Self, x: &mut [u32]) {
        // The upper half of every number: odd places of the first vector, then of the second.
        const UPPER: [u16; 2 * LANES] = {
            let mut places = [0; 2 * LANES];
            let mut i = 0;
            while i < places.len() {
                places[i] = 2 * i as u16 + 1;
                i += 1;
            }
            places
        };
        // SAFETY: see the top; `UPPER` fills a register.
        unsafe {
            let half = _mm512_set1_epi32(0x8000);
            let first = _mm512_add_epi32(_mm512_castps_si512(self.0), half);
            let second = _mm512_add_epi32(_mm512_castps_si512(next.0), half);
            let pairs = _mm512_permutex2var_epi16(first, _mm512_loadu_si512(UPPER.as_ptr().cast()), second);
            _mm512_storeu_si512(x[..LANES].as_mut_ptr().cast(), pairs);
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
        Self(unsafe { _mm512_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: see the top.
        Self(unsafe { _mm512_sub_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: see the top.
        Self(unsafe { _mm512_mul_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: see the top.
        Self(unsafe { _mm512_div_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: see the top.
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see the top.
        Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        // SAFETY: see the top.
        Self(unsafe { _mm512_max_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        // SAFETY: see the top.
        Self(unsafe { _mm512_min_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: see the top.
        Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        // SAFETY: see the top.
        Self(unsafe { _mm512_scalef_ps(self.0, n.0) })
    }
}
