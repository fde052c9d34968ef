//! Sums of products and maxima of rows, in one fixed order.

use crate::lanes::{LANES, Lanes};

/// Vectors reduced side by side to hide the latency of an addition.
const WAYS: usize = 4;

/// `sum a[i] * b[i]`.
#[inline(always)]
pub(crate) fn dot<L: Lanes>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [L::splat(0.0); WAYS];
    let (left, right) = (a.chunks_exact(WAYS * LANES), b.chunks_exact(WAYS * LANES));
    for (x, y) in left.remainder().chunks(LANES).zip(right.remainder().chunks(LANES)) {
        sums[0] = L::read(x, 0.0).mul_add(L::read(y, 0.0), sums[0]);
    }
    for (x, y) in left.zip(right) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = L::load(&x[i * LANES..]).mul_add(L::load(&y[i * LANES..]), *sum);
        }
    }
    sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum()
}

/// The largest number of a row, -inf for an empty one. NaNs may be passed over.
#[inline(always)]
pub(crate) fn max<L: Lanes>(row: &[f32]) -> f32 {
    let mut best = [L::splat(f32::NEG_INFINITY); WAYS];
    let chunks = row.chunks_exact(WAYS * LANES);
    for x in chunks.remainder().chunks(LANES) {
        best[0] = L::read(x, f32::NEG_INFINITY).max(best[0]);
    }
    for x in chunks {
        for (i, best) in best.iter_mut().enumerate() {
            *best = L::load(&x[i * LANES..]).max(*best);
        }
    }
    best[0].max(best[1]).max(best[2].max(best[3])).max_lane()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::lanes::dispatch;
    use crate::testing::noise;

    #[test]
    fn rows_of_any_length() {
        for n in [1, 15, 16, 17, 64, 100, 576, 1001] {
            let (a, b) = (noise(n, 1), noise(n, 2));
            let (a, b) = (a.as_slice(), b.as_slice());
            let sum: f64 = a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            let largest = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for isa in Isa::available() {
                let got = dispatch!(isa, dot(a: &[f32], b: &[f32]) -> f32);
                assert!((f64::from(got) - sum).abs() < 1e-5 * (n as f64).sqrt(), "{isa} {n}: {got} {sum}");
                assert_eq!(dispatch!(isa, max(a: &[f32]) -> f32), largest, "{isa} {n}");
            }
        }
    }
}
