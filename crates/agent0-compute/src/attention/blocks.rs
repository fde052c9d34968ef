//! Where keys and values lie: blocks of [`KV_BLOCK`] tokens, found through tables. Knows neither who owns a block nor attention.
//!
//! A block holds, for each key/value head, the keys and then the values of its tokens, in words of one `f32` or of two bf16
//! neighbours along the sums that attention takes (over the numbers of a head, then over tokens):
//!
//! ```text
//!            keys: a lane is a token                          values: a lane is a number of the head
//!   f32      | t0 d0    | t1 d0    | .. | t15 d0    |         | t0 d0    | t0 d1    | .. | t0 d(n-1)    |
//!            | t0 d1    | t1 d1    | .. | t15 d1    |         | t1 d0    | t1 d1    | .. | t1 d(n-1)    |
//!   bf16     | t0 d0,d1 | t1 d0,d1 | .. | t15 d0,d1 |         | t0,t1 d0 | t0,t1 d1 | .. | t0,t1 d(n-1) |
//!            | t0 d2,d3 | t1 d2,d3 | .. | t15 d2,d3 |         | t2,t3 d0 | t2,t3 d1 | .. | t2,t3 d(n-1) |
//! ```
#![allow(unsafe_code)]

use std::ops::Range;

use super::AttendRow;
use crate::buffer::AlignedBuffer;
use crate::share::{Shared, for_rows};
use crate::{Compute, bf16};

/// Tokens in a block.
pub const KV_BLOCK: usize = 16;

/// Shape of the keys (and of the values) of one token in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Key/value heads.
    pub kv_heads: usize,
    /// Numbers in a head, a multiple of 16.
    pub head_dim: usize,
}

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvFormat {
    /// 32-bit floating point; attention computes in it.
    F32,
    /// Half the memory; attention rounds queries and softmax weights to bf16 too and sums in `f32`.
    Bf16,
}

impl KvShape {
    /// Memory of a block of one layer, in bytes.
    pub fn block_bytes(&self, format: KvFormat) -> usize {
        2 * KV_BLOCK * self.kv_heads * self.head_dim * if format == KvFormat::F32 { 4 } else { 2 }
    }

    /// Where the keys of a head lie in a block of words `W`; its values follow, as many words.
    pub(super) fn keys<W: Word>(&self, kv_head: usize) -> Range<usize> {
        let len = KV_BLOCK * self.head_dim / W::NUMBERS;
        2 * kv_head * len..(2 * kv_head + 1) * len
    }

    /// Words in a block.
    pub(super) fn block_len<W: Word>(&self) -> usize {
        self.keys::<W>(self.kv_heads).start
    }
}

/// What blocks are made of.
pub(super) trait Word: Copy + Default + Send + Sync {
    /// Numbers in a word.
    const NUMBERS: usize;

    /// Neighbouring numbers as words.
    fn pack(numbers: &[f32], words: &mut [Self]);
    /// Number `slot % NUMBERS` of each word becomes that of `numbers`.
    fn put(slot: usize, numbers: &[f32], words: &mut [Self]);
}

impl Word for f32 {
    const NUMBERS: usize = 1;

    fn pack(numbers: &[f32], words: &mut [f32]) {
        words.copy_from_slice(numbers);
    }
    fn put(_slot: usize, numbers: &[f32], words: &mut [f32]) {
        words.copy_from_slice(numbers);
    }
}

/// Two bf16, the first in the lower half.
impl Word for u32 {
    const NUMBERS: usize = 2;

    fn pack(numbers: &[f32], words: &mut [u32]) {
        for (word, pair) in words.iter_mut().zip(numbers.chunks_exact(2)) {
            *word = bf16::pair(pair[0], pair[1]);
        }
    }
    fn put(slot: usize, numbers: &[f32], words: &mut [u32]) {
        for (word, &x) in words.iter_mut().zip(numbers) {
            *word = if slot.is_multiple_of(2) { *word & 0xffff_0000 | bf16::round(x) >> 16 } else { *word & 0x0000_ffff | bf16::round(x) };
        }
    }
}

/// Rounds the first `n` numbers of each of the `m` rows of `x`, `ld` apart, to what `format` can hold: so that whoever reads
/// queries, keys and values from rows computes with the same numbers as attention does.
pub fn round_to(cx: &Compute, format: KvFormat, m: usize, x: &mut [f32], ld: usize, n: usize) {
    if format == KvFormat::Bf16 {
        for_rows(cx, m, x, ld, n, |_, row| row[..n].iter_mut().for_each(|x| *x = f32::from_bits(bf16::round(*x))));
    }
}

/// The key/value blocks of one layer.
#[derive(Debug)]
pub struct KvBlocks {
    pub(super) shape: KvShape,
    pub(super) words: Words,
}

/// The words of all blocks, one block after the other.
#[derive(Debug)]
pub(super) enum Words {
    F32(AlignedBuffer),
    Bf16(AlignedBuffer<u32>),
}

impl KvBlocks {
    /// Room for `blocks` blocks. Pages of memory are touched when first used.
    pub fn new(shape: KvShape, format: KvFormat, blocks: usize) -> Self {
        let words = match format {
            KvFormat::F32 => Words::F32(AlignedBuffer::zeroed(blocks * shape.block_len::<f32>())),
            KvFormat::Bf16 => Words::Bf16(AlignedBuffer::zeroed(blocks * shape.block_len::<u32>())),
        };
        Self { shape, words }
    }

    /// Blocks there is room for.
    pub fn blocks(&self) -> usize {
        match &self.words {
            Words::F32(words) => words.len() / self.shape.block_len::<f32>(),
            Words::Bf16(words) => words.len() / self.shape.block_len::<u32>(),
        }
    }

    /// Writes the keys and values of some rows to their places: `k` and `v` `[rows, kv_heads * head_dim]` with row stride
    /// `ld`, `tables[sequence]` the indices of a sequence's blocks.
    ///
    /// # Panics
    /// When a table is too short for a position, or two sequences write to one block.
    pub fn write(&mut self, cx: &Compute, rows: &[AttendRow], tables: &[&[u32]], k: &[f32], v: &[f32], ld: usize) {
        let shape = self.shape;
        match &mut self.words {
            Words::F32(words) => write(cx, shape, words, rows, tables, k, v, ld),
            Words::Bf16(words) => write(cx, shape, words, rows, tables, k, v, ld),
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn write<W: Word>(cx: &Compute, shape: KvShape, words: &mut [W], rows: &[AttendRow], tables: &[&[u32]], k: &[f32], v: &[f32], ld: usize) {
    let place = |row: &AttendRow| (row.sequence as usize, row.position as usize / KV_BLOCK);
    let mut spans: Vec<(u32, Range<usize>)> = Vec::new();
    let mut first = 0;
    for same in rows.chunk_by(|a, b| place(a) == place(b)) {
        let (sequence, index) = place(&same[0]);
        spans.push((tables[sequence][index], first..first + same.len()));
        first += same.len();
    }
    spans.sort_unstable_by_key(|&(block, _)| block);
    assert!(spans.is_sorted_by(|a, b| a.0 < b.0), "two sequences write to one block");
    let (len, width) = (shape.block_len::<W>(), shape.kv_heads * shape.head_dim);
    let words = Shared::new(words);
    cx.run(spans.len(), &|i| {
        let (block, rows_of_block) = &spans[i];
        // SAFETY: each block is in one span only.
        let block = unsafe { words.part(*block as usize * len..(*block as usize + 1) * len) };
        // Values that nobody has written yet are weighed with 0; of what another sequence left there, NaN would show.
        if (rows[rows_of_block.start].position as usize).is_multiple_of(KV_BLOCK) {
            block.fill(W::default());
        }
        for row in rows_of_block.clone() {
            let slot = rows[row].position as usize % KV_BLOCK;
            write_token(shape, block, slot, &k[row * ld..][..width], &v[row * ld..][..width]);
        }
    });
}

/// Writes the keys and values of one token to its place in a block.
fn write_token<W: Word>(shape: KvShape, block: &mut [W], slot: usize, k: &[f32], v: &[f32]) {
    let head_dim = shape.head_dim;
    let heads = k.chunks_exact(head_dim).zip(v.chunks_exact(head_dim));
    for (part, (k, v)) in block.chunks_exact_mut(2 * KV_BLOCK * head_dim / W::NUMBERS).zip(heads) {
        let (keys, values) = part.split_at_mut(KV_BLOCK * head_dim / W::NUMBERS);
        for (word, numbers) in keys[slot..].iter_mut().step_by(KV_BLOCK).zip(k.chunks_exact(W::NUMBERS)) {
            W::pack(numbers, std::slice::from_mut(word));
        }
        W::put(slot, v, &mut values[slot / W::NUMBERS * head_dim..][..head_dim]);
    }
}
