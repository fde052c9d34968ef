//! Bytes on AArch64 processors that have their dot product. Everything else there is portable code, which the compiler turns
//! into NEON.

use super::{Arithmetic, F32, Four, GroupArithmetic, Kernel, Q8, Tiles, tiles_of_groups};
use crate::gemm::bytes::WEIGHT;
use std::arch::aarch64::*;
use std::arch::asm;

#[rustfmt::skip]
pub(super) static DOT_Q8: Kernel = kernel!(tiles_of_groups of DotQ8, lanes of F32,
    {1: 1 2 3 4 5 6} {2: 1 2 3 4 5 6} {3: 1 2 3 4} {4: 1 2 3 4} {5: 1 2 3} {6: 1 2 3} {7: 1 2 3} {8: 1 2 3}, features: "neon,dotprod");

/// Four lanes of groups of bytes.
struct DotQ8;

impl GroupArithmetic for DotQ8 {
    type Float = F32;
    type Scale = f32;
    type Sum = int32x4_t;
    /// The word as it is, in the first lane of a register: the instruction takes it from there.
    type A = f32;
    type B = int8x16_t;

    /// Zero: the dot product is that of signed bytes, so weights lose what was added to them before they are multiplied.
    #[inline(always)]
    unsafe fn start(_from: *const u32) -> int32x4_t {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { vdupq_n_s32(0) }
    }
    #[inline(always)]
    unsafe fn broadcast(a: *const u32) -> f32 {
        // SAFETY: the caller vouches for a word.
        f32::from_bits(unsafe { a.read_unaligned() })
    }
    #[inline(always)]
    unsafe fn weights(b: *const u32) -> int8x16_t {
        // SAFETY: the caller vouches for the instruction set and for four words.
        unsafe { vsubq_s8(vld1q_s8(b.cast()), vdupq_n_s8(WEIGHT as i8)) }
    }
    #[inline(always)]
    unsafe fn accumulate(mut sum: int32x4_t, a: f32, b: int8x16_t) -> int32x4_t {
        // SAFETY: the caller vouches for the instruction set; only `sum` changes. (The intrinsic is not stable yet.)
        unsafe {
            asm!("sdot {sum:v}.4s, {b:v}.16b, {a:v}.4b[0]", sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags));
        }
        sum
    }
    #[inline(always)]
    unsafe fn scale(total: Four, sum: int32x4_t, row: f32, weights: Four) -> Four {
        // SAFETY: both types are four 32-bit integers.
        unsafe { Q8::scale(total, std::mem::transmute::<int32x4_t, [i32; 4]>(sum), row, weights) }
    }
}
