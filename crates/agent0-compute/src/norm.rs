//! Root-mean-square norms of rows and of attention heads, their gradients, and bias. Weights are frozen: they have none.

use crate::Compute;
use crate::dot::dot;
use crate::lanes::{LANES, Lanes, dispatch};
use crate::share::for_rows;

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
fn inverse_rms<L: Lanes>(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot::<L>(x, x) / x.len() as f32 + eps).sqrt()
}

#[inline(always)]
fn norm_row<L: Lanes>(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let scale = L::splat(inverse_rms::<L>(x, eps));
    for ((x, w), y) in x.chunks(LANES).zip(weight.chunks(LANES)).zip(y.chunks_mut(LANES)) {
        L::read(x, 0.0).mul(scale).mul(L::read(w, 0.0)).write(y);
    }
}

#[inline(always)]
fn norm_heads<L: Lanes>(row: &mut [f32], weight: &[f32], eps: f32) {
    for head in row.chunks_exact_mut(weight.len()) {
        let scale = L::splat(inverse_rms::<L>(head, eps));
        for (x, w) in head.chunks_mut(LANES).zip(weight.chunks(LANES)) {
            L::read(x, 0.0).mul(scale).mul(L::read(w, 0.0)).write(x);
        }
    }
}

/// The two numbers in `dx = dy * weight * r - x * c`: `r = 1/rms` and `c = r^3 * mean(dy * weight * x)`.
#[inline(always)]
fn backward_factors<L: Lanes>(x: &[f32], weight: &[f32], eps: f32, dy: &[f32]) -> (L, L) {
    let r = inverse_rms::<L>(x, eps);
    let mut sum = L::splat(0.0);
    for ((x, w), dy) in x.chunks(LANES).zip(weight.chunks(LANES)).zip(dy.chunks(LANES)) {
        sum = L::read(dy, 0.0).mul(L::read(w, 0.0)).mul_add(L::read(x, 0.0), sum);
    }
    (L::splat(r), L::splat(r * r * r * (sum.sum() / x.len() as f32)))
}

#[inline(always)]
fn norm_row_backward<L: Lanes>(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32]) {
    let (r, c) = backward_factors::<L>(x, weight, eps, dy);
    for (((x, w), dy), dx) in x.chunks(LANES).zip(weight.chunks(LANES)).zip(dy.chunks(LANES)).zip(dx.chunks_mut(LANES)) {
        let own = L::read(dy, 0.0).mul(L::read(w, 0.0)).mul(r);
        own.sub(L::read(x, 0.0).mul(c)).add(L::read(dx, 0.0)).write(dx);
    }
}

#[inline(always)]
fn norm_heads_backward<L: Lanes>(x: &[f32], weight: &[f32], eps: f32, dy: &mut [f32]) {
    for (x, dy) in x.chunks_exact(weight.len()).zip(dy.chunks_exact_mut(weight.len())) {
        let (r, c) = backward_factors::<L>(x, weight, eps, dy);
        for ((x, w), dy) in x.chunks(LANES).zip(weight.chunks(LANES)).zip(dy.chunks_mut(LANES)) {
            L::read(dy, 0.0).mul(L::read(w, 0.0)).mul(r).sub(L::read(x, 0.0).mul(c)).write(dy);
        }
    }
}

#[inline(always)]
fn add_row<L: Lanes>(y: &mut [f32], bias: &[f32]) {
    for (y, b) in y.chunks_mut(LANES).zip(bias.chunks(LANES)) {
        L::read(y, 0.0).add(L::read(b, 0.0)).write(y);
    }
}

/// `y = x / sqrt(mean(x^2) + eps) * weight` for each row of `x` `[m, dim]`, into `y` `[m, dim]`.
pub fn rms_norm(cx: &Compute, m: usize, x: &[f32], dim: usize, weight: &[f32], eps: f32, y: &mut [f32]) {
    for_rows(cx, m, y, dim, 2 * dim, |i, y| {
        let x = &x[i * dim..][..dim];
        dispatch!(cx.isa(), norm_row(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]));
    });
}

/// Gradient of [`rms_norm`]: adds to `dx` `[m, dim]` what `dy` `[m, dim]` says about the norm's input `x`.
#[allow(clippy::too_many_arguments)]
pub fn rms_norm_backward(cx: &Compute, m: usize, x: &[f32], dim: usize, weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32]) {
    for_rows(cx, m, dx, dim, 3 * dim, |i, dx| {
        let (x, dy) = (&x[i * dim..][..dim], &dy[i * dim..][..dim]);
        dispatch!(cx.isa(), norm_row_backward(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32]));
    });
}

/// Norms each head of each row in place: heads of `head_dim` numbers start at column 0 of `x`, whose rows lie `ld` apart;
/// `weight` `[head_dim]` is shared by the heads (q/k norm of Qwen3).
#[allow(clippy::too_many_arguments)]
pub fn head_norm(cx: &Compute, m: usize, x: &mut [f32], ld: usize, heads: usize, head_dim: usize, weight: &[f32], eps: f32) {
    let weight = &weight[..head_dim];
    for_rows(cx, m, x, ld, 2 * heads * head_dim, |_, row| {
        let row = &mut row[..heads * head_dim];
        dispatch!(cx.isa(), norm_heads(row: &mut [f32], weight: &[f32], eps: f32));
    });
}

/// Gradient of [`head_norm`], in place: `dy` (rows `lddy` apart) becomes the gradient of the input `x` (rows `ldx` apart).
#[allow(clippy::too_many_arguments)]
pub fn head_norm_backward(
    cx: &Compute,
    m: usize,
    x: &[f32],
    ldx: usize,
    heads: usize,
    head_dim: usize,
    weight: &[f32],
    eps: f32,
    dy: &mut [f32],
    lddy: usize,
) {
    let weight = &weight[..head_dim];
    for_rows(cx, m, dy, lddy, 3 * heads * head_dim, |i, dy| {
        let (x, dy) = (&x[i * ldx..][..heads * head_dim], &mut dy[..heads * head_dim]);
        dispatch!(cx.isa(), norm_heads_backward(x: &[f32], weight: &[f32], eps: f32, dy: &mut [f32]));
    });
}

/// Adds `bias` to the first columns of each row of `y`, rows `ld` apart.
pub fn add_bias(cx: &Compute, m: usize, y: &mut [f32], ld: usize, bias: &[f32]) {
    for_rows(cx, m, y, ld, bias.len(), |_, y| {
        let y = &mut y[..bias.len()];
        dispatch!(cx.isa(), add_row(y: &mut [f32], bias: &[f32]));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise, on_all, wide};

    const EPS: f32 = 1e-5;

    fn norm_f64(x: &[f64], weight: &[f32]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let r = 1.0 / (mean + f64::from(EPS)).sqrt();
        x.iter().zip(weight).map(|(x, &w)| x * r * f64::from(w)).collect()
    }

    /// Numeric gradient of `sum(dy * norm(x))`.
    fn gradient_f64(x: &[f32], weight: &[f32], dy: &[f32]) -> Vec<f64> {
        let loss = |x: &[f64]| norm_f64(x, weight).iter().zip(dy).map(|(y, &d)| y * f64::from(d)).sum::<f64>();
        let mut x = wide(x);
        (0..x.len())
            .map(|j| {
                let (at, step) = (x[j], 1e-5);
                x[j] = at + step;
                let up = loss(&x);
                x[j] = at - step;
                let down = loss(&x);
                x[j] = at;
                (up - down) / (2.0 * step)
            })
            .collect()
    }

    #[test]
    fn rows_and_their_gradients() {
        for (m, dim) in [(1, 576), (37, 64), (3, 100), (5, 7)] {
            let (x, weight, dy, before) = (noise(m * dim, 1), noise(dim, 2), noise(m * dim, 3), noise(m * dim, 4));
            let y64: Vec<f64> = x.chunks(dim).flat_map(|x| norm_f64(&wide(x), &weight)).collect();
            for (_, y) in on_all(|cx| {
                let mut y = vec![f32::NAN; m * dim];
                rms_norm(cx, m, &x, dim, &weight, EPS, &mut y);
                y
            }) {
                assert_close(&y, &y64, 1e-6);
            }
            let dx64 = x.chunks(dim).zip(dy.chunks(dim)).flat_map(|(x, dy)| gradient_f64(x, &weight, dy));
            let dx64: Vec<f64> = dx64.zip(&before).map(|(d, &b)| d + f64::from(b)).collect();
            for (_, dx) in on_all(|cx| {
                let mut dx = before.clone();
                rms_norm_backward(cx, m, &x, dim, &weight, EPS, &dy, &mut dx);
                dx
            }) {
                assert_close(&dx, &dx64, 5e-6);
            }
        }
    }

    #[test]
    fn heads_and_their_gradients_leave_the_other_columns_alone() {
        for (m, heads, head_dim) in [(1, 3, 16), (37, 7, 64), (4, 2, 128)] {
            let (width, ld) = (heads * head_dim, heads * head_dim + 5);
            let len = (m - 1) * ld + width; // the slice may end with the last row's heads
            let (x, weight, dy) = (noise(len, 1), noise(head_dim, 2), noise(len, 3));
            let mut y64 = wide(&x);
            let mut dx64 = wide(&dy);
            for i in 0..m {
                for at in (i * ld..i * ld + width).step_by(head_dim) {
                    y64.splice(at..at + head_dim, norm_f64(&wide(&x[at..at + head_dim]), &weight));
                    dx64.splice(at..at + head_dim, gradient_f64(&x[at..at + head_dim], &weight, &dy[at..at + head_dim]));
                }
            }
            for (_, y) in on_all(|cx| {
                let mut y = x.clone();
                head_norm(cx, m, &mut y, ld, heads, head_dim, &weight, EPS);
                y
            }) {
                assert_close(&y, &y64, 1e-6);
            }
            for (_, dx) in on_all(|cx| {
                let mut dx = dy.clone();
                head_norm_backward(cx, m, &x, ld, heads, head_dim, &weight, EPS, &mut dx, ld);
                dx
            }) {
                assert_close(&dx, &dx64, 5e-6);
            }
        }
    }

    #[test]
    fn bias_is_added_to_the_first_columns() {
        let (m, ld, n) = (37, 50, 33);
        let (y, bias) = (noise(m * ld, 1), noise(n, 2));
        let expected: Vec<f32> = y.iter().enumerate().map(|(i, y)| if i % ld < n { y + bias[i % ld] } else { *y }).collect();
        for (isa, got) in on_all(|cx| {
            let mut y = y.clone();
            add_bias(cx, m, &mut y, ld, &bias);
            y
        }) {
            assert_eq!(got, expected, "{isa}");
        }
    }
}
