//! The gradient product `c += scale * a^T * b`: a tall reduction over rows, in `f32`.
//!
//! Both operands already lie the way a tile reads them (a step is a row), so nothing is packed. The wider of the two
//! makes the vectors; the other is broadcast.
#![allow(unsafe_code)]

use crate::gemm::{Dtype, Tiles, Write, kernel};
use crate::pool::Compute;

/// Columns that a tile reduces.
const STRIP: usize = 48;
/// Columns that a task reduces: rows are read in long pieces.
const TASK_COLUMNS: usize = 4 * STRIP;
/// Rows reduced before the next strip gets them: few enough pages that their addresses stay translated.
const BLOCK_STEPS: usize = 256;

/// `c[p, q] += scale * a[m, p]^T * b[m, q]` in `f32`; sums run over `m` in index order, whatever the thread count, and
/// the finished sum is scaled and added last. `lda`, `ldb` and `ldc` are row strides.
///
/// # Panics
/// When a slice is too short for its shape.
#[allow(clippy::too_many_arguments)]
pub fn gemm_tn(
    cx: &Compute,
    m: usize,
    a: &[f32],
    lda: usize,
    p: usize,
    b: &[f32],
    ldb: usize,
    q: usize,
    scale: f32,
    c: &mut [f32],
    ldc: usize,
) {
    if m == 0 || p == 0 || q == 0 {
        return;
    }
    assert!(lda >= p && a.len() >= (m - 1) * lda + p, "a is too short for [{m}, {p}] with row stride {lda}");
    assert!(ldb >= q && b.len() >= (m - 1) * ldb + q, "b is too short for [{m}, {q}] with row stride {ldb}");
    assert!(ldc >= q && c.len() >= (p - 1) * ldc + q, "c is too short for [{p}, {q}] with row stride {ldc}");
    let (narrow, wide, c_narrow, c_wide) = if p <= q {
        (Side { x: a, ld: lda, n: p }, Side { x: b, ld: ldb, n: q }, ldc, 1)
    } else {
        (Side { x: b, ld: ldb, n: q }, Side { x: a, ld: lda, n: p }, 1, ldc)
    };
    let job = Job { cx, m, narrow, wide, scale, c: c.as_mut_ptr(), c_narrow, c_wide };
    cx.run(wide.n.div_ceil(TASK_COLUMNS), &|task| job.columns(task * TASK_COLUMNS));
}

/// An operand `[m, n]`.
#[derive(Clone, Copy)]
struct Side<'a> {
    x: &'a [f32],
    ld: usize,
    n: usize,
}

struct Job<'a> {
    cx: &'a Compute,
    m: usize,
    narrow: Side<'a>,
    wide: Side<'a>,
    scale: f32,
    /// Output `(i, j)` of the narrow and the wide side is at `c + i * c_narrow + j * c_wide`.
    c: *mut f32,
    c_narrow: usize,
    c_wide: usize,
}

// SAFETY: tasks write through `c` to disjoint elements; all else is shared for reading.
unsafe impl Sync for Job<'_> {}

impl Job<'_> {
    /// All outputs of the wide columns of a task, from `first` on.
    fn columns(&self, first: usize) {
        let end = self.wide.n.min(first + TASK_COLUMNS);
        let sums_len = self.narrow.n * STRIP;
        let mut sums = self.cx.scratch((end - first).div_ceil(STRIP) * sums_len);
        let mut copy = self.cx.scratch(BLOCK_STEPS * STRIP);
        for from in (0..self.m).step_by(BLOCK_STEPS) {
            let steps = BLOCK_STEPS.min(self.m - from);
            for (first, sums) in (first..end).step_by(STRIP).zip(sums.chunks_exact_mut(sums_len)) {
                let wide = &self.wide.x[from * self.wide.ld + first..];
                let columns = STRIP.min(end - first);
                if columns == STRIP {
                    self.reduce(from, steps, wide, self.wide.ld, sums);
                } else {
                    // Vectors may not reach past the end of the rows: they read a copy that is a full strip wide.
                    for (row, to) in copy.chunks_exact_mut(STRIP).take(steps).enumerate() {
                        to[..columns].copy_from_slice(&wide[row * self.wide.ld..row * self.wide.ld + columns]);
                        to[columns..].fill(0.0);
                    }
                    self.reduce(from, steps, &copy, STRIP, sums);
                }
            }
        }
        for (first, sums) in (first..end).step_by(STRIP).zip(sums.chunks_exact(sums_len)) {
            self.add(first, STRIP.min(end - first), sums);
        }
    }

    /// Adds the finished sums of a strip to `c`.
    fn add(&self, first: usize, columns: usize, sums: &[f32]) {
        let add = |i: usize, j: usize| {
            // SAFETY: inside `c` (checked by `gemm_tn`), and this task alone has these columns.
            unsafe { *self.c.add(i * self.c_narrow + (first + j) * self.c_wide) += self.scale * sums[i * STRIP + j] };
        };
        // Along the rows of `c`.
        if self.c_wide == 1 {
            (0..self.narrow.n).for_each(|i| (0..columns).for_each(|j| add(i, j)));
        } else {
            (0..columns).for_each(|j| (0..self.narrow.n).for_each(|i| add(i, j)));
        }
    }

    /// Adds the products of `steps` rows, the first of them row `from`, to the sums of a strip.
    fn reduce(&self, from: usize, steps: usize, wide: &[f32], ld: usize, sums: &mut [f32]) {
        let kernel = kernel(self.cx.isa(), Dtype::F32);
        let (height, whole) = (kernel.height(), self.narrow.n / kernel.height());
        for (count, rows, first) in [(whole, height, 0), (1, self.narrow.n % height, whole * height)] {
            if count * rows == 0 {
                continue;
            }
            for columns in kernel.strips(rows, STRIP) {
                let at = sums[first * STRIP + columns.start..].as_mut_ptr();
                // SAFETY: `steps` rows of both sides exist from `from` on; `wide` has a full strip of columns in each (a copy
                // where the matrix ends); `sums` has a row of a strip for each narrow column.
                unsafe {
                    let tiles = Tiles {
                        count,
                        steps,
                        a: self.narrow.x.as_ptr().add(from * self.narrow.ld + first).cast(),
                        a_row: 1,
                        a_step: self.narrow.ld,
                        a_tile: height,
                        b: wide.as_ptr().add(columns.start).cast(),
                        b_step: ld,
                        ahead: STRIP,
                        next: wide.as_ptr().cast(),
                        next_lines: 0,
                        next_tiles: 0,
                        start: if from == 0 { std::ptr::null() } else { at },
                        start_row: STRIP,
                        out: at,
                        out_row: STRIP,
                        write: Write::Set,
                    };
                    kernel.run(rows, columns.len(), &tiles);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::testing::noise;

    #[test]
    fn gradients_match_an_f64_reference_on_any_number_of_threads() {
        for isa in Isa::available() {
            for (m, p, q) in [(1, 1, 1), (5, 16, 100), (300, 33, 16), (700, 16, 400), (257, 7, 50), (513, 49, 3)] {
                let (lda, ldb, ldc) = (p + 2, q + 1, q + 4);
                let (a, b, before) = (noise(m * lda, 1), noise(m * ldb, 2), noise(p * ldc, 3));
                let compute = |threads| {
                    let mut c = before.clone();
                    gemm_tn(&Compute::new(threads, isa), m, &a, lda, p, &b, ldb, q, 0.5, &mut c, ldc);
                    c
                };
                let c = compute(1);
                assert_eq!(c, compute(2), "{isa} [{m},{p},{q}]");
                assert_eq!(c, compute(3), "{isa} [{m},{p},{q}]");
                for (at, (&c, &before)) in c.iter().zip(&before).enumerate() {
                    let (i, j) = (at / ldc, at % ldc);
                    let product = |r| if j < q { f64::from(a[r * lda + i]) * f64::from(b[r * ldb + j]) } else { 0.0 };
                    let sum: f64 = (0..m).map(product).sum::<f64>() * 0.5 + f64::from(before);
                    let size: f64 = (0..m).map(|r| product(r).abs()).sum();
                    assert!((f64::from(c) - sum).abs() <= 1e-6 * size + 1e-6, "{isa} [{m},{p},{q}] at ({i},{j}): {c} is not {sum}");
                }
            }
        }
    }
}
