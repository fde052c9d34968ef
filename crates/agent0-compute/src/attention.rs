//! Causal grouped-query attention over paged key/value blocks.
//!
//! One kernel serves prefill, decode and the training forward pass. Rows of a sequence that follow each other, and the
//! heads that share a key/value head, are worked on as a tile, so that a block is loaded once for all of them; but every
//! (row, head) is reduced by itself in one order over the key positions: scores over the head's numbers in order, the
//! sum of exponentials in 16 lanes by position, the output over the positions in order. So its bits depend neither on
//! the tile nor on the batch nor on the thread count. Masked keys enter as exact zeros.
//!
//! The storage's format is also the format of the products' operands: over bf16 blocks, queries and softmax weights are
//! rounded to bf16; sums, scores and the softmax are always `f32`.

mod backward;
mod blocks;
mod product;

use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

use crate::buffer::AlignedBuffer;
use crate::lanes::{LANES, Lanes, dispatch};
use crate::share::Shared;
use crate::{Compute, Isa, dot, exp::exp2};
pub use backward::{Segment, attention_backward};
pub use blocks::{KV_BLOCK, KvBlocks, KvFormat, KvShape, round_to};
use blocks::{Word, Words};
use product::{Left, MAX_PARTS, Operand, Right, Start};

/// (query row, head) pairs a tile should have: enough to use a loaded block well, few enough for scores to stay cached.
const TILE_PAIRS: usize = 48;
/// Query rows a tile may have; more would compute too many scores that causality masks.
const MAX_TILE_ROWS: usize = 32;
/// Scores of a row are weighed so many at a time; its length is rounded up to a multiple.
const STRIDE: usize = 2 * LANES;

/// One query row: which sequence it belongs to, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttendRow {
    /// Index into the tables.
    pub sequence: u32,
    /// The row sees the keys of positions `0..=position`.
    pub position: u32,
}

/// Softmax attention of query rows over the keys they see, scores scaled by `1/sqrt(head_dim)`.
///
/// `q` and `out` are `[m, heads * head_dim]` with row strides `ldq` and `ldo`, `rows` `[m]`. `kv` holds all blocks of a
/// layer, `tables[sequence]` the indices of a sequence's blocks in it. `lse` `[m, heads]`, when asked for, becomes the
/// log-sum-exp of the scaled scores, which [`attention_backward`] needs.
///
/// # Panics
/// When `head_dim` is not a multiple of 16, `heads` not one of `kv_heads`, or a table too short for a position.
#[allow(clippy::too_many_arguments)]
pub fn attention(
    cx: &Compute,
    heads: usize,
    q: &[f32],
    ldq: usize,
    rows: &[AttendRow],
    kv: &KvBlocks,
    tables: &[&[u32]],
    out: &mut [f32],
    ldo: usize,
    lse: Option<&mut [f32]>,
) {
    let shape = kv.shape;
    let group = check_shape(shape, heads);
    let (out, lse) = (Shared::new(out), lse.map(Shared::new));
    match &kv.words {
        Words::F32(blocks) => Forward { cx, shape, group, q, ldq, rows, blocks, tables, out, ldo, lse }.run(),
        Words::Bf16(blocks) => Forward { cx, shape, group, q, ldq, rows, blocks, tables, out, ldo, lse }.run(),
    }
}

/// Query heads for each key/value head.
fn check_shape(shape: KvShape, heads: usize) -> usize {
    assert!(shape.head_dim.is_multiple_of(LANES), "head_dim {} is not a multiple of {LANES}", shape.head_dim);
    assert!(heads.is_multiple_of(shape.kv_heads), "{heads} heads do not share {} key/value heads evenly", shape.kv_heads);
    heads / shape.kv_heads
}

/// Ranges of at most `most` rows that follow each other in one sequence.
fn split(rows: &[AttendRow], most: usize) -> Vec<Range<usize>> {
    let mut tiles = Vec::new();
    let mut first = 0;
    for same in rows.chunk_by(|a, b| a.sequence == b.sequence) {
        let end = first + same.len();
        tiles.extend((first..end).step_by(most).map(|at| at..end.min(at + most)));
        first = end;
    }
    tiles
}

/// What the softmax does in the format of its output.
trait Weights: Word + Operand {
    /// The buffer's memory as words.
    fn of(buffer: &mut AlignedBuffer) -> &mut [Self];

    /// [`weigh`] on an instruction set.
    fn weigh(isa: Isa, scores: &mut [f32], seen: usize, scale: f32, weights: &mut [Self]) -> (f32, f32);

    /// The numbers of `a` and then of `b`.
    fn store<L: Lanes>(a: L, b: L, words: &mut [Self]);
}

impl Weights for f32 {
    fn of(buffer: &mut AlignedBuffer) -> &mut [f32] {
        buffer
    }
    fn weigh(isa: Isa, scores: &mut [f32], seen: usize, scale: f32, weights: &mut [f32]) -> (f32, f32) {
        #[inline(always)]
        fn numbers<L: Lanes>(scores: &mut [f32], seen: usize, scale: f32, weights: &mut [f32]) -> (f32, f32) {
            weigh::<L, f32>(scores, seen, scale, weights)
        }
        dispatch!(isa, numbers(scores: &mut [f32], seen: usize, scale: f32, weights: &mut [f32]) -> (f32, f32))
    }
    #[inline(always)]
    fn store<L: Lanes>(a: L, b: L, words: &mut [f32]) {
        a.store(words);
        b.store(&mut words[LANES..]);
    }
}

impl Weights for u32 {
    fn of(buffer: &mut AlignedBuffer) -> &mut [u32] {
        buffer.words_mut()
    }
    fn weigh(isa: Isa, scores: &mut [f32], seen: usize, scale: f32, weights: &mut [u32]) -> (f32, f32) {
        #[inline(always)]
        fn pairs<L: Lanes>(scores: &mut [f32], seen: usize, scale: f32, weights: &mut [u32]) -> (f32, f32) {
            weigh::<L, u32>(scores, seen, scale, weights)
        }
        dispatch!(isa, pairs(scores: &mut [f32], seen: usize, scale: f32, weights: &mut [u32]) -> (f32, f32))
    }
    #[inline(always)]
    fn store<L: Lanes>(a: L, b: L, words: &mut [u32]) {
        a.store_pairs(b, words);
    }
}

/// The weights `2^(score * scale - max)` of the first `seen` scores, zero for the others; also the largest `score * scale`
/// and the sum of the weights. `scores` is a multiple of [`STRIDE`] long and is spent.
#[inline(always)]
fn weigh<L: Lanes, W: Weights>(scores: &mut [f32], seen: usize, scale: f32, weights: &mut [W]) -> (f32, f32) {
    scores[seen..].fill(f32::NEG_INFINITY);
    let max = dot::max::<L>(scores) * scale;
    let mut sum = L::splat(0.0);
    for (x, words) in scores.chunks_exact(STRIDE).zip(weights.chunks_exact_mut(STRIDE / W::NUMBERS)) {
        let a = exp2(L::load(x).mul_add(L::splat(scale), L::splat(-max)));
        let b = exp2(L::load(&x[LANES..]).mul_add(L::splat(scale), L::splat(-max)));
        sum = sum.add(a).add(b);
        W::store(a, b, words);
    }
    (max, sum.sum())
}

struct Forward<'a, W> {
    cx: &'a Compute,
    shape: KvShape,
    group: usize,
    q: &'a [f32],
    ldq: usize,
    rows: &'a [AttendRow],
    blocks: &'a [W],
    tables: &'a [&'a [u32]],
    out: Shared<'a, f32>,
    ldo: usize,
    lse: Option<Shared<'a, f32>>,
}

impl<W: Weights> Forward<'_, W> {
    fn run(&self) {
        let tiles = split(self.rows, (TILE_PAIRS / self.group).clamp(1, MAX_TILE_ROWS));
        let tasks = tiles.len() * self.shape.kv_heads;
        // A few rows keep all threads busy only when the heads that share keys are split too.
        let few = !tasks.is_multiple_of(self.cx.threads()) && tasks < 4 * self.cx.threads();
        let parts = if few { self.group } else { 1 };
        let heads = self.group / parts;
        // Late rows of a sequence see the most keys: they go first, so that no thread is left alone with them.
        self.cx.run(tasks * parts, &|i| {
            let (i, part) = (i / parts, i % parts);
            let tile = tiles[tiles.len() - 1 - i / self.shape.kv_heads].clone();
            self.attend(tile, i % self.shape.kv_heads, part * heads..(part + 1) * heads);
        });
    }

    /// Some of the heads that share a key/value head, for the rows `tile` of one sequence: all scores, then the softmax of
    /// each row, then the outputs.
    fn attend(&self, tile: Range<usize>, kv_head: usize, heads: Range<usize>) {
        let (isa, head_dim) = (self.cx.isa(), self.shape.head_dim);
        let rows = &self.rows[tile.clone()];
        let last = rows.iter().map(|row| row.position).max().unwrap_or(0) as usize;
        let table = &self.tables[rows[0].sequence as usize][..last / KV_BLOCK + 1];
        let keys = (table.len() * KV_BLOCK).next_multiple_of(STRIDE);
        let first_head = kv_head * self.group + heads.start;
        let (heads, first_column) = (heads.len(), first_head * head_dim);
        let pairs = rows.len() * heads;

        // Powers of two, so that a growing context does not ask for a new size at every block.
        let mut scratch = self.cx.scratch((pairs * (keys + head_dim + 1)).next_power_of_two());
        let (scores, rest) = scratch.split_at_mut(pairs * keys);
        let (outputs, rest) = rest.split_at_mut(pairs * head_dim);
        let sums = &mut rest[..pairs];
        let mut scratch = self.cx.scratch((pairs * (keys + head_dim) / W::NUMBERS).next_power_of_two());
        let (q, rest) = W::of(&mut scratch).split_at_mut(pairs * head_dim / W::NUMBERS);
        let weights = &mut rest[..pairs * keys / W::NUMBERS];

        for (i, q) in tile.clone().zip(q.chunks_exact_mut(heads * head_dim / W::NUMBERS)) {
            W::pack(&self.q[i * self.ldq + first_column..][..heads * head_dim], q);
        }
        let (key_part, len) = (self.shape.keys::<W>(kv_head), KV_BLOCK * head_dim / W::NUMBERS);
        let value_part = key_part.start + len..key_part.end + len;
        let first_values = self.parts(table, value_part.clone());
        self.for_blocks(table, key_part, &first_values, |first_key, parts, ahead| {
            let left = Left { x: q, row: head_dim / W::NUMBERS, step: 1 };
            let right = Right::Columns { parts, step: KV_BLOCK };
            W::product(isa, pairs, head_dim / W::NUMBERS, left, right, &mut scores[first_key..], keys, Start::Zero, ahead);
        });
        let scale = LOG2_E / (head_dim as f32).sqrt();
        let rows_of_scores = scores.chunks_exact_mut(keys).zip(weights.chunks_exact_mut(keys / W::NUMBERS));
        for (pair, (scores, weights)) in rows_of_scores.enumerate() {
            let (i, head) = (pair / heads, first_head + pair % heads);
            let (max, sum) = W::weigh(isa, scores, rows[i].position as usize + 1, scale, weights);
            sums[pair] = sum;
            if let Some(lse) = &self.lse {
                let at = (tile.start + i) * self.shape.kv_heads * self.group + head;
                // SAFETY: each (row, head) belongs to one task.
                #[allow(unsafe_code)]
                let lse = unsafe { lse.part(at..at + 1) };
                lse[0] = max * LN_2 + sum.ln();
            }
        }
        self.for_blocks(table, value_part, &[], |first_key, parts, ahead| {
            let left = Left { x: &weights[first_key / W::NUMBERS..], row: keys / W::NUMBERS, step: 1 };
            let right = Right::Steps { parts, step: head_dim, columns: head_dim };
            let start = if first_key == 0 { Start::Zero } else { Start::Previous };
            let steps = parts.len() * KV_BLOCK / W::NUMBERS;
            W::product(isa, pairs, steps, left, right, outputs, head_dim, start, ahead);
        });
        for (i, (outputs, sums)) in tile.zip(outputs.chunks_exact(heads * head_dim).zip(sums.chunks_exact(heads))) {
            let at = i * self.ldo + first_column;
            // SAFETY: each (row, head) belongs to one task.
            #[allow(unsafe_code)]
            let out = unsafe { self.out.part(at..at + heads * head_dim) };
            for ((out, x), sum) in out.chunks_exact_mut(head_dim).zip(outputs.chunks_exact(head_dim)).zip(sums) {
                let inverse = 1.0 / sum;
                out.iter_mut().zip(x).for_each(|(out, x)| *out = x * inverse);
            }
        }
    }

    /// Calls `visit(first key, parts, next parts)` with the part `range` of a few blocks of the table at a time, in order;
    /// `after` comes after the last.
    fn for_blocks(&self, table: &[u32], range: Range<usize>, after: &[&[W]], mut visit: impl FnMut(usize, &[&[W]], &[&[W]])) {
        let mut parts = self.parts(table, range.clone());
        for first in (0..table.len()).step_by(MAX_PARTS) {
            let rest = &table[table.len().min(first + MAX_PARTS)..];
            let next = self.parts(rest, range.clone());
            let ahead = if rest.is_empty() { after } else { &next[..rest.len().min(MAX_PARTS)] };
            visit(first * KV_BLOCK, &parts[..MAX_PARTS.min(table.len() - first)], ahead);
            parts = next;
        }
    }

    /// The part `range` of the first blocks of a table; empty where there is none.
    fn parts(&self, table: &[u32], range: Range<usize>) -> [&[W]; MAX_PARTS] {
        let block_len = self.shape.block_len::<W>();
        std::array::from_fn(|i| match table.get(i) {
            Some(&block) => &self.blocks[block as usize * block_len..][range.clone()],
            None => &[],
        })
    }
}

#[cfg(test)]
mod tests;
