//! SwiGLU, the gated activation of the feed-forward layer, and its gradient.

use crate::Compute;
use crate::exp::exp;
use crate::lanes::{LANES, Lanes, dispatch};
use crate::share::{Shared, for_rows};

/// The logistic function `1 / (1 + e^-x)`.
#[inline(always)]
fn sigmoid<L: Lanes>(x: L) -> L {
    let one = L::splat(1.0);
    one.div(one.add(exp(L::splat(0.0).sub(x))))
}

#[inline(always)]
fn swiglu_row<L: Lanes>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((g, u), out) in gate.chunks(LANES).zip(up.chunks(LANES)).zip(out.chunks_mut(LANES)) {
        let g = L::read(g, 0.0);
        g.mul(sigmoid(g)).mul(L::read(u, 0.0)).write(out);
    }
}

/// In place: `gate` and `up` become their gradients, and `out`, the gradient of the output, becomes the output.
#[inline(always)]
fn swiglu_row_backward<L: Lanes>(gate: &mut [f32], up: &mut [f32], out: &mut [f32]) {
    let one = L::splat(1.0);
    for ((gate, up), out) in gate.chunks_mut(LANES).zip(up.chunks_mut(LANES)).zip(out.chunks_mut(LANES)) {
        let (g, u, d) = (L::read(gate, 0.0), L::read(up, 0.0), L::read(out, 0.0));
        let s = sigmoid(g);
        let silu = g.mul(s);
        // d silu / dg = s * (1 + g * (1 - s))
        d.mul(u).mul(s).mul(g.mul_add(one.sub(s), one)).write(gate);
        d.mul(silu).write(up);
        silu.mul(u).write(out);
    }
}

/// `out = gate * sigmoid(gate) * up`, row by row; `gate_up` `[m, 2*ffn]` holds gate then up, `out` is `[m, ffn]`.
pub fn swiglu(cx: &Compute, m: usize, gate_up: &[f32], ffn: usize, out: &mut [f32]) {
    for_rows(cx, m, out, ffn, 4 * ffn, |i, out| {
        let (gate, up) = gate_up[i * 2 * ffn..][..2 * ffn].split_at(ffn);
        dispatch!(cx.isa(), swiglu_row(gate: &[f32], up: &[f32], out: &mut [f32]));
    });
}

/// Gradient of [`swiglu`], in place: `gate_up` `[m, 2*ffn]` becomes its own gradient, and `out` `[m, ffn]`, the gradient of
/// the output, becomes the output, which the backward pass needs next.
pub fn swiglu_backward(cx: &Compute, m: usize, gate_up: &mut [f32], ffn: usize, out: &mut [f32]) {
    let out = Shared::new(out);
    for_rows(cx, m, gate_up, 2 * ffn, 8 * ffn, |i, row| {
        // SAFETY: rows do not overlap and each is visited once.
        #[allow(unsafe_code)]
        let out = unsafe { out.part(i * ffn..(i + 1) * ffn) };
        let (gate, up) = row.split_at_mut(ffn);
        dispatch!(cx.isa(), swiglu_row_backward(gate: &mut [f32], up: &mut [f32], out: &mut [f32]));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise, on_all};

    fn swiglu_f64(gate: f64, up: f64) -> f64 {
        gate / (1.0 + (-gate).exp()) * up
    }

    #[test]
    fn value_and_gradient() {
        for (m, ffn) in [(1, 1536), (37, 40), (3, 17)] {
            let gate_up: Vec<f32> = noise(m * 2 * ffn, 1).iter().map(|x| x * 9.0).collect();
            let dout = noise(m * ffn, 2);
            let at = |i: usize| {
                let (row, j) = (i / ffn, i % ffn);
                (f64::from(gate_up[row * 2 * ffn + j]), f64::from(gate_up[row * 2 * ffn + ffn + j]))
            };
            let expected: Vec<f64> = (0..m * ffn).map(|i| swiglu_f64(at(i).0, at(i).1)).collect();
            for (_, y) in on_all(|cx| {
                let mut y = vec![f32::NAN; m * ffn];
                swiglu(cx, m, &gate_up, ffn, &mut y);
                y
            }) {
                assert_close(&y, &expected, 1e-6);
            }
            let mut gradient = vec![0.0; m * 2 * ffn];
            for (i, &d) in dout.iter().enumerate() {
                let ((g, u), d, h) = (at(i), f64::from(d), 1e-5);
                let base = i / ffn * 2 * ffn + i % ffn;
                gradient[base] = d * (swiglu_f64(g + h, u) - swiglu_f64(g - h, u)) / (2.0 * h);
                gradient[base + ffn] = d * (swiglu_f64(g, u + h) - swiglu_f64(g, u - h)) / (2.0 * h);
            }
            for (isa, all) in on_all(|cx| {
                let (mut dx, mut y, mut again) = (gate_up.clone(), vec![0.0; m * ffn], dout.clone());
                swiglu(cx, m, &gate_up, ffn, &mut y);
                swiglu_backward(cx, m, &mut dx, ffn, &mut again);
                [dx, y, again].concat()
            }) {
                let (dx, outputs) = all.split_at(gradient.len());
                assert_close(dx, &gradient, 2e-6);
                assert_eq!(outputs[..m * ffn], outputs[m * ffn..], "{isa}");
            }
        }
    }

    #[test]
    fn large_gates_saturate() {
        let gate_up = [-1e4, -100.0, 100.0, 1e4, 1.0, 1.0, 1.0, 1.0];
        for (isa, y) in on_all(|cx| {
            let mut y = vec![0.0; 4];
            swiglu(cx, 1, &gate_up, 4, &mut y);
            y
        }) {
            assert!(y[0].abs() < 1e-30 && y[1].abs() < 1e-30, "{isa}: {y:?}");
            assert_eq!(&y[2..], [100.0, 1e4], "{isa}");
        }
    }
}
