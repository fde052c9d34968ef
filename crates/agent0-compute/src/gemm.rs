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
pub(crate) use tile::{MAX_ROWS, Tile};

use crate::pool::Compute;
use operand::{Operand, operand_words};
use packed::PANEL;
use std::ops::Range;

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
/// Rows of `x` that a task handles together: with these steps, its part of `x` (256 KiB) stays there too.
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
/// With bf16 weights `x` is rounded to bf16 too (nearest even), with 8-bit weights to bytes with a scale for every 32
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
    let pass = (OPERAND_WORDS / (w.steps() * operand_words(w.dtype())).max(1)).next_multiple_of(CHUNK_ROWS);
    for first in (0..m).step_by(pass) {
        let rows = pass.min(m - first);
        let x = Operand::new(cx, rows, &x[first * ldx..], ldx, w);
        let y = Output { start: y[first * ldy..].as_mut_ptr(), ld: ldy, write };
        Product { cx, rows, x: &x, w, y }.run();
    }
}

/// Where results go. Tasks write disjoint parts of it.
#[derive(Clone, Copy)]
struct Output {
    start: *mut f32,
    ld: usize,
    write: Write,
}

/// Weights that a task needs after the panel it is at, to be asked for while the blocks of rows go through that.
struct Ahead {
    at: *const u32,
    /// Words still to ask for.
    words: usize,
}

impl Ahead {
    /// Where a tile that asks for `words` words begins; when all are asked for, somewhere harmless.
    fn ask(&mut self, words: usize) -> *const u32 {
        let at = self.at;
        if self.words > 0 {
            self.words = self.words.saturating_sub(words);
            self.at = at.wrapping_add(words);
        }
        at
    }
}

struct Product<'a> {
    cx: &'a Compute,
    rows: usize,
    x: &'a Operand<'a>,
    w: &'a PackedMatrix,
    y: Output,
}

// SAFETY: the output pointer is used by tasks for disjoint elements only; all else is shared for reading.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    fn run(&self) {
        let (blocks, panels) = (self.rows.div_ceil(MAX_ROWS), self.w.panels());
        let chunks = self.rows.div_ceil(CHUNK_ROWS);
        // Where no other task needs the same panels, a task may be as long as it likes.
        let most = if chunks == 1 { panels } else { (GROUP_WORDS / (self.w.rows().max(1) * PANEL)).max(GROUP_PANELS) };
        let group = (panels * chunks / (self.cx.threads() * TASKS_PER_THREAD)).clamp(1, most);
        let groups = panels.div_ceil(group);
        let chunk_blocks = CHUNK_ROWS / MAX_ROWS;
        let task = |i: usize| {
            // Neighbouring tasks share their panels, which thus come from memory once.
            let (g, c) = (i / chunks, i % chunks);
            let blocks = c * chunk_blocks..blocks.min((c + 1) * chunk_blocks);
            self.task(blocks, g * group..panels.min((g + 1) * group));
        };
        if self.rows * self.w.n() * self.w.k() < INLINE_WORK {
            (0..groups * chunks).for_each(task);
        } else {
            self.cx.run(groups * chunks, &task);
        }
    }

    /// All outputs of some blocks of rows and some panels.
    fn task(&self, blocks: Range<usize>, panels: Range<usize>) {
        let (steps, words) = (self.w.steps(), self.w.dtype().weight_words());
        // A single block of rows reads the weights once: no use in keeping them in cache.
        let block_steps = if blocks.len() == 1 { steps } else { BLOCK_ROWS / words };
        let tile_len = MAX_ROWS * PANEL;
        let parked = if steps > block_steps { blocks.len() * panels.len() } else { 0 };
        let mut partial = self.cx.scratch(parked * tile_len);
        for from in (0..steps.max(1)).step_by(block_steps.max(1)) {
            let steps = from..steps.min(from + block_steps);
            let mut tile = |b: usize, p: usize, ahead: &mut Ahead| {
                let at = (p * blocks.len() + b) * tile_len;
                let partial = if parked > 0 { &mut partial[at..at + tile_len] } else { &mut [] };
                self.tile(blocks.start + b, panels.start + p, steps.clone(), partial, ahead);
            };
            if steps.end * words <= SHORT_ROWS {
                let mut nothing = Ahead { at: self.weights(panels.start, from), words: 0 };
                (0..blocks.len()).for_each(|b| (0..panels.len()).for_each(|p| tile(b, p, &mut nothing)));
            } else {
                for p in 0..panels.len() {
                    let last = p + 1 == panels.len();
                    let at = if last { self.weights(panels.start, steps.end) } else { self.weights(panels.start + p + 1, from) };
                    let mut ahead = Ahead { at, words: if blocks.len() == 1 { 0 } else { steps.len() * words * PANEL } };
                    (0..blocks.len()).for_each(|b| tile(b, p, &mut ahead));
                }
            }
        }
    }

    /// Where a panel's weights begin at `step`, which may be past the last.
    fn weights(&self, panel: usize, step: usize) -> *const u32 {
        let (weights, width) = self.w.panel(panel);
        weights.as_ptr().wrapping_add(step * width * self.w.dtype().weight_words())
    }

    /// One block of rows times one panel, along `steps`. Sums that are not finished are kept in `partial`.
    fn tile(&self, block: usize, panel: usize, steps: Range<usize>, partial: &mut [f32], ahead: &mut Ahead) {
        let kernel = kernel(self.cx.isa(), self.w.dtype());
        let x = self.x.block(block);
        let (first_row, first_column) = (block * MAX_ROWS, panel * PANEL);
        let width = self.w.panel(panel).1;
        let b_step = width * self.w.dtype().weight_words();
        let columns = width.min(self.w.n() - first_column);
        let (first, last) = (steps.start == 0, steps.end == self.w.steps());
        for rows in kernel.row_groups(x.rows) {
            for strip in kernel.strips(rows.len(), width) {
                // SAFETY: `steps`, `rows` and `strip` lie inside the operand's block and the panel. Finished sums go to
                // rows and columns that exist in `y` (checked by `gemm`; a strip wider than the columns left goes
                // through `spare`); no other task writes them.
                unsafe {
                    let y = self.y.start.wrapping_add((first_row + rows.start) * self.y.ld + first_column + strip.start);
                    let parked =
                        if first && last { std::ptr::null_mut() } else { partial.as_mut_ptr().add(rows.start * PANEL + strip.start) };
                    let mut tile = Tile {
                        steps: steps.len(),
                        a: x.start.add(rows.start * x.row + steps.start * x.step),
                        a_row: x.row,
                        a_step: x.step,
                        b: self.weights(panel, steps.start).add(strip.start),
                        b_step,
                        ahead: PREFETCH_ROWS * width,
                        next: ahead.ask(LINE_WORDS * steps.len() * self.w.dtype().weight_words()),
                        start: if first { std::ptr::null() } else { parked },
                        start_row: PANEL,
                        out: parked,
                        out_row: PANEL,
                        write: Write::Set,
                    };
                    let whole = strip.end <= columns;
                    if last && whole {
                        tile = Tile { out: y, out_row: self.y.ld, write: self.y.write, ..tile };
                        kernel.run(rows.len(), strip.len(), &tile);
                    } else if last {
                        let mut spare = [0.0f32; MAX_ROWS * PANEL];
                        kernel.run(rows.len(), strip.len(), &Tile { out: spare.as_mut_ptr(), ..tile });
                        for row in 0..rows.len() {
                            for column in 0..columns.saturating_sub(strip.start) {
                                let (y, sum) = (y.add(row * self.y.ld + column), spare[row * PANEL + column]);
                                *y = if self.y.write == Write::Add { *y + sum } else { sum };
                            }
                        }
                    } else {
                        kernel.run(rows.len(), strip.len(), &tile);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
