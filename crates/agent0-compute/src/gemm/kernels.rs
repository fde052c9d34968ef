//! The arithmetic of tiles, for each instruction set and each kind of words.
//!
//! Words of two bf16 are multiplied by the bf16 dot product where there is one; elsewhere they are widened to `f32` in
//! registers, which is exact, and added as the dot product adds them: the upper half first, each sum rounded. Bytes are
//! multiplied by the 8-bit dot product where there is one, elsewhere in pairs to 16-bit sums; all sums are exact.
//!
//! So all instruction sets that fuse multiply-adds give the same bits. (The bf16 dot product takes numbers below the normal
//! ones, 1e-38, for zero; no sum that is itself normal shows it.)
#![allow(unsafe_code)]

use super::packed::Dtype;
use super::tile::{Arithmetic, GroupArithmetic, Kernel, Tiles, tiles, tiles_of_groups};
use crate::cpu::{Isa, multiply_add};

/// Compiles the tiles of an arithmetic for an instruction set: for each number of rows, the numbers of vectors.
macro_rules! kernel {
    ($tile:ident of $arithmetic:ty, lanes of $floats:ty, $({$rows:literal: $($vectors:literal)*})* $(, features: $features:literal)?) => {{
        $(#[target_feature(enable = $features)])?
        unsafe fn compiled<const ROWS: usize, const VECTORS: usize>(t: &Tiles) {
            // SAFETY: the caller vouches for `t` and for the processor.
            unsafe { $tile::<$arithmetic, ROWS, VECTORS>(t) }
        }
        Kernel { lanes: <$floats as Arithmetic>::LANES, step_words: <$arithmetic>::STEP_WORDS, tiles: &[$(&[$(compiled::<$rows, $vectors>),*]),*] }
    }};
}

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

/// The kernel for words of `dtype` on a processor that has `isa`.
pub(crate) fn kernel(isa: Isa, dtype: Dtype) -> &'static Kernel {
    #[cfg(target_arch = "x86_64")]
    match (isa, dtype) {
        (Isa::Portable | Isa::NeonDot, _) => {}
        (Isa::Avx2 | Isa::Avx2Vnni, Dtype::F32) => return &x86::AVX2_F32,
        (Isa::Avx2 | Isa::Avx2Vnni, Dtype::Bf16) => return &x86::AVX2_BF16,
        (Isa::Avx2, Dtype::Q8) => return &x86::AVX2_Q8,
        (Isa::Avx2Vnni, Dtype::Q8) => return &x86::AVX2_DOT_Q8,
        (Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Bf16, Dtype::F32) => return &x86::AVX512_F32,
        (Isa::Avx512 | Isa::Avx512Vnni, Dtype::Bf16) => return &x86::AVX512_BF16,
        (Isa::Avx512Bf16, Dtype::Bf16) => return &x86::AVX512_DOT_BF16,
        (Isa::Avx512, Dtype::Q8) => return &x86::AVX512_Q8,
        (Isa::Avx512Vnni | Isa::Avx512Bf16, Dtype::Q8) => return &x86::AVX512_DOT_Q8,
    }
    #[cfg(target_arch = "aarch64")]
    if (isa, dtype) == (Isa::NeonDot, Dtype::Q8) {
        return &neon::DOT_Q8;
    }
    let _ = isa;
    match dtype {
        Dtype::F32 => &PORTABLE_F32,
        Dtype::Bf16 => &PORTABLE_BF16,
        Dtype::Q8 => &PORTABLE_Q8,
    }
}

/// AArch64 has 32 registers, x86-64 without AVX has 16.
#[rustfmt::skip]
static PORTABLE_F32: Kernel = if cfg!(target_arch = "aarch64") {
    kernel!(tiles of F32, lanes of F32, {1: 1 2 3 4 5 6} {2: 1 2 3 4 5 6} {3: 1 2 3 4} {4: 1 2 3 4} {5: 1 2 3} {6: 1 2 3} {7: 1 2 3} {8: 1 2 3})
} else {
    kernel!(tiles of F32, lanes of F32, {1: 1 2 3 4 5 6} {2: 1 2 3 4} {3: 1 2 3} {4: 1 2 3})
};
#[rustfmt::skip]
static PORTABLE_Q8: Kernel = kernel!(tiles_of_groups of Q8, lanes of F32, {1: 1 2 3} {2: 1});
static PORTABLE_BF16: Kernel = kernel!(tiles of Bf16, lanes of Bf16, {1: 1 2 3 4} {2: 1 2} {3: 1 2} {4: 1 2});

/// Four lanes of plain arithmetic: words of `f32`.
struct F32;
/// The same for words of two bf16.
struct Bf16;

#[derive(Clone, Copy)]
#[repr(align(16))]
struct Four([f32; 4]);

impl Four {
    #[inline(always)]
    fn multiply_add(self, a: f32, b: Self) -> Self {
        Four(std::array::from_fn(|i| multiply_add(a, b.0[i], self.0[i])))
    }
}

/// The two bf16 of a word, exactly.
#[inline(always)]
fn widen(word: u32) -> (f32, f32) {
    (f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000))
}

/// What the two kinds of portable words have in common.
macro_rules! portable_sums {
    () => {
        type Sum = Four;
        const LANES: usize = 4;
        #[inline(always)]
        unsafe fn zero() -> Four {
            Four([0.0; 4])
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Four {
            // SAFETY: the caller vouches for four numbers.
            Four(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
        }
        #[inline(always)]
        unsafe fn store(sum: Four, to: *mut f32) {
            // SAFETY: as in `load`.
            unsafe { to.cast::<[f32; 4]>().write_unaligned(sum.0) }
        }
        #[inline(always)]
        unsafe fn add(x: Four, y: Four) -> Four {
            Four(std::array::from_fn(|i| x.0[i] + y.0[i]))
        }
    };
}

impl Arithmetic for F32 {
    portable_sums!();
    type A = f32;
    type B = Four;
    #[inline(always)]
    unsafe fn broadcast(a: *const u32) -> f32 {
        // SAFETY: the caller vouches for a word.
        f32::from_bits(unsafe { a.read_unaligned() })
    }
    #[inline(always)]
    unsafe fn weights(b: *const u32) -> Four {
        // SAFETY: the caller vouches for four words.
        unsafe { Self::load(b.cast()) }
    }
    #[inline(always)]
    unsafe fn accumulate(sum: Four, a: f32, b: Four) -> Four {
        sum.multiply_add(a, b)
    }
}

impl Arithmetic for Bf16 {
    portable_sums!();
    type A = (f32, f32);
    type B = (Four, Four);
    #[inline(always)]
    unsafe fn broadcast(a: *const u32) -> (f32, f32) {
        // SAFETY: the caller vouches for a word.
        widen(unsafe { a.read_unaligned() })
    }
    #[inline(always)]
    unsafe fn weights(b: *const u32) -> (Four, Four) {
        // SAFETY: the caller vouches for four words.
        let words = unsafe { b.cast::<[u32; 4]>().read_unaligned() };
        (Four(words.map(|word| widen(word).0)), Four(words.map(|word| widen(word).1)))
    }
    #[inline(always)]
    unsafe fn accumulate(sum: Four, a: (f32, f32), b: (Four, Four)) -> Four {
        sum.multiply_add(a.1, b.1).multiply_add(a.0, b.0)
    }
}

/// Four lanes of groups of bytes.
struct Q8;

impl GroupArithmetic for Q8 {
    type Float = F32;
    type Scale = f32;
    type Sum = [i32; 4];
    type A = [i32; 4];
    type B = [u32; 4];

    #[inline(always)]
    unsafe fn start(from: *const u32) -> [i32; 4] {
        // SAFETY: the caller vouches for a word.
        [unsafe { from.read_unaligned() } as i32; 4]
    }
    #[inline(always)]
    unsafe fn broadcast(a: *const u32) -> [i32; 4] {
        // SAFETY: the caller vouches for a word.
        unsafe { a.read_unaligned() }.to_le_bytes().map(|byte| i32::from(byte as i8))
    }
    #[inline(always)]
    unsafe fn weights(b: *const u32) -> [u32; 4] {
        // SAFETY: the caller vouches for four words.
        unsafe { b.cast::<[u32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn accumulate(sum: [i32; 4], a: [i32; 4], b: [u32; 4]) -> [i32; 4] {
        std::array::from_fn(|lane| {
            let byte = |i: usize| (b[lane] >> (8 * i) & 0xff) as i32;
            sum[lane] + a[0] * byte(0) + a[1] * byte(1) + a[2] * byte(2) + a[3] * byte(3)
        })
    }
    #[inline(always)]
    unsafe fn scale(total: Four, sum: [i32; 4], row: f32, weights: Four) -> Four {
        Four(std::array::from_fn(|i| multiply_add(sum[i] as f32, row * weights.0[i], total.0[i])))
    }
}
