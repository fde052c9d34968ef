//! Matrix products with frozen, packed weights: `y = x * w^T`, the bulk of all arithmetic.
//!
//! This file splits a product into tasks and tiles. How weights and activations lie in memory is told in `packed` and
//! `operand`; the innermost loop is `tile`, its instructions are in `kernels`.
//!
//! Order of summation. An output is one accumulator that takes the products one after another along `k`. Where `k` is
//! cut into blocks (to keep a block of weights in cache), the accumulator is stored and loaded back
//! unchanged, so the cut does not show in the result: it may depend on `m`, and so may everything else here.
#![allow(unsafe_code)]

mod bytes;
mod kernels;
mod operand;
mod packed;
mod tile;

pub(crate) use kernels::kernel;
pub use packed::{Dtype, PackedMatrix};
pub(crate) use tile::Tiles;

use crate::pool::Compute;
use operand::Operand;
use packed::PANEL;
use std::ops::Range;
use tile::{Kernel, MAX_ROWS};

/// What a product does with its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// `y = sum`.
    Set,
    /// `y = y + sum`: the finished sum is added last.
    Add,
}

/// Rows of words of a panel that are taken together: these weights (96 KiB) stay in the second-level cache.
const BLOCK_ROWS: usize = 512;
/// Rows of `x` that a task handles together, whole tiles of every kernel: with these steps, its part of `x` (256 KiB) stays there too.
const CHUNK_ROWS: usize = 128;
/// Panels that a task goes through with that part of `x`; more where `k` is short, up to so many words.
const GROUP_PANELS: usize = 4;
const GROUP_WORDS: usize = 1 << 16;
/// Up to so many rows of words a product is bound by its outputs, and goes through them row by row.
const SHORT_ROWS: usize = 64;
/// Tasks per thread, where the shape allows: enough that a late thread does not hold the others up.
const TASKS_PER_THREAD: usize = 8;
/// How far ahead of their use weights are asked for: far enough to cover the latency of memory at one row.
const PREFETCH_ROWS: usize = 32;
/// Words in a cache line.
const LINE_WORDS: usize = 16;
/// Words of packed `x` held at once; longer inputs go through in several passes.
const OPERAND_WORDS: usize = 8 << 20;
/// Multiply-adds below which waking other threads costs more than it saves.
const INLINE_WORK: usize = 1 << 17;

/// `y[m, n] (=|+=) x[m, k] * w^T` for `w` of shape `[n, k]`; rows of `x` and `y` are `ldx` and `ldy` apart.
///
/// With bf16 weights `x` is rounded to bf16 too (nearest even), with 8-bit weights to bytes with a scale for every 64
/// numbers of a row; products accumulate in `f32` (within a group of bytes exactly). Every output is reduced
/// in one fixed order over `k` that depends on nothing else: not on `m`, the row's place, the thread count or the
/// tiling. So a row gives the same bits in any batch.
///
/// # Panics
/// When a slice is too short for its shape.
#[allow(clippy::too_many_arguments)]
pub fn gemm(cx: &Compute, m: usize, x: &[f32], ldx: usize, w: &PackedMatrix, y: &mut [f32], ldy: usize, write: Write) {
    let (n, k) = (w.n(), w.k());
    if m == 0 || n == 0 {
        return;
    }
    assert!(ldx >= k && x.len() >= (m - 1) * ldx + k, "x is too short for [{m}, {k}] with row stride {ldx}");
    assert!(ldy >= n && y.len() >= (m - 1) * ldy + n, "y is too short for [{m}, {n}] with row stride {ldy}");
    let kernel = kernel(cx.isa(), w.dtype());
    let pass = (OPERAND_WORDS / (w.steps() * kernel.step_words).max(1)).next_multiple_of(CHUNK_ROWS);
    for first in (0..m).step_by(pass) {
        let rows = pass.min(m - first);
        let x = Operand::new(cx, kernel, rows, &x[first * ldx..], ldx, w);
        let y = Output { start: y[first * ldy..].as_mut_ptr(), ld: ldy, write };
        Product { cx, kernel, rows, x: &x, w, y }.run();
    }
}

/// Where results go. Tasks write disjoint parts of it.
#[derive(Clone, Copy)]
struct Output {
    start: *mut f32,
    ld: usize,
    write: Write,
}

/// Weights that are needed after a panel, asked for while the rows go through that.
#[derive(Clone, Copy)]
struct Ahead {
    at: *const u32,
    words: usize,
}

/// Rows go in blocks of a tile's height, `w` in panels.
struct Product<'a> {
    cx: &'a Compute,
    kernel: &'static Kernel,
    rows: usize,
    x: &'a Operand<'a>,
    w: &'a PackedMatrix,
    y: Output,
}

// SAFETY: the output pointer is used by tasks for disjoint elements only; all else is shared for reading.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    fn run(&self) {
        let panels = self.w.panels();
        let chunks = self.rows.div_ceil(CHUNK_ROWS);
        // Where no other task needs the same panels, a task may be as long as it likes.
        let most = if chunks == 1 { panels } else { (GROUP_WORDS / (self.w.rows().max(1) * PANEL)).max(GROUP_PANELS) };
        let group = (panels * chunks / (self.cx.threads() * TASKS_PER_THREAD)).clamp(1, most);
        let groups = panels.div_ceil(group);
        let task = |i: usize| {
            // Neighbouring tasks share their panels, which thus come from memory once.
            let (g, c) = (i / chunks, i % chunks);
            let rows = c * CHUNK_ROWS..self.rows.min((c + 1) * CHUNK_ROWS);
            // Threads that keep step take every so manyth task.
            let next = ((i + self.cx.threads()) / chunks * group).min(panels - 1);
            self.task(rows, g * group..panels.min((g + 1) * group), next);
        };
        if self.rows * self.w.n() * self.w.k() < INLINE_WORK {
            (0..groups * chunks).for_each(task);
        } else {
            self.cx.run(groups * chunks, &task);
        }
    }

    /// All outputs of some rows, the first of which begins a block, and some panels. Panel `next` is likely to come next.
    fn task(&self, rows: Range<usize>, panels: Range<usize>, next: usize) {
        let (steps, words) = (self.w.steps(), self.w.dtype().weight_words());
        // A single block of rows reads the weights once: no use in keeping them in cache.
        let single = rows.len() <= self.kernel.height();
        let block_steps = if single { steps } else { BLOCK_ROWS / words };
        let parked = if steps > block_steps { rows.len() * PANEL } else { 0 };
        let mut partial = self.cx.scratch(parked * panels.len());
        for from in (0..steps.max(1)).step_by(block_steps.max(1)) {
            let steps = from..steps.min(from + block_steps);
            let mut part = |rows: Range<usize>, p: usize, ahead: Ahead| {
                let partial = if parked > 0 { &mut partial[p * parked..][..parked] } else { &mut [] };
                self.panel(rows, panels.start + p, steps.clone(), partial, ahead);
            };
            if steps.end * words <= SHORT_ROWS {
                for first in rows.clone().step_by(self.kernel.height()) {
                    let rows = first..rows.end.min(first + self.kernel.height());
                    (0..panels.len()).for_each(|p| part(rows.clone(), p, Ahead { at: self.weights(panels.start + p, from), words: 0 }));
                }
            } else {
                for p in 0..panels.len() {
                    let at = if p + 1 < panels.len() {
                        self.weights(panels.start + p + 1, from)
                    } else if steps.end < self.w.steps() {
                        self.weights(panels.start, steps.end)
                    } else {
                        self.weights(next, 0)
                    };
                    let words = if single { 0 } else { steps.len() * words * PANEL };
                    part(rows.clone(), p, Ahead { at, words });
                }
            }
        }
    }

    /// Where a panel's weights begin at `step`.
    fn weights(&self, panel: usize, step: usize) -> *const u32 {
        let (weights, width) = self.w.panel(panel);
        weights.as_ptr().wrapping_add(step * self.w.dtype().weight_words() * width)
    }

    /// Some rows times one panel, along `steps`. Sums that are not finished are kept in `partial`.
    fn panel(&self, rows: Range<usize>, panel: usize, steps: Range<usize>, partial: &mut [f32], ahead: Ahead) {
        let (height, weight_words) = (self.kernel.height(), self.w.dtype().weight_words());
        let (weights, width) = (self.weights(panel, steps.start), self.w.panel(panel).1);
        let columns = width.min(self.w.n() - panel * PANEL);
        let (first, last) = (steps.start == 0, steps.end == self.w.steps());
        let whole = rows.len() / height;
        // Few tiles ask for more lines each.
        let tile_words = (LINE_WORDS * steps.len() * weight_words).max(1);
        let next_lines = ahead.words.div_ceil(tile_words * rows.len().div_ceil(height));
        let next_tiles = ahead.words.div_ceil(tile_words * next_lines.max(1));
        for (first_tile, count, tile_rows) in [(0, whole, height), (whole, 1, rows.len() % height)] {
            if count * tile_rows == 0 {
                continue;
            }
            let first_row = rows.start + first_tile * height;
            let x = self.x.block(first_row / height);
            for strip in self.kernel.strips(tile_rows, width) {
                let parked = match (first && last, first_row - rows.start) {
                    (true, _) => std::ptr::null_mut(),
                    (false, row) => partial[row * PANEL + strip.start..].as_mut_ptr(),
                };
                let tiles = Tiles {
                    count,
                    steps: steps.len(),
                    a: x.start.wrapping_add(steps.start * x.step),
                    a_row: x.row,
                    a_step: x.step,
                    a_tile: x.block,
                    b: weights.wrapping_add(strip.start),
                    b_step: width * weight_words,
                    ahead: PREFETCH_ROWS * width,
                    next: ahead.at.wrapping_add(first_tile * tile_words * next_lines),
                    next_lines,
                    next_tiles: if strip.start == 0 { next_tiles.saturating_sub(first_tile) } else { 0 },
                    start: if first { std::ptr::null() } else { parked },
                    start_row: PANEL,
                    out: parked,
                    out_row: PANEL,
                    write: Write::Set,
                };
                let y = self.y.start.wrapping_add(first_row * self.y.ld + panel * PANEL + strip.start);
                // SAFETY: `steps`, rows and `strip` lie inside the operand's blocks and the panel; `partial` has a row of
                // a panel for each row. Finished sums go to rows and columns that exist in `y` (checked by `gemm`; a
                // strip wider than the columns left goes through `spare`); no other task writes them.
                unsafe {
                    if !last {
                        self.kernel.run(tile_rows, strip.len(), &tiles);
                    } else if strip.end <= columns {
                        let tiles = Tiles { out: y, out_row: self.y.ld, write: self.y.write, ..tiles };
                        self.kernel.run(tile_rows, strip.len(), &tiles);
                    } else {
                        for i in 0..count {
                            let y = y.wrapping_add(i * height * self.y.ld);
                            self.narrow(tile_rows, strip.len(), columns.saturating_sub(strip.start), &tiles.only(i, tile_rows), y);
                        }
                    }
                }
            }
        }
    }

    /// One tile of which only the first `columns` outputs exist.
    ///
    /// # Safety
    /// As for the kernel's `run`, but for the tile's `out`; `rows` and `columns` exist at `y`.
    unsafe fn narrow(&self, rows: usize, strip: usize, columns: usize, tile: &Tiles, y: *mut f32) {
        let mut spare = [0.0f32; MAX_ROWS * PANEL];
        // SAFETY: `spare` holds the largest tile; all else is the caller's.
        unsafe {
            self.kernel.run(rows, strip, &Tiles { out: spare.as_mut_ptr(), out_row: PANEL, ..*tile });
            for row in 0..rows {
                for column in 0..columns {
                    let (y, sum) = (y.add(row * self.y.ld + column), spare[row * PANEL + column]);
                    *y = if self.y.write == Write::Add { *y + sum } else { sum };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
