//! Lanes for any processor: arrays that the compiler turns into whatever vectors the target has.

use super::{LANES, Lanes};
use crate::cpu::multiply_add;

#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

/// `2^n` for `n` in the exponent range of normal numbers.
#[inline(always)]
fn power(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// A whole number of magnitude below 2^22, read from the last bits of a sum: unlike a cast, this has vector instructions
/// everywhere.
#[inline(always)]
fn to_integer(x: f32) -> i32 {
    const SHIFT: f32 = (3 << 22) as f32;
    ((x + SHIFT).to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32)
}

impl Lanes for Portable {
    const TILE_ROWS: usize = if cfg!(target_arch = "aarch64") { 6 } else { 2 };
    const TILE_COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; LANES])
    }
    #[inline(always)]
    fn load(x: &[f32]) -> Self {
        Self(std::array::from_fn(|i| x[..LANES][i]))
    }
    #[inline(always)]
    fn store(self, x: &mut [f32]) {
        x[..LANES].copy_from_slice(&self.0);
    }
    #[inline(always)]
    fn splat_pair(x: u32) -> (Self, Self) {
        (Self::splat(f32::from_bits(x << 16)), Self::splat(f32::from_bits(x & 0xffff_0000)))
    }
    #[inline(always)]
    fn load_pairs(x: &[u32]) -> (Self, Self) {
        let words: [u32; LANES] = std::array::from_fn(|i| x[..LANES][i]);
        (Self(words.map(|x| f32::from_bits(x << 16))), Self(words.map(|x| f32::from_bits(x & 0xffff_0000))))
    }
    #[inline(always)]
    fn store_pairs(self, next: Self, x: &mut [u32]) {
        let round = |x: f32| x.to_bits().wrapping_add(0x8000);
        for (from, words) in [self, next].iter().zip(x[..LANES].chunks_exact_mut(LANES / 2)) {
            for (pair, word) in from.0.chunks_exact(2).zip(words) {
                *word = round(pair[0]) >> 16 | round(pair[1]) & 0xffff_0000;
            }
        }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        self.zip(b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        self.zip(b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        self.zip(b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        self.zip(b, |a, b| a / b)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| multiply_add(self.0[i], b.0[i], c.0[i])))
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        self.zip(b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        self.zip(b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn round(self) -> Self {
        // Beyond 2^23 there are no fractions, and adding that much leaves none.
        const WHOLE: f32 = (1 << 23) as f32;
        Self(self.0.map(|x| if x.abs() < WHOLE { ((x.abs() + WHOLE) - WHOLE).copysign(x) } else { x }))
    }
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        // In two steps, since 2^n itself may be out of range; only the second can round.
        self.zip(n, |x, n| {
            let n = to_integer(n);
            x * power(n >> 1) * power(n - (n >> 1))
        })
    }
}
