//! The arithmetic of tiles on x86-64: vectors of AVX2 and AVX-512, with their dot products where there are any.

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
