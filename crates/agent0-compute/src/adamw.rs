//! The AdamW optimiser step (Loshchilov and Hutter 2019, decoupled weight decay) and the gradient norm it is clipped by.

use crate::Compute;
use crate::lanes::{LANES, Lanes, dispatch};
use crate::share::{Shared, for_ranges};

/// Numbers summed by one task of [`sum_of_squares`]; fixed, so that the order of the sum is.
const SQUARES_BLOCK: usize = 1 << 16;

/// The constants of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Step length.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled decay: weights shrink by `learning_rate * weight_decay`.
    pub weight_decay: f32,
    /// Multiplies the gradient (clipping by norm).
    pub grad_scale: f32,
    /// Number of this step, from 1, for the bias correction of the moments.
    pub step: u64,
}

/// What does not differ between the weights of a step.
#[derive(Clone, Copy)]
struct Factors {
    keep: f32,
    beta1: f32,
    beta2: f32,
    grad_scale: f32,
    /// `learning_rate / (1 - beta1^step)`
    rate: f32,
    /// `1 / sqrt(1 - beta2^step)`
    root_scale: f32,
    eps: f32,
}

impl From<&AdamStep> for Factors {
    fn from(s: &AdamStep) -> Self {
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(s.step as f64);
        Self {
            keep: (1.0 - f64::from(s.learning_rate) * f64::from(s.weight_decay)) as f32,
            beta1: s.beta1,
            beta2: s.beta2,
            grad_scale: s.grad_scale,
            rate: (f64::from(s.learning_rate) / correction(s.beta1)) as f32,
            root_scale: (1.0 / correction(s.beta2).sqrt()) as f32,
            eps: s.eps,
        }
    }
}

#[inline(always)]
fn update<L: Lanes>(w: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], f: Factors) {
    let state = w.chunks_mut(LANES).zip(m.chunks_mut(LANES)).zip(v.chunks_mut(LANES));
    for (((w, m), v), g) in state.zip(grad.chunks(LANES)) {
        let g = L::read(g, 0.0).mul(L::splat(f.grad_scale));
        let first = L::read(m, 0.0).mul(L::splat(f.beta1)).add(g.mul(L::splat(1.0 - f.beta1)));
        let second = L::read(v, 0.0).mul(L::splat(f.beta2)).add(g.mul(g).mul(L::splat(1.0 - f.beta2)));
        let length = second.sqrt().mul(L::splat(f.root_scale)).add(L::splat(f.eps));
        L::read(w, 0.0).mul(L::splat(f.keep)).sub(L::splat(f.rate).mul(first).div(length)).write(w);
        first.write(m);
        second.write(v);
    }
}

/// One step on the weights `w`; `m` and `v` are their first and second moments (0 before the first step), `grad` the
/// gradient; all four are of one length.
pub fn adamw(cx: &Compute, w: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], s: &AdamStep) {
    let n = w.len();
    assert!(m.len() == n && v.len() == n && grad.len() == n, "weights, moments and gradient differ in length");
    let f = Factors::from(s);
    let (w, m, v) = (Shared::new(w), Shared::new(m), Shared::new(v));
    for_ranges(cx, n.div_ceil(LANES), 4 * LANES, |vectors| {
        let range = vectors.start * LANES..(vectors.end * LANES).min(n);
        let grad = &grad[range.clone()];
        // SAFETY: the ranges of `for_ranges` do not overlap.
        #[allow(unsafe_code)]
        let (w, m, v) = unsafe { (w.part(range.clone()), m.part(range.clone()), v.part(range)) };
        dispatch!(cx.isa(), update(w: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], f: Factors));
    });
}

/// Sum of the squares of `x` in double precision, in one fixed order.
pub fn sum_of_squares(cx: &Compute, x: &[f32]) -> f64 {
    let blocks = x.len().div_ceil(SQUARES_BLOCK);
    let mut sums = vec![0.0; blocks];
    let shared = Shared::new(&mut sums);
    cx.run(blocks, &|i| {
        let block = &x[i * SQUARES_BLOCK..x.len().min((i + 1) * SQUARES_BLOCK)];
        let mut lanes = [0.0f64; LANES];
        for chunk in block.chunks(LANES) {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(x) * f64::from(x);
            }
        }
        // SAFETY: each task has its own sum.
        #[allow(unsafe_code)]
        let sum = unsafe { shared.part(i..i + 1) };
        sum[0] = lanes.iter().sum();
    });
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, computes, noise, on_all, wide};

    #[test]
    fn follows_the_formula_over_several_steps() {
        let n = 20_001;
        let start = noise(n, 1);
        let base = AdamStep { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, grad_scale: 0.5, step: 0 };
        let (mut w, mut m, mut v) = (wide(&start), vec![0.0; n], vec![0.0; n]);
        for t in 1..=3 {
            for (i, g) in noise(n, 10 + t).into_iter().enumerate() {
                let g = f64::from(g) * 0.5;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (mean, square) = (m[i] / (1.0 - 0.9f64.powi(t as i32)), v[i] / (1.0 - 0.999f64.powi(t as i32)));
                w[i] = w[i] * (1.0 - 0.01 * 0.1) - 0.01 * mean / (square.sqrt() + 1e-8);
            }
        }
        for (_, got) in on_all(|cx| {
            let (mut w, mut m, mut v) = (start.clone(), vec![0.0; n], vec![0.0; n]);
            for step in 1..=3 {
                adamw(cx, &mut w, &mut m, &mut v, &noise(n, 10 + step), &AdamStep { step, ..base });
            }
            w
        }) {
            assert_close(&got, &w, 2e-6);
        }
    }

    #[test]
    fn squares_add_up_in_one_order() {
        let x = noise(200_001, 3);
        let exact: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let sums: Vec<f64> = computes().iter().map(|cx| sum_of_squares(cx, &x)).collect();
        assert!((sums[0] - exact).abs() < 1e-9 * exact, "{} {exact}", sums[0]);
        assert!(sums.iter().all(|s| s.to_bits() == sums[0].to_bits()));
        assert_eq!(sum_of_squares(&computes()[0], &[]), 0.0);
    }
}
