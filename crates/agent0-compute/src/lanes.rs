//! Sixteen `f32` at a time: one vocabulary in which the row kernels are written once for every instruction set.
//!
//! A kernel body is an `#[inline(always)]` function generic over [`Lanes`]; [`dispatch!`] stamps it out for each
//! instruction set and calls the right copy. The number of lanes is the same everywhere and reductions have a fixed
//! tree, so a kernel says by itself in which order it adds. Instruction sets that fuse multiply and add give the
//! same bits; the portable lanes do so where the compilation target has it. Matrix products of packed weights do not go through here.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use {avx2::Avx2, avx512::Avx512};

/// Lanes in a vector.
pub(crate) const LANES: usize = 16;

/// A vector of [`LANES`] numbers.
///
/// The x86 types may be named only by [`dispatch!`], inside functions compiled for their instruction set and reached
/// after [`Isa`](crate::Isa) said that the processor has it: that is what makes their methods safe.
pub(crate) trait Lanes: Copy {
    /// Rows of a product's tile that the registers hold (see `attention::product`).
    const TILE_ROWS: usize;
    /// Vectors side by side in such a tile.
    const TILE_COLUMNS: usize;

    fn splat(x: f32) -> Self;
    /// The first [`LANES`] numbers of `x`.
    fn load(x: &[f32]) -> Self;
    /// Into the first [`LANES`] numbers of `x`.
    fn store(self, x: &mut [f32]);
    /// The two bf16 of a word, in all lanes: that in the lower half, and that in the upper half.
    fn splat_pair(x: u32) -> (Self, Self);
    /// The first [`LANES`] words of `x`, each two bf16: those in the lower halves, and those in the upper halves.
    fn load_pairs(x: &[u32]) -> (Self, Self);
    /// The numbers of `self` and then of `next` as bf16 (to nearest, halves away from zero), two neighbours in a word, the
    /// first in the lower half, into the first [`LANES`] words of `x`.
    fn store_pairs(self, next: Self, x: &mut [u32]);
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    fn sqrt(self) -> Self;
    /// `self * b + c`, fused where the instruction set fuses.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `self > b ? self : b` in each lane: a NaN in `b` stays.
    fn max(self, b: Self) -> Self;
    /// `self < b ? self : b` in each lane: a NaN in `b` stays.
    fn min(self, b: Self) -> Self;
    /// To the nearest whole number, ties to even.
    fn round(self) -> Self;
    /// `self * 2^n` for whole `n` of magnitude at most 160, rounded once.
    fn scale_by_power(self, n: Self) -> Self;

    /// Asks for the cache line at `at`, which need not exist.
    #[inline(always)]
    fn prefetch<T>(_at: *const T) {}

    /// The numbers themselves.
    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes);
        lanes
    }

    /// Up to [`LANES`] numbers, the missing ones `fill`.
    #[inline(always)]
    fn read(x: &[f32], fill: f32) -> Self {
        if x.len() == LANES {
            return Self::load(x);
        }
        let mut lanes = [fill; LANES];
        lanes[..x.len()].copy_from_slice(x);
        Self::load(&lanes)
    }

    /// The first `x.len()` (at most [`LANES`]) numbers.
    #[inline(always)]
    fn write(self, x: &mut [f32]) {
        if x.len() == LANES {
            self.store(x);
        } else {
            x.copy_from_slice(&self.to_array()[..x.len()]);
        }
    }

    /// Sum over the lanes, halves folded onto each other.
    #[inline(always)]
    fn sum(self) -> f32 {
        fold(self.to_array(), |a, b| a + b)
    }

    /// The largest lane.
    #[inline(always)]
    fn max_lane(self) -> f32 {
        fold(self.to_array(), |a, b| if a > b { a } else { b })
    }
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = combine(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Calls the generic function `$f::<L>` compiled for instruction set `$isa`: `dispatch!(isa, f(a: &[f32], n: usize) -> f32)`
/// passes the variables `a` and `n`.
macro_rules! dispatch {
    ($isa:expr, $f:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
        #[allow(clippy::too_many_arguments)]
        fn avx512($($arg: $ty),*) $(-> $ret)? {
            $f::<$crate::lanes::Avx512>($($arg),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        #[allow(clippy::too_many_arguments)]
        fn avx2($($arg: $ty),*) $(-> $ret)? {
            $f::<$crate::lanes::Avx2>($($arg),*)
        }
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx512 | $crate::Isa::Avx512Vnni | $crate::Isa::Avx512Bf16 => {
                // SAFETY: an `Isa` in use is one the processor has.
                #[allow(unsafe_code)]
                unsafe { avx512($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx2 | $crate::Isa::Avx2Vnni => {
                // SAFETY: as above.
                #[allow(unsafe_code)]
                unsafe { avx2($($arg),*) }
            }
            #[allow(unreachable_patterns)]
            _ => $f::<$crate::lanes::Portable>($($arg),*),
        }
    }};
}
pub(crate) use dispatch;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    /// Every method once, results appended.
    #[inline(always)]
    fn exercise<L: Lanes>(a: &[f32], b: &[f32], out: &mut Vec<f32>) {
        let (x, y) = (L::load(a), L::load(b));
        let n = y.round();
        for v in [x.add(y), x.sub(y), x.mul(y), x.div(y), x.mul(x).sqrt(), x.max(y), x.min(y), n, x.scale_by_power(n), L::splat(3.0)] {
            out.extend(v.to_array());
        }
        out.extend([x.sum(), x.max_lane(), L::read(&a[..5], -1.0).sum()]);
        let mut part = [7.0; 3];
        y.write(&mut part);
        out.extend(part);
    }

    #[inline(always)]
    fn through_pairs<L: Lanes>(a: &[f32], b: &[f32], words: &mut [u32], out: &mut Vec<f32>) {
        L::load(a).store_pairs(L::load(b), words);
        let (lower, upper) = L::load_pairs(words);
        out.extend(lower.to_array());
        out.extend(upper.to_array());
        let (lower, upper) = L::splat_pair(words[3]);
        out.extend([lower.sum(), upper.sum()]);
    }

    #[test]
    fn pairs_are_neighbours_rounded_to_bf16() {
        let x: Vec<f32> = (0..32).map(|i| (i as f32 - 11.3) * 1.37e-3).collect();
        let rounded: Vec<f32> = x.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect();
        let mut expected: Vec<f32> = [0, 1].iter().flat_map(|&odd| rounded[odd..].iter().step_by(2)).copied().collect();
        expected.extend([16.0 * rounded[6], 16.0 * rounded[7]]);
        for isa in Isa::available() {
            let (a, b) = x.split_at(LANES);
            let (words, out) = (&mut [0u32; LANES][..], &mut Vec::new());
            dispatch!(isa, through_pairs(a: &[f32], b: &[f32], words: &mut [u32], out: &mut Vec<f32>));
            assert_eq!(*out, expected, "{isa}");
            assert_eq!(f32::from_bits(words[3] << 16), rounded[6], "{isa}: the first is in the lower half");
        }
    }

    #[test]
    fn instruction_sets_agree_on_everything_but_fusing() {
        let a: Vec<f32> = (0..16).map(|i| (i as f32 - 7.3) * 1.7).collect();
        let b: Vec<f32> = (0..16).map(|i| ((i * 7) % 16) as f32 * 18.75 - 140.5).collect();
        let (a, b) = (a.as_slice(), b.as_slice());
        let mut expected = Vec::new();
        exercise::<Portable>(a, b, &mut expected);
        assert_eq!(expected[8 * 16..9 * 16].iter().filter(|x| **x == 0.0).count(), 0, "subnormal powers are kept");
        for isa in Isa::available() {
            let mut got = Vec::new();
            let out = &mut got;
            dispatch!(isa, exercise(a: &[f32], b: &[f32], out: &mut Vec<f32>));
            assert_eq!(got, expected, "{isa}");
        }
    }
}
