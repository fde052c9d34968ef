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

/// The kernel for words of `dtype` on a processor that has `isa`.
pub(crate) fn kernel(isa: Isa, dtype: Dtype) -> &'static Kernel {
    #[cfg(target_arch = "x86_64")]
    match (isa, dtype) {
        (Isa::Portable, _) => {}
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
    let _ = isa;
    match dtype {
        Dtype::F32 => &PORTABLE_F32,
        Dtype::Bf16 => &PORTABLE_BF16,
        Dtype::Q8 => &PORTABLE_Q8,
    }
}

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

static PORTABLE_F32: Kernel = kernel!(tiles of F32, lanes of F32, {1: 1 2 3 4 5 6} {2: 1 2 3 4} {3: 1 2 3} {4: 1 2 3});
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Arithmetic, GroupArithmetic, Kernel, Tiles, tiles, tiles_of_groups};
    use std::arch::x86_64::*;

    pub(super) static AVX2_F32: Kernel =
        kernel!(tiles of Avx2F32, lanes of Avx2F32, {1: 1 2 3 4 5 6} {2: 1 2 3 4 5 6} {3: 1 2 3} {4: 1 2 3}, features: "avx2,fma");
    pub(super) static AVX2_BF16: Kernel =
        kernel!(tiles of Avx2Bf16, lanes of Avx2Bf16, {1: 1 2 3 4 5 6} {2: 1 2 3} {3: 1 2} {4: 1 2}, features: "avx2,fma");
    pub(super) static AVX512_BF16: Kernel =
        kernel!(tiles of Avx512Bf16, lanes of Avx512Bf16, {1: 1 2 3} {2: 1 2 3} {3: 1 2 3} {4: 1 2 3}, features: "avx512f");
    #[rustfmt::skip]
    pub(super) static AVX512_F32: Kernel = kernel!(tiles of Avx512F32, lanes of Avx512F32,
        {1: 1 2 3} {2: 1 2 3} {3: 1 2 3} {4: 1 2 3} {5: 1 2 3} {6: 1 2 3} {7: 1 2 3} {8: 1 2 3}, features: "avx512f");
    #[rustfmt::skip]
    pub(super) static AVX512_DOT_BF16: Kernel = kernel!(tiles of Avx512DotBf16, lanes of Avx512DotBf16,
        {1: 1 2 3} {2: 1 2 3} {3: 1 2 3} {4: 1 2 3} {5: 1 2 3} {6: 1 2 3} {7: 1 2 3} {8: 1 2 3}, features: "avx512f,avx512bf16");

    #[rustfmt::skip]
    pub(super) static AVX2_Q8: Kernel = kernel!(tiles_of_groups of Avx2Q8, lanes of Avx2F32, {1: 1 2 3} {2: 1 2 3} {3: 1 2} {4: 1 2}, features: "avx2,fma");
    #[rustfmt::skip]
    pub(super) static AVX2_DOT_Q8: Kernel = kernel!(tiles_of_groups of Avx2DotQ8, lanes of Avx2F32,
        {1: 1 2 3} {2: 1 2 3} {3: 1 2 3} {4: 1 2 3}, features: "avx2,fma,avxvnni");
    #[rustfmt::skip]
    pub(super) static AVX512_Q8: Kernel = kernel!(tiles_of_groups of Avx512Q8, lanes of Avx512F32,
        {1: 1 2 3} {2: 1 2 3} {3: 1 2 3} {4: 1 2}, features: "avx512f,avx512bw");
    #[rustfmt::skip]
    pub(super) static AVX512_DOT_Q8: Kernel = kernel!(tiles_of_groups of Avx512DotQ8, lanes of Avx512F32,
        {1: 1 2 3} {2: 1 2 3} {3: 1 2 3} {4: 1 2 3} {5: 1 2 3} {6: 1 2 3} {7: 1 2 3} {8: 1 2 3}, features: "avx512f,avx512bw,avx512vnni");

    struct Avx2F32;
    struct Avx2Bf16;
    struct Avx2Q8;
    struct Avx2DotQ8;
    struct Avx512Q8;
    struct Avx512DotQ8;
    struct Avx512F32;
    struct Avx512Bf16;
    struct Avx512DotBf16;

    /// What all arithmetics of a vector size have in common.
    macro_rules! sums {
        ($vector:ty, $lanes:literal, $zero:ident, $load:ident, $store:ident, $add:ident) => {
            type Sum = $vector;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn zero() -> $vector {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { $zero() }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> $vector {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(sum: $vector, to: *mut f32) {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe { $store(to, sum) }
            }
            #[inline(always)]
            unsafe fn add(x: $vector, y: $vector) -> $vector {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { $add(x, y) }
            }
            #[inline(always)]
            unsafe fn prefetch(at: *const u32) {
                // SAFETY: a prefetch of any address is harmless.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }
            #[inline(always)]
            unsafe fn prefetch_far(at: *const u32) {
                // SAFETY: a prefetch of any address is harmless.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
            }
        };
    }

    /// Words of `f32`: a fused multiply-add each.
    macro_rules! f32_words {
        ($vector:ty, $load:ident, $splat:ident, $fma:ident) => {
            type A = $vector;
            type B = $vector;
            #[inline(always)]
            unsafe fn broadcast(a: *const u32) -> $vector {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe { $splat(a.cast::<f32>().read_unaligned()) }
            }
            #[inline(always)]
            unsafe fn weights(b: *const u32) -> $vector {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe { $load(b.cast()) }
            }
            #[inline(always)]
            unsafe fn accumulate(sum: $vector, a: $vector, b: $vector) -> $vector {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { $fma(a, b, sum) }
            }
        };
    }

    /// Words of two bf16, widened: a shift, a mask and two fused multiply-adds each.
    macro_rules! widened_words {
        ($vector:ty, $load:ident, $splat:ident, $fma:ident, $shift:ident, $mask:ident, $cast:ident) => {
            type A = ($vector, $vector);
            type B = ($vector, $vector);
            #[inline(always)]
            unsafe fn broadcast(a: *const u32) -> Self::A {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe {
                    let words = $splat(a.cast::<i32>().read_unaligned());
                    ($cast($shift::<16>(words)), $cast($mask(words, $splat(0xffff_0000u32 as i32))))
                }
            }
            #[inline(always)]
            unsafe fn weights(b: *const u32) -> Self::B {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe {
                    let words = $load(b.cast());
                    ($cast($shift::<16>(words)), $cast($mask(words, $splat(0xffff_0000u32 as i32))))
                }
            }
            #[inline(always)]
            unsafe fn accumulate(sum: $vector, a: Self::A, b: Self::B) -> $vector {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { $fma(a.0, b.0, $fma(a.1, b.1, sum)) }
            }
        };
    }

    impl Arithmetic for Avx2F32 {
        sums!(__m256, 8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps);
        f32_words!(__m256, _mm256_loadu_ps, _mm256_set1_ps, _mm256_fmadd_ps);
    }

    #[rustfmt::skip]
    impl Arithmetic for Avx2Bf16 {
        sums!(__m256, 8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps);
        widened_words!(__m256, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_fmadd_ps,
            _mm256_slli_epi32, _mm256_and_si256, _mm256_castsi256_ps);
    }

    impl Arithmetic for Avx512F32 {
        sums!(__m512, 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps);
        f32_words!(__m512, _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps);
    }

    #[rustfmt::skip]
    impl Arithmetic for Avx512Bf16 {
        sums!(__m512, 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps);
        widened_words!(__m512, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_fmadd_ps,
            _mm512_slli_epi32, _mm512_and_si512, _mm512_castsi512_ps);
    }

    impl Arithmetic for Avx512DotBf16 {
        sums!(__m512, 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps);
        type A = __m512bh;
        type B = __m512bh;
        #[inline(always)]
        unsafe fn broadcast(a: *const u32) -> __m512bh {
            // SAFETY: the caller vouches for the instruction set and the pointer; both types are 512 plain bits.
            unsafe { std::mem::transmute(_mm512_set1_epi32(a.cast::<i32>().read_unaligned())) }
        }
        #[inline(always)]
        unsafe fn weights(b: *const u32) -> __m512bh {
            // SAFETY: as in `broadcast`.
            unsafe { std::mem::transmute(_mm512_loadu_si512(b.cast())) }
        }
        #[inline(always)]
        unsafe fn accumulate(sum: __m512, a: __m512bh, b: __m512bh) -> __m512 {
            // SAFETY: the caller vouches for the instruction set.
            unsafe { _mm512_dpbf16_ps(sum, a, b) }
        }
    }

    /// What the byte arithmetics of a vector size have in common.
    macro_rules! byte_sums {
        ($float:ty, $vector:ty, $floats:ty, $load:ident, $splat:ident, $convert:ident, $mul:ident, $fma:ident) => {
            type Float = $float;
            type Scale = $floats;
            type Sum = $vector;
            type A = $vector;
            type B = $vector;
            #[inline(always)]
            unsafe fn broadcast(a: *const u32) -> $vector {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe { $splat(a.cast::<i32>().read_unaligned()) }
            }
            #[inline(always)]
            unsafe fn weights(b: *const u32) -> $vector {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe { $load(b.cast()) }
            }
            #[inline(always)]
            unsafe fn start(from: *const u32) -> $vector {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe { $splat(from.cast::<i32>().read_unaligned()) }
            }
            #[inline(always)]
            unsafe fn scale(total: $floats, sum: $vector, row: $floats, weights: $floats) -> $floats {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { $fma($convert(sum), $mul(row, weights), total) }
            }
        };
    }

    /// Bytes multiplied and added in pairs, to 16 bits, and those sums in pairs to 32 (see `bytes` for why none is too large).
    macro_rules! paired_bytes {
        ($vector:ty, $ones:ident, $pairs:ident, $madd:ident, $add:ident) => {
            #[inline(always)]
            unsafe fn accumulate(sum: $vector, a: $vector, b: $vector) -> $vector {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { $add(sum, $madd($pairs(b, a), $ones(1))) }
            }
        };
    }

    /// Bytes multiplied and added in fours, to 32 bits.
    macro_rules! dotted_bytes {
        ($vector:ty, $dot:ident) => {
            #[inline(always)]
            unsafe fn accumulate(sum: $vector, a: $vector, b: $vector) -> $vector {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { $dot(sum, b, a) }
            }
        };
    }

    #[rustfmt::skip]
    impl GroupArithmetic for Avx2Q8 {
        byte_sums!(Avx2F32, __m256i, __m256, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_cvtepi32_ps, _mm256_mul_ps, _mm256_fmadd_ps);
        paired_bytes!(__m256i, _mm256_set1_epi16, _mm256_maddubs_epi16, _mm256_madd_epi16, _mm256_add_epi32);
    }

    #[rustfmt::skip]
    impl GroupArithmetic for Avx2DotQ8 {
        byte_sums!(Avx2F32, __m256i, __m256, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_cvtepi32_ps, _mm256_mul_ps, _mm256_fmadd_ps);
        dotted_bytes!(__m256i, _mm256_dpbusd_avx_epi32);
    }

    #[rustfmt::skip]
    impl GroupArithmetic for Avx512Q8 {
        byte_sums!(Avx512F32, __m512i, __m512, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_cvtepi32_ps, _mm512_mul_ps, _mm512_fmadd_ps);
        paired_bytes!(__m512i, _mm512_set1_epi16, _mm512_maddubs_epi16, _mm512_madd_epi16, _mm512_add_epi32);
    }

    #[rustfmt::skip]
    impl GroupArithmetic for Avx512DotQ8 {
        byte_sums!(Avx512F32, __m512i, __m512, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_cvtepi32_ps, _mm512_mul_ps, _mm512_fmadd_ps);
        dotted_bytes!(__m512i, _mm512_dpbusd_epi32);
    }
}
