//! Gradient of causal attention for whole sequences, recomputing the weights from the log-sum-exp of the forward pass
//! (Dao et al. 2022, FlashAttention, algorithm 4).
//!
//! Sequences that begin alike may share the rows of their common prefix. A task is one query head of one *family*, the
//! sequences that share a prefix (or one sequence alone). Gradients of keys and values that several query heads share are
//! first kept apart for each head and then added in the order of the heads, so nothing depends on which task ends first.

use std::ops::Range;

use super::product::{Left, Right, Start, product};
use super::{KvShape, check_shape};
use crate::dot::dot;
use crate::exp::exp;
use crate::lanes::{LANES, Lanes, dispatch};
use crate::share::{Shared, for_ranges};
use crate::{Compute, Isa};

/// Query rows, and keys, worked on at a time: two 64 x 64 squares and their operands fit the first caches.
const SQUARE: usize = 64;
/// Tokens for each thread whose key and value gradients are kept apart by head at a time; bounds the scratch memory.
const WAVE_TOKENS: usize = 1024;

/// Consecutive rows of one sequence and who sees their keys: each row sees those of its own segment up to itself, and the
/// rows from the segment's end to `until` see all of them. Sequences without a shared prefix are one segment each, with
/// `until` its end. Shared prefixes make a tree, laid out depth first:
///
/// ```text
/// rows      | prefix of a, b and c | rest of a | shared by b and c | rest of b | rest of c |
/// seen by     all six               a           b, c                b           c
/// until       end of c              its end     end of c            its end     its end
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its rows.
    pub rows: Range<usize>,
    /// End of the rows that see it.
    pub until: usize,
}

/// Gradient of [`attention`](super::attention) over whole sequences, whose rows `segments` lists in order without a gap.
///
/// `qkv` (row stride `ld`) has columns `[q | k | v]`, of `heads`, `kv_heads` and `kv_heads` heads, as they entered attention;
/// `out` (`ldo`) and `lse` `[m, heads]` are what it returned, `dout` (`lddo`) the gradient of `out`. The columns
/// `[dq | dk | dv]` of `dqkv` (`ldd`) are overwritten.
///
/// # Panics
/// As [`attention`](super::attention).
#[allow(clippy::too_many_arguments)]
pub fn attention_backward(
    cx: &Compute,
    shape: KvShape,
    heads: usize,
    segments: &[Segment],
    qkv: &[f32],
    ld: usize,
    out: &[f32],
    ldo: usize,
    dout: &[f32],
    lddo: usize,
    lse: &[f32],
    dqkv: &mut [f32],
    ldd: usize,
) {
    let group = check_shape(shape, heads);
    let dqkv = Shared::new(dqkv);
    let backward = Backward { cx, shape, heads, group, qkv, ld, out, ldo, dout, lddo, lse, dqkv, ldd };
    let families = families(segments);
    let mut rest = families.as_slice();
    while let Some(first) = rest.first() {
        let limit = first[0].rows.start + WAVE_TOKENS * cx.threads();
        let count = rest.iter().take_while(|f| f[0].until <= limit).count().max(1);
        let (wave, after) = rest.split_at(count);
        backward.wave(wave);
        rest = after;
    }
}

/// Runs of segments that the first of them is seen by.
fn families(segments: &[Segment]) -> Vec<&[Segment]> {
    let mut families = Vec::new();
    let mut rest = segments;
    while let Some(root) = rest.first() {
        let (family, after) = rest.split_at(rest.partition_point(|s| s.rows.start < root.until).max(1));
        families.push(family);
        rest = after;
    }
    families
}

struct Backward<'a> {
    cx: &'a Compute,
    shape: KvShape,
    heads: usize,
    group: usize,
    qkv: &'a [f32],
    ld: usize,
    out: &'a [f32],
    ldo: usize,
    dout: &'a [f32],
    lddo: usize,
    lse: &'a [f32],
    dqkv: Shared<'a, f32>,
    ldd: usize,
}

impl Backward<'_> {
    /// Some families: first every query head, then the sums over heads that share keys and values.
    fn wave(&self, families: &[&[Segment]]) {
        let head_dim = self.shape.head_dim;
        let rows_of = |family: &[Segment]| family[0].rows.start..family[0].until;
        let rows = rows_of(families[0]).start..rows_of(families[families.len() - 1]).end;
        // The gradients by query head of a family: [heads][dk, dv][its rows][head_dim].
        let by_token = self.heads * 2 * head_dim;
        let mut by_head = self.cx.scratch(rows.len() * by_token);
        let mut longest_first = families.to_vec();
        longest_first.sort_by_key(|f| std::cmp::Reverse(rows_of(f).len()));
        let shared = Shared::new(&mut by_head);
        self.cx.run(families.len() * self.heads, &|i| {
            let (family, head) = (longest_first[i / self.heads], i % self.heads);
            let len = rows_of(family).len() * 2 * head_dim;
            let at = (rows_of(family).start - rows.start) * by_token + head * len;
            // SAFETY: each (family, head) has its own part.
            #[allow(unsafe_code)]
            let (dk, dv) = unsafe { shared.part(at..at + len) }.split_at_mut(len / 2);
            self.query_head(family, head, dk, dv);
        });
        let by_head = &by_head[..];
        for family in families.iter().map(|f| rows_of(f)) {
            let (by_head, len) = (&by_head[(family.start - rows.start) * by_token..], family.len() * head_dim);
            for_ranges(self.cx, family.len(), by_token, |rows| {
                for (row, kv_head, which) in rows.flat_map(|r| (0..self.shape.kv_heads).flat_map(move |h| [(r, h, 0), (r, h, 1)])) {
                    let head = |g: usize| &by_head[(2 * (kv_head * self.group + g) + which) * len + row * head_dim..][..head_dim];
                    let column = (self.heads + which * self.shape.kv_heads + kv_head) * head_dim;
                    let at = (family.start + row) * self.ldd + column;
                    // SAFETY: each row belongs to one task.
                    #[allow(unsafe_code)]
                    let sum = unsafe { self.dqkv.part(at..at + head_dim) };
                    sum.copy_from_slice(head(0));
                    (1..self.group).for_each(|g| sum.iter_mut().zip(head(g)).for_each(|(sum, x)| *sum += x));
                }
            });
        }
    }

    /// One query head of one family: writes its columns of dq, and its share of dk and dv `[rows, head_dim]`.
    fn query_head(&self, family: &[Segment], head: usize, dk: &mut [f32], dv: &mut [f32]) {
        let all = family[0].rows.start..family[0].until;
        let (isa, head_dim, tokens) = (self.cx.isa(), self.shape.head_dim, all.len());
        let size = tokens * head_dim;
        let mut scratch = self.cx.scratch((3 * size + tokens + 3 * SQUARE * head_dim + 2 * SQUARE * SQUARE).next_power_of_two());
        let (q, rest) = scratch.split_at_mut(size);
        let (dout, rest) = rest.split_at_mut(size);
        let (dq, rest) = rest.split_at_mut(size);
        let (delta, rest) = rest.split_at_mut(tokens);
        let (k, rest) = rest.split_at_mut(SQUARE * head_dim);
        let (k_lanes, rest) = rest.split_at_mut(SQUARE * head_dim);
        let (v_lanes, rest) = rest.split_at_mut(SQUARE * head_dim);
        let (weights, rest) = rest.split_at_mut(SQUARE * SQUARE);
        let dscores = &mut rest[..SQUARE * SQUARE];

        // Close together, rows of a head do not compete for the same cache lines.
        for (i, row) in all.clone().enumerate() {
            let place = i * head_dim..(i + 1) * head_dim;
            q[place.clone()].copy_from_slice(&self.qkv[row * self.ld + head * head_dim..][..head_dim]);
            dout[place.clone()].copy_from_slice(&self.dout[row * self.lddo + head * head_dim..][..head_dim]);
            let (a, b) = (&dout[place], &self.out[row * self.ldo + head * head_dim..][..head_dim]);
            delta[i] = dispatch!(isa, dot(a: &[f32], b: &[f32]) -> f32);
        }
        let kv_head = head / self.group;
        let k_column = (self.heads + kv_head) * head_dim;
        let v_column = k_column + self.shape.kv_heads * head_dim;
        // Squares of keys, and the end of the rows that see them; from here on rows count from the family's first.
        let from_first = |s: &Segment| (s.rows.start - all.start..s.rows.end - all.start, s.until - all.start);
        let squares = family.iter().map(from_first).flat_map(|(rows, until)| {
            let end = rows.end;
            rows.step_by(SQUARE).map(move |first| (first, SQUARE.min(end - first), until))
        });
        for (first_key, keys, until) in squares {
            let row_at = |j: usize, column: usize| &self.qkv[(all.start + first_key + j) * self.ld + column..][..head_dim];
            for j in 0..keys {
                k[j * head_dim..][..head_dim].copy_from_slice(row_at(j, k_column));
            }
            lanes_of(k_lanes, head_dim, keys, |j| row_at(j, k_column));
            lanes_of(v_lanes, head_dim, keys, |j| row_at(j, v_column));
            let place = first_key * head_dim..(first_key + keys) * head_dim;
            let (dk, dv) = (&mut dk[place.clone()], &mut dv[place]);
            for first_row in (first_key..until).step_by(SQUARE) {
                let rows = SQUARE.min(until - first_row);
                let place = first_row * head_dim..(first_row + rows) * head_dim;
                let (q, dout, dq) = (&q[place.clone()], &dout[place.clone()], &mut dq[place]);
                square_times(isa, q, k_lanes, head_dim, rows, weights);
                square_times(isa, dout, v_lanes, head_dim, rows, dscores);
                let scale = 1.0 / (head_dim as f32).sqrt();
                for (r, (weights, dscores)) in weights.chunks_mut(SQUARE).zip(dscores.chunks_mut(SQUARE)).take(rows).enumerate() {
                    let seen = (first_row + r + 1 - first_key).min(keys);
                    let lse = self.lse[(all.start + first_row + r) * self.heads + head];
                    let delta = delta[first_row + r];
                    dispatch!(isa, differentiate(
                        weights: &mut [f32], dscores: &mut [f32], seen: usize, scale: f32, lse: f32, delta: f32,
                    ));
                }
                let first = |yes| if yes { Start::Zero } else { Start::Previous };
                let across = |x| Left { x, row: 1, step: SQUARE };
                let start = first(first_row == first_key);
                product(isa, keys, rows, across(weights), rows_of(&[dout], head_dim), dv, head_dim, start);
                product(isa, keys, rows, across(dscores), rows_of(&[q], head_dim), dk, head_dim, start);
                let along = Left { x: dscores, row: SQUARE, step: 1 };
                product(isa, rows, keys, along, rows_of(&[k], head_dim), dq, head_dim, first(first_key == 0));
            }
        }
        for (row, dq) in all.zip(dq.chunks_exact(head_dim)) {
            let at = row * self.ldd + head * head_dim;
            // SAFETY: each (row, head) belongs to one task.
            #[allow(unsafe_code)]
            unsafe { self.dqkv.part(at..at + head_dim) }.copy_from_slice(dq);
        }
    }
}

/// Contiguous rows of `head_dim` numbers as a right operand.
fn rows_of<'a>(parts: &'a [&'a [f32]], head_dim: usize) -> Right<'a> {
    Right::Steps { parts, step: head_dim, columns: head_dim }
}

/// Rows as lanes, `[SQUARE / 16][head_dim][16]`; rows from `count` on are zero.
fn lanes_of<'a>(lanes: &mut [f32], head_dim: usize, count: usize, row: impl Fn(usize) -> &'a [f32]) {
    for (block, lanes) in lanes.chunks_exact_mut(head_dim * LANES).enumerate() {
        for lane in 0..LANES {
            let places = lanes[lane..].iter_mut().step_by(LANES);
            let j = block * LANES + lane;
            if j < count {
                places.zip(row(j)).for_each(|(place, &x)| *place = x);
            } else {
                places.for_each(|place| *place = 0.0);
            }
        }
    }
}

/// `square[r, j] = a[r] . b[j]` for `rows` rows of `a` and the rows that `b_lanes` holds as lanes.
fn square_times(isa: Isa, a: &[f32], b_lanes: &[f32], head_dim: usize, rows: usize, square: &mut [f32]) {
    let mut parts: [&[f32]; SQUARE / LANES] = [&[]; SQUARE / LANES];
    parts.iter_mut().zip(b_lanes.chunks_exact(head_dim * LANES)).for_each(|(part, b)| *part = b);
    let right = Right::Columns { parts: &parts, step: LANES };
    product(isa, rows, head_dim, Left { x: a, row: head_dim, step: 1 }, right, square, SQUARE, Start::Zero);
}

/// One query row against some keys: scores become weights `exp(score * scale - lse)`, and their gradients with respect to
/// the weights become gradients of the unscaled scores; both are zero from key `seen` on.
#[inline(always)]
fn differentiate<L: Lanes>(scores: &mut [f32], dweights: &mut [f32], seen: usize, scale: f32, lse: f32, delta: f32) {
    let vectors = scores.chunks_exact_mut(LANES).zip(dweights.chunks_exact_mut(LANES));
    for (s, d) in vectors.take(seen.div_ceil(LANES)) {
        let weight = exp(L::load(s).mul_add(L::splat(scale), L::splat(-lse)));
        weight.mul(L::load(d).sub(L::splat(delta))).mul(L::splat(scale)).store(d);
        weight.store(s);
    }
    scores[seen..].fill(0.0);
    dweights[seen..].fill(0.0);
}
