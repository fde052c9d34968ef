//! Causal grouped-query attention over paged key/value blocks.
//!
//! One kernel serves prefill, decode and the training forward pass. Rows of a sequence that follow each other, and the
//! heads that share a key/value head, are worked on as a tile, so that a block is loaded once for all of them; but every
//! (row, head) is reduced by itself in one order over the key positions: scores over the head's numbers in order, the
//! sum of exponentials in 16 lanes by position, the output over the positions in order. So its bits depend neither on
//! the tile nor on the batch nor on the thread count. Masked keys enter as exact zeros.

mod backward;
mod product;

use std::ops::Range;

use crate::lanes::{LANES, Lanes, dispatch};
use crate::share::Shared;
use crate::{Compute, dot, exp::exp};
pub use backward::{Segment, attention_backward};
use product::{Left, MAX_PARTS, Right, Start, product};

/// Tokens in a block.
pub const KV_BLOCK: usize = 16;

/// (query row, head) pairs a tile should have: enough to use a loaded block well, few enough for scores to stay cached.
const TILE_PAIRS: usize = 48;
/// Query rows a tile may have; more would compute too many scores that causality masks.
const MAX_TILE_ROWS: usize = 32;

/// Shape of the keys (and of the values) of one token in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Key/value heads.
    pub kv_heads: usize,
    /// Numbers in a head, a multiple of 16.
    pub head_dim: usize,
}

impl KvShape {
    /// Numbers in a block of one layer: keys `[kv_heads, head_dim, 16]`, then values `[kv_heads, 16, head_dim]`.
    pub fn block_len(&self) -> usize {
        2 * KV_BLOCK * self.token_len()
    }

    fn token_len(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Where one head's keys lie in a block.
    fn keys(&self, kv_head: usize) -> Range<usize> {
        let len = KV_BLOCK * self.head_dim;
        kv_head * len..(kv_head + 1) * len
    }

    /// Where one head's values lie in a block.
    fn values(&self, kv_head: usize) -> Range<usize> {
        let (keys, half) = (self.keys(kv_head), self.block_len() / 2);
        half + keys.start..half + keys.end
    }
}

/// One query row: which sequence it belongs to, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttendRow {
    /// Index into the tables.
    pub sequence: u32,
    /// The row sees the keys of positions `0..=position`.
    pub position: u32,
}

/// Writes the keys and values of one token, `k` and `v` `[kv_heads * head_dim]`, to place `slot` (its position modulo
/// [`KV_BLOCK`]) of `block`. A block must be zero before its first use, since masked places are multiplied by zero.
pub fn write_kv(shape: KvShape, block: &mut [f32], slot: usize, k: &[f32], v: &[f32]) {
    let (keys, values) = block.split_at_mut(shape.block_len() / 2);
    for (place, &x) in keys[slot..].iter_mut().step_by(KV_BLOCK).zip(&k[..shape.token_len()]) {
        *place = x;
    }
    for (head, v) in values.chunks_exact_mut(KV_BLOCK * shape.head_dim).zip(v.chunks_exact(shape.head_dim)) {
        head[slot * shape.head_dim..][..shape.head_dim].copy_from_slice(v);
    }
}

/// Softmax attention of query rows over the keys they see, scores scaled by `1/sqrt(head_dim)`.
///
/// `q` and `out` are `[m, heads * head_dim]` with row strides `ldq` and `ldo`, `rows` `[m]`. `storage` holds all blocks of a
/// layer, `tables[sequence]` the indices of a sequence's blocks in it. `lse` `[m, heads]`, when asked for, becomes the
/// log-sum-exp of the scaled scores, which [`attention_backward`] needs.
///
/// # Panics
/// When `head_dim` is not a multiple of 16, `heads` not one of `kv_heads`, or a table too short for a position.
#[allow(clippy::too_many_arguments)]
pub fn attention(
    cx: &Compute,
    shape: KvShape,
    heads: usize,
    q: &[f32],
    ldq: usize,
    rows: &[AttendRow],
    storage: &[f32],
    tables: &[&[u32]],
    out: &mut [f32],
    ldo: usize,
    lse: Option<&mut [f32]>,
) {
    let group = check_shape(shape, heads);
    let tiles = split(rows, (TILE_PAIRS / group).clamp(1, MAX_TILE_ROWS));
    let forward = Forward { cx, shape, group, q, ldq, rows, storage, tables, out: Shared::new(out), ldo, lse: lse.map(Shared::new) };
    // Late rows of a sequence see the most keys: they go first, so that no thread is left alone with them.
    cx.run(tiles.len() * shape.kv_heads, &|i| {
        let tile = tiles[tiles.len() - 1 - i / shape.kv_heads].clone();
        forward.attend(tile, i % shape.kv_heads);
    });
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

struct Forward<'a> {
    cx: &'a Compute,
    shape: KvShape,
    group: usize,
    q: &'a [f32],
    ldq: usize,
    rows: &'a [AttendRow],
    storage: &'a [f32],
    tables: &'a [&'a [u32]],
    out: Shared<'a, f32>,
    ldo: usize,
    lse: Option<Shared<'a, f32>>,
}

impl Forward<'_> {
    /// One key/value head for the rows `tile` of one sequence: all scores, then the softmax of each row, then the outputs.
    fn attend(&self, tile: Range<usize>, kv_head: usize) {
        let (isa, head_dim) = (self.cx.isa(), self.shape.head_dim);
        let rows = &self.rows[tile.clone()];
        let last = rows.iter().map(|row| row.position).max().unwrap_or(0) as usize;
        let table = &self.tables[rows[0].sequence as usize][..last / KV_BLOCK + 1];
        let keys = table.len() * KV_BLOCK;
        let pairs = rows.len() * self.group;

        // A power of two, so that a growing context does not ask for a new size at every block.
        let mut scratch = self.cx.scratch((pairs * (keys + head_dim + 1)).next_power_of_two());
        let (q, rest) = scratch.split_at_mut(pairs * head_dim);
        let (scores, rest) = rest.split_at_mut(pairs * keys);
        let sums = &mut rest[..pairs];
        let first_column = kv_head * self.group * head_dim;
        for (i, q) in tile.clone().zip(q.chunks_exact_mut(self.group * head_dim)) {
            q.copy_from_slice(&self.q[i * self.ldq + first_column..][..self.group * head_dim]);
        }

        self.for_blocks(table, self.shape.keys(kv_head), |first_key, parts| {
            let left = Left { x: q, row: head_dim, step: 1 };
            let right = Right::Columns { parts, step: KV_BLOCK };
            product(isa, pairs, head_dim, left, right, &mut scores[first_key..], keys, Start::Zero);
        });
        let scale = 1.0 / (head_dim as f32).sqrt();
        for (pair, scores) in scores.chunks_exact_mut(keys).enumerate() {
            let (i, head) = (pair / self.group, kv_head * self.group + pair % self.group);
            let seen = rows[i].position as usize + 1;
            let (max, sum) = dispatch!(isa, weigh(scores: &mut [f32], seen: usize, scale: f32) -> (f32, f32));
            sums[pair] = sum;
            if let Some(lse) = &self.lse {
                let at = (tile.start + i) * self.shape.kv_heads * self.group + head;
                // SAFETY: each (row, head) belongs to one task.
                #[allow(unsafe_code)]
                let lse = unsafe { lse.part(at..at + 1) };
                lse[0] = max + sum.ln();
            }
        }
        // The queries are spent: their place takes the outputs.
        let outputs = q;
        self.for_blocks(table, self.shape.values(kv_head), |first_key, parts| {
            let left = Left { x: &scores[first_key..], row: keys, step: 1 };
            let right = Right::Steps { parts, step: head_dim, columns: head_dim };
            let start = if first_key == 0 { Start::Zero } else { Start::Previous };
            product(isa, pairs, parts.len() * KV_BLOCK, left, right, outputs, head_dim, start);
        });
        for (i, (outputs, sums)) in tile.zip(outputs.chunks_exact(self.group * head_dim).zip(sums.chunks_exact(self.group))) {
            let at = i * self.ldo + first_column;
            // SAFETY: each (row, head) belongs to one task.
            #[allow(unsafe_code)]
            let out = unsafe { self.out.part(at..at + self.group * head_dim) };
            for ((out, x), sum) in out.chunks_exact_mut(head_dim).zip(outputs.chunks_exact(head_dim)).zip(sums) {
                let inverse = 1.0 / sum;
                out.iter_mut().zip(x).for_each(|(out, x)| *out = x * inverse);
            }
        }
    }

    /// Calls `visit(first key, parts)` with the part `range` of a few blocks of the table at a time, in order.
    fn for_blocks(&self, table: &[u32], range: Range<usize>, mut visit: impl FnMut(usize, &[&[f32]])) {
        for (chunk, blocks) in table.chunks(MAX_PARTS).enumerate() {
            let mut parts: [&[f32]; MAX_PARTS] = [&[]; MAX_PARTS];
            for (part, &block) in parts.iter_mut().zip(blocks) {
                *part = &self.storage[block as usize * self.shape.block_len()..][range.clone()];
            }
            visit(chunk * MAX_PARTS * KV_BLOCK, &parts[..blocks.len()]);
        }
    }
}

/// Scores become `exp(score * scale - max)`, those after the first `seen` zero. Returns the scaled maximum and the sum.
#[inline(always)]
fn weigh<L: Lanes>(scores: &mut [f32], seen: usize, scale: f32) -> (f32, f32) {
    let (scores, masked) = scores.split_at_mut(seen);
    masked.fill(0.0);
    let max = dot::max::<L>(scores) * scale;
    let mut sum = L::splat(0.0);
    for x in scores.chunks_mut(LANES) {
        let weight = exp(L::read(x, f32::NEG_INFINITY).mul_add(L::splat(scale), L::splat(-max)));
        sum = sum.add(weight);
        weight.write(x);
    }
    (max, sum.sum())
}

#[cfg(test)]
mod tests;
