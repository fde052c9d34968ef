//! The exponential of sixteen numbers, shared by softmax, attention and SwiGLU.

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
