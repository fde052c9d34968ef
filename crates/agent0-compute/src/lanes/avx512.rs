//! Lanes on AVX-512: one register.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{LANES, Lanes};

#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

// SAFETY of every block below: the type is used only where AVX-512 F is enabled and present (see `Lanes`), and memory is
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
