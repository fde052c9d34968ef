//! Rounding to bf16, the upper half of an `f32`.

/// The bits of `x` rounded to bf16, to nearest with ties to even; the lower half is zero. NaN stays NaN.
#[inline(always)]
pub(crate) fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    (if x.is_nan() { bits | 0x0040_0000 } else { rounded }) & 0xffff_0000
}

/// Two neighbours as a word of bf16, the first in the lower half.
#[inline(always)]
pub(crate) fn pair(even: f32, odd: f32) -> u32 {
    round(even) >> 16 | round(odd)
}
