//! The activations of a product, in the order in which tiles read them.
//!
//! Rows go in blocks as high as a tile. Packed, a block is `[step][row]` words (see `packed` for words and steps), so that a tile
//! reads one short stream; `f32` rows may also be read where they are, which pays when there is little to multiply with.
//! In 8 bits a block is `[row][step]`, a step being a group: sixteen words of bytes, the scale, and `-64 * sum of bytes`, which
//! takes back the 64 that the weights' bytes have too much.
#![allow(unsafe_code)]

use super::bytes::{GROUP, GROUP_ROWS, WEIGHT, quantize_activations};
use super::packed::{Dtype, PANEL, PackedMatrix};
use super::tile::{Kernel, MAX_ROWS};
use crate::bf16;
use crate::buffer::Scratch;
use crate::cpu::simd;
use crate::pool::Compute;
use crate::share::Shared;

/// Blocks of rows that one task packs.
const BLOCKS_PER_TASK: usize = 4;
/// Words below which packing is not worth waking other threads.
const INLINE_WORDS: usize = 1 << 14;
/// Steps packed together.
const STEPS: usize = 16;

/// Rows of `x`, packed or in place.
pub(crate) enum Operand<'a> {
    /// `steps` of `step_words` words a row.
    Packed {
        words: Scratch<'a>,
        height: usize,
        rows: usize,
        steps: usize,
        step_words: usize,
    },
    InPlace {
        x: &'a [f32],
        height: usize,
        ld: usize,
    },
}

/// A block of rows: word `(row, step)` is at `start + row * self.row + step * self.step`, the next block, if this is a whole
/// one, `self.block` further.
pub(crate) struct Block {
    pub(crate) start: *const u32,
    pub(crate) row: usize,
    pub(crate) step: usize,
    pub(crate) block: usize,
}

impl<'a> Operand<'a> {
    /// The first `rows` rows of `x` for a product with `w` by `kernel`.
    pub(crate) fn new(cx: &'a Compute, kernel: &Kernel, rows: usize, x: &'a [f32], ld: usize, w: &PackedMatrix) -> Self {
        let (height, step_words) = (kernel.height(), kernel.step_words);
        if w.dtype() == Dtype::F32 && (w.n() <= PANEL || rows <= height) {
            return Operand::InPlace { x, height, ld };
        }
        let (k, steps, dtype) = (w.k(), w.steps(), w.dtype());
        let row_words = steps * step_words;
        let mut scratch = cx.scratch(rows * row_words);
        let words = Shared::new(scratch.words_mut());
        let blocks = rows.div_ceil(height);
        let pack = |task: usize| {
            for block in (task * BLOCKS_PER_TASK..blocks).take(BLOCKS_PER_TASK) {
                let first = block * height;
                let rows = height.min(rows - first);
                // SAFETY: blocks do not overlap and each is packed once.
                let to = unsafe { words.part(first * row_words..(first + rows) * row_words) };
                match dtype {
                    Dtype::F32 => pack_f32(cx, rows, &x[first * ld..], ld, k, to),
                    Dtype::Bf16 => pack_bf16(cx, rows, &x[first * ld..], ld, k, to),
                    Dtype::Q8 => pack_q8(cx, rows, &x[first * ld..], ld, k, to),
                }
            }
        };
        let tasks = blocks.div_ceil(BLOCKS_PER_TASK);
        if rows * row_words < INLINE_WORDS {
            (0..tasks).for_each(pack)
        } else {
            cx.run(tasks, &pack)
        }
        Operand::Packed { words: scratch, height, rows, steps, step_words }
    }

    pub(crate) fn block(&self, block: usize) -> Block {
        match *self {
            Operand::Packed { ref words, height, rows, steps, step_words } => {
                let row_words = steps * step_words;
                let start = words.words()[block * height * row_words..].as_ptr();
                let (row, step) = if step_words == 1 { (1, height.min(rows - block * height)) } else { (row_words, step_words) };
                Block { start, row, step, block: height * row_words }
            }
            Operand::InPlace { x, height, ld } => {
                Block { start: x[block * height * ld..].as_ptr().cast(), row: ld, step: 1, block: height * ld }
            }
        }
    }
}

simd!(fn pack_f32(rows: usize, x: &[f32], ld: usize, k: usize, to: &mut [u32]) = pack_f32_body);
simd!(fn pack_bf16(rows: usize, x: &[f32], ld: usize, k: usize, to: &mut [u32]) = pack_bf16_body);
simd!(fn pack_q8(rows: usize, x: &[f32], ld: usize, k: usize, to: &mut [u32]) = pack_q8_body);

#[inline(always)]
fn pack_f32_body(rows: usize, x: &[f32], ld: usize, k: usize, to: &mut [u32]) {
    pack_body(rows, k, to, |row, step, words| {
        let x = &x[row * ld + step..row * ld + k];
        for (word, x) in words.iter_mut().zip(x) {
            *word = x.to_bits();
        }
    });
}

#[inline(always)]
fn pack_bf16_body(rows: usize, x: &[f32], ld: usize, k: usize, to: &mut [u32]) {
    pack_body(rows, k.div_ceil(2), to, |row, step, words| {
        let x = &x[row * ld + 2 * step..row * ld + k];
        if let Some(x) = x.first_chunk::<{ 2 * STEPS }>() {
            for i in 0..STEPS {
                words[i] = bf16::pair(x[2 * i], x[2 * i + 1]);
            }
        } else {
            for (word, x) in words.iter_mut().zip(x.chunks(2)) {
                *word = bf16::pair(x[0], x.get(1).copied().unwrap_or(0.0));
            }
        }
    });
}

#[inline(always)]
fn pack_q8_body(rows: usize, x: &[f32], ld: usize, k: usize, to: &mut [u32]) {
    let mut groups = to.chunks_exact_mut(GROUP_ROWS + 2);
    for row in 0..rows {
        for (x, to) in x[row * ld..row * ld + k].chunks(GROUP).zip(&mut groups) {
            let bytes = match x.first_chunk() {
                Some(x) => quantize_activations(x),
                None => quantize_activations(&std::array::from_fn(|i| x.get(i).copied().unwrap_or(0.0))),
            };
            to[..GROUP_ROWS].copy_from_slice(&bytes.words);
            to[GROUP_ROWS] = bytes.scale.to_bits();
            to[GROUP_ROWS + 1] = (-WEIGHT * bytes.sum) as u32;
        }
    }
}

/// Packs a block of rows, piece by piece; `read(row, step, words)` gives the words of a row from `step` on.
#[inline(always)]
fn pack_body(rows: usize, steps: usize, to: &mut [u32], read: impl Fn(usize, usize, &mut [u32; STEPS])) {
    let mut piece = [[0u32; STEPS]; MAX_ROWS];
    for (chunk, to) in to.chunks_mut(STEPS * rows).enumerate() {
        for (row, words) in piece[..rows].iter_mut().enumerate() {
            read(row, chunk * STEPS, words);
        }
        match <&mut [u32; STEPS * MAX_ROWS]>::try_from(&mut *to) {
            // A whole piece has a fixed size, so the compiler can transpose it in registers.
            Ok(to) if rows == MAX_ROWS => transpose(&piece, to),
            _ => {
                for (step, to) in to.chunks_exact_mut(rows).enumerate() {
                    for (to, words) in to.iter_mut().zip(&piece) {
                        *to = words[step];
                    }
                }
            }
        }
    }
    debug_assert_eq!(to.len(), rows * steps);
}

#[inline(always)]
fn transpose(from: &[[u32; STEPS]; MAX_ROWS], to: &mut [u32; STEPS * MAX_ROWS]) {
    for step in 0..STEPS {
        for row in 0..MAX_ROWS {
            to[step * MAX_ROWS + row] = from[row][step];
        }
    }
}
