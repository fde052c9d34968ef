//! Rotary position embedding in the half-split layout: number `j` of a head is rotated with number `j + head_dim/2`.

use crate::Compute;
use crate::lanes::{LANES, Lanes, dispatch};
use crate::share::for_rows;

/// Cosines and sines of every position.
#[derive(Debug, Clone)]
pub struct RopeTable {
    /// Pairs in a head: `head_dim / 2`.
    half: usize,
    /// `[positions, half]`
    cos: Vec<f32>,
    /// `[positions, half]`
    sin: Vec<f32>,
}

impl RopeTable {
    /// A table for positions `0..positions`; `inv_freq` `[head_dim/2]` are radians per position, and `scale` multiplies
    /// cosines and sines (1 but for some long-context models). Angles are products in `f32`, as in the models' training code.
    pub fn new(inv_freq: &[f32], positions: usize, scale: f32) -> Self {
        let angles = || (0..positions).flat_map(|p| inv_freq.iter().map(move |f| f64::from(p as f32 * f)));
        let scaled = |x: f64| x as f32 * scale;
        Self { half: inv_freq.len(), cos: angles().map(f64::cos).map(scaled).collect(), sin: angles().map(f64::sin).map(scaled).collect() }
    }

    /// Positions in the table.
    pub fn positions(&self) -> usize {
        self.cos.len().checked_div(self.half).unwrap_or(0)
    }
}

/// Rotates every head of a row by the angles in `cos` and `sin`; backwards when `inverse`.
#[inline(always)]
fn rotate_heads<L: Lanes>(row: &mut [f32], cos: &[f32], sin: &[f32], inverse: bool) {
    let sign = L::splat(if inverse { -1.0 } else { 1.0 });
    for head in row.chunks_exact_mut(2 * cos.len()) {
        let (a, b) = head.split_at_mut(cos.len());
        let halves = a.chunks_mut(LANES).zip(b.chunks_mut(LANES));
        for ((a, b), (c, s)) in halves.zip(cos.chunks(LANES).zip(sin.chunks(LANES))) {
            let (c, s) = (L::read(c, 0.0), L::read(s, 0.0).mul(sign));
            let (x, y) = (L::read(a, 0.0), L::read(b, 0.0));
            x.mul(c).sub(y.mul(s)).write(a);
            y.mul(c).add(x.mul(s)).write(b);
        }
    }
}

/// Rotates `heads` heads of `head_dim` numbers, from column 0 of each of the `m` rows of `x` (rows `ld` apart), to
/// `positions` `[m]`. `inverse` rotates back (times the table's scale): that is the gradient.
///
/// # Panics
/// When a position is not in the table.
#[allow(clippy::too_many_arguments)]
pub fn rope(
    cx: &Compute,
    m: usize,
    x: &mut [f32],
    ld: usize,
    heads: usize,
    head_dim: usize,
    positions: &[u32],
    table: &RopeTable,
    inverse: bool,
) {
    assert_eq!(head_dim, 2 * table.half, "the table is for heads of {}", 2 * table.half);
    for_rows(cx, m, x, ld, heads * head_dim, |i, row| {
        let row = &mut row[..heads * head_dim];
        let angles = positions[i] as usize * table.half..(positions[i] as usize + 1) * table.half;
        let (cos, sin) = (&table.cos[angles.clone()], &table.sin[angles]);
        dispatch!(cx.isa(), rotate_heads(row: &mut [f32], cos: &[f32], sin: &[f32], inverse: bool));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise, on_all, wide};

    #[test]
    fn rotates_and_rotates_back() {
        for (m, heads, head_dim) in [(1, 3, 16), (37, 7, 64), (5, 2, 128)] {
            let (width, ld, half) = (heads * head_dim, heads * head_dim + 9, head_dim / 2);
            let x = noise((m - 1) * ld + width, 1);
            let inv_freq: Vec<f32> = (0..half).map(|j| 10_000f32.powf(-(j as f32) / half as f32)).collect();
            let positions: Vec<u32> = (0..m as u32).map(|i| i * 13 % 500).collect();
            let table = RopeTable::new(&inv_freq, 500, 1.0);
            assert_eq!(table.positions(), 500);
            let mut expected = wide(&x);
            for (i, &p) in positions.iter().enumerate() {
                for h in 0..heads {
                    for (j, f) in inv_freq.iter().enumerate() {
                        let at = i * ld + h * head_dim + j;
                        let (sin, cos) = f64::from(p as f32 * f).sin_cos();
                        let (a, b) = (f64::from(x[at]), f64::from(x[at + half]));
                        expected[at] = a * cos - b * sin;
                        expected[at + half] = b * cos + a * sin;
                    }
                }
            }
            for (_, y) in on_all(|cx| {
                let mut y = x.clone();
                rope(cx, m, &mut y, ld, heads, head_dim, &positions, &table, false);
                y
            }) {
                assert_close(&y, &expected, 1e-6);
            }
            for (_, back) in on_all(|cx| {
                let mut y = x.clone();
                rope(cx, m, &mut y, ld, heads, head_dim, &positions, &table, false);
                rope(cx, m, &mut y, ld, heads, head_dim, &positions, &table, true);
                y
            }) {
                assert_close(&back, &wide(&x), 1e-6);
            }
        }
    }
}
