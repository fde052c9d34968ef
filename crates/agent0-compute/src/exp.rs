//! Exponentials of sixteen numbers, shared by softmax, attention and SwiGLU.

use crate::lanes::Lanes;

/// Below this `exp` rounds to 0 even as a subnormal.
const LOWEST: f32 = -104.0;
/// Above this it overflows; [`exp`] then gives infinity.
const HIGHEST: f32 = 89.0;
/// ln 2 in two parts: the first has few bits, so that its products with exponents are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// `exp(r) = 1 + r + r^2 * (C2 + C3 r + ..)`: minimax for the relative error on |r| <= ln(2)/2, off by 3e-9.
const C: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_71, 0.001_381_461_3];

/// `e^x`, relative error below 2e-7 while the result is a normal number; `exp(-inf)` is 0 and NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<L: Lanes>(x: L) -> L {
    let x = L::splat(LOWEST).max(L::splat(HIGHEST).min(x));
    let n = x.mul(L::splat(std::f32::consts::LOG2_E)).round();
    let r = n.mul_add(L::splat(-LN_2_HIGH), x);
    let r = n.mul_add(L::splat(-LN_2_LOW), r);
    let mut p = L::splat(C[4]);
    for c in [C[3], C[2], C[1], C[0]] {
        p = p.mul_add(r, L::splat(c));
    }
    let p = p.mul_add(r.mul(r), r).add(L::splat(1.0));
    p.scale_by_power(n)
}

/// Below this `2^x` rounds to 0, and [`Lanes::scale_by_power`] reaches it.
const LOWEST_POWER: f32 = -160.0;
/// `2^r = 1 + r * (D0 + D1 r + ..)`: relative error 2e-7 on |r| <= 1/2.
const D: [f32; 5] = [std::f32::consts::LN_2, 0.240_223_5, 0.055_503_81, 0.009_666_368, 0.001_338_130_2];

/// `2^x` for `x` up to 100, relative error below 4e-7 while the result is a normal number; `exp2(-inf)` is 0 and NaN stays
/// NaN. Cheaper than [`exp`], for softmax weights, whose scale takes in the change of base.
#[inline(always)]
pub(crate) fn exp2<L: Lanes>(x: L) -> L {
    let x = L::splat(LOWEST_POWER).max(x);
    let n = x.round();
    let r = x.sub(n);
    let mut p = L::splat(D[4]);
    for d in [D[3], D[2], D[1], D[0], 1.0] {
        p = p.mul_add(r, L::splat(d));
    }
    p.scale_by_power(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::lanes::{LANES, dispatch};

    #[inline(always)]
    fn exp_in_place<L: Lanes>(x: &mut [f32]) {
        for x in x.chunks_exact_mut(LANES) {
            exp(L::load(x)).store(x);
        }
    }

    fn exp_all(isa: Isa, x: &[f32]) -> Vec<f32> {
        let mut y = x.to_vec();
        let x = y.as_mut_slice();
        dispatch!(isa, exp_in_place(x: &mut [f32]));
        y
    }

    #[inline(always)]
    fn exp2_in_place<L: Lanes>(x: &mut [f32]) {
        for x in x.chunks_exact_mut(LANES) {
            exp2(L::load(x)).store(x);
        }
    }

    #[test]
    fn powers_of_two_are_close_to_double_precision() {
        let x: Vec<f32> = (0..1 << 20).map(|i| -126.0 + i as f32 * (226.0 / (1 << 20) as f32)).collect();
        for isa in Isa::available() {
            let (mut y, mut ends) = (x.clone(), [0.0; LANES]);
            ends[..5].copy_from_slice(&[f32::NEG_INFINITY, -1e30, -151.0, -140.0, f32::NAN]);
            for x in [y.as_mut_slice(), &mut ends] {
                dispatch!(isa, exp2_in_place(x: &mut [f32]));
            }
            let worst = x.iter().zip(y).map(|(&x, y)| (f64::from(y) / f64::from(x).exp2() - 1.0).abs()).fold(0.0, f64::max);
            assert!(worst < 4e-7, "{isa}: {worst}");
            assert_eq!(ends[..4], [0.0, 0.0, 0.0, 2f32.powi(-140)], "{isa}");
            assert!(ends[4].is_nan() && ends[5..].iter().all(|&x| x == 1.0), "{isa}: {ends:?}");
        }
    }

    #[test]
    fn is_close_to_double_precision() {
        let x: Vec<f32> = (0..1 << 20).map(|i| -87.3 + i as f32 * (176.0 / (1 << 20) as f32)).collect();
        for isa in Isa::available() {
            let worst = x.iter().zip(exp_all(isa, &x)).map(|(&x, y)| (f64::from(y) / f64::from(x).exp() - 1.0).abs()).fold(0.0, f64::max);
            assert!(worst < 2e-7, "{isa}: {worst}");
        }
    }

    #[test]
    fn handles_the_ends_of_the_range() {
        let mut x = [0.0; LANES];
        x[..8].copy_from_slice(&[f32::NEG_INFINITY, -1e30, -104.0, -100.0, 89.0, 1e30, f32::INFINITY, f32::NAN]);
        for isa in Isa::available() {
            let y = exp_all(isa, &x);
            assert_eq!(&y[..3], [0.0; 3], "{isa}");
            assert!((y[3] - 3.8e-44).abs() < 2e-45, "{isa}: {}", y[3]);
            assert_eq!(&y[4..7], [f32::INFINITY; 3], "{isa}");
            assert!(y[7].is_nan(), "{isa}");
            assert_eq!(&y[8..], [1.0; 8], "{isa}");
        }
    }
}
