//! The layout of frozen weights.
//!
//! A matrix `[n, k]` is cut into panels of 48 outputs (the last one 16, 32 or 48). Inside a panel one *step* is a row of
//! 32-bit words, one word for each output; a word is one `f32`, or two bf16 neighbours along `k`:
//!
//! ```text
//!             panel 0                                  panel 1
//!   step 0    | n0  k0,k1 | n1  k0,k1 | .. | n47 k0,k1 |   | n48 k0,k1 | ..
//!   step 1    | n0  k2,k3 | n1  k2,k3 | .. | n47 k2,k3 |   | n48 k2,k3 | ..
//!   ..
//! ```
//!
//! Panels follow one another in memory, each from its first step to its last, so a product reads the weights as one
//! stream. Every row of words starts at a 64-byte boundary. Outputs past `n` and an odd last `k` are filled with zeros.
//!
//! In 8 bits a step is a *group* of 64 neighbours along `k`: sixteen rows of words, each of four bytes 16 apart, then a
//! row of scales. A byte holds `q + 64`, its weight is `q * scale`:
//!
//! ```text
//!   step 0    | n0  k0,k16,k32,k48  | n1  k0,k16,k32,k48  | .. | n47 k0,k16,k32,k48  |
//!             | n0  k1,k17,k33,k49  | ..
//!             ..
//!             | n0  k15,k31,k47,k63 | ..
//!             | n0  scale (f32)     | n1  scale           | .. | n47 scale           |
//!   step 1    | n0  k64,k80,k96,k112 | ..
//! ```
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::bytes::{GROUP, GROUP_ROWS, quantize_weights, weight_byte, weight_word};
use crate::bf16;
use crate::buffer::AlignedBuffer;
use crate::pool::Compute;
use crate::share::Shared;

/// Outputs in a panel: three AVX-512 vectors.
pub(crate) const PANEL: usize = 48;
/// The width of the last panel is a multiple of this.
const NARROW: usize = 16;

/// Rows of words filled together: a stretch of the panel that stays in cache while its columns are written one by one.
const FILL_ROWS: usize = 64;

/// How packed weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit floating point.
    F32,
    /// The upper half of it: 8 bits of precision, half of the memory traffic.
    Bf16,
    /// Signed bytes with a scale for every 64 inputs: weights of 7 bits and, in a product, activations of 8.
    Q8,
}

impl Dtype {
    /// Elements along `k` in a step.
    pub(crate) fn per_step(self) -> usize {
        match self {
            Dtype::F32 => 1,
            Dtype::Bf16 => 2,
            Dtype::Q8 => GROUP,
        }
    }

    /// Words of a step, for one output.
    pub(crate) fn weight_words(self) -> usize {
        match self {
            Dtype::F32 | Dtype::Bf16 => 1,
            Dtype::Q8 => GROUP_ROWS + 1,
        }
    }
}

/// A frozen matrix `[n, k]` (outputs, inputs), laid out for [`gemm`](crate::gemm).
#[derive(Clone)]
pub struct PackedMatrix {
    n: usize,
    k: usize,
    dtype: Dtype,
    /// Steps along `k`.
    steps: usize,
    data: AlignedBuffer,
}

impl PackedMatrix {
    /// Packs `scale * w`, with element `(n, k)` at `w[n * row_stride + k * col_stride]`.
    ///
    /// # Panics
    /// When `w` is too short for the shape.
    #[allow(clippy::too_many_arguments)]
    pub fn pack(cx: &Compute, w: &[f32], n: usize, k: usize, row_stride: usize, col_stride: usize, scale: f32, dtype: Dtype) -> Self {
        let mut packed = Self::zeroed(n, k, dtype);
        packed.repack(cx, w, row_stride, col_stride, scale);
        packed
    }

    /// Packs the matrix `[n, k]` whose rows `read` gives: `read(rows, out)` writes a range of rows to `out`, `[rows, k]`.
    /// It is called from all threads, once for each panel, so that only a panel of `f32` exists at a time.
    ///
    /// # Errors
    /// One of those of `read`.
    pub fn from_rows<E: Send>(
        cx: &Compute,
        n: usize,
        k: usize,
        dtype: Dtype,
        read: impl Fn(Range<usize>, &mut [f32]) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        let mut packed = Self::zeroed(n, k, dtype);
        let failure = Mutex::new(None);
        packed.fill_panels(cx, |panel, outputs| {
            let mut rows = cx.scratch(outputs.len() * k);
            match read(outputs.clone(), &mut rows) {
                Ok(()) => panel.fill(outputs.len(), |j, i| rows[j * k + i]),
                Err(error) => *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(packed), Err)
    }

    /// Replaces the values, as [`pack`](Self::pack) does; shape and type stay.
    ///
    /// # Panics
    /// When `w` is too short for the shape.
    pub fn repack(&mut self, cx: &Compute, w: &[f32], row_stride: usize, col_stride: usize, scale: f32) {
        if self.n == 0 || self.k == 0 {
            return;
        }
        let last = (self.n - 1) * row_stride + (self.k - 1) * col_stride;
        assert!(last < w.len(), "weights are too short for [{}, {}]", self.n, self.k);
        self.fill(cx, |n, k| w[n * row_stride + k * col_stride] * scale);
    }

    /// The transpose `[k, n]` of the stored values; 8-bit ones are rounded once more, since their scales run along `k`.
    pub fn transposed(&self, cx: &Compute) -> PackedMatrix {
        let mut packed = Self::zeroed(self.k, self.n, self.dtype);
        packed.fill(cx, |n, k| self.get(k, n));
        packed
    }

    /// Number of outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// How the values are stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.data.len() * size_of::<u32>()
    }

    /// Copies row `n` (the weights of one output) to `out`, widened to `f32`: an embedding lookup.
    ///
    /// # Panics
    /// When `n` is no row or `out` is not `k` long.
    pub fn read_row(&self, n: usize, out: &mut [f32]) {
        assert!(n < self.n && out.len() == self.k, "no row {n} of length {} in [{}, {}]", out.len(), self.n, self.k);
        for (k, out) in out.iter_mut().enumerate() {
            *out = self.get(n, k);
        }
    }

    /// Steps along `k`.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// Rows of words in a panel.
    pub(crate) fn rows(&self) -> usize {
        self.steps() * self.dtype.weight_words()
    }

    pub(crate) fn panels(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// The words `[rows, width]` of a panel, and its width.
    pub(crate) fn panel(&self, panel: usize) -> (&[u32], usize) {
        let (start, width) = (panel * PANEL * self.rows(), width(self.n, panel));
        (&self.data.words()[start..start + self.rows() * width], width)
    }

    fn zeroed(n: usize, k: usize, dtype: Dtype) -> Self {
        let steps = k.div_ceil(dtype.per_step());
        let words = n.next_multiple_of(NARROW) * steps * dtype.weight_words();
        Self { n, k, dtype, steps, data: AlignedBuffer::zeroed(words) }
    }

    fn get(&self, n: usize, k: usize) -> f32 {
        let (panel, width) = self.panel(n / PANEL);
        let word = |row: usize| panel[row * width + n % PANEL];
        match self.dtype {
            Dtype::F32 => f32::from_bits(word(k)),
            Dtype::Bf16 if k.is_multiple_of(2) => f32::from_bits(word(k / 2) << 16),
            Dtype::Bf16 => f32::from_bits(word(k / 2) & 0xffff_0000),
            Dtype::Q8 => {
                let first = k / GROUP * (GROUP_ROWS + 1);
                weight_byte(word(first + k % GROUP_ROWS), k % GROUP / GROUP_ROWS) as f32 * f32::from_bits(word(first + GROUP_ROWS))
            }
        }
    }

    fn fill(&mut self, cx: &Compute, value: impl Fn(usize, usize) -> f32 + Sync) {
        self.fill_panels(cx, |panel, outputs| panel.fill(outputs.len(), |j, k| value(outputs.start + j, k)));
    }

    /// Calls `fill` for each panel, with the outputs that it holds.
    fn fill_panels(&mut self, cx: &Compute, fill: impl Fn(Panel, Range<usize>) + Sync) {
        let (n, k, dtype, rows) = (self.n, self.k, self.dtype, self.rows());
        let panels = self.panels();
        let words = Shared::new(self.data.words_mut());
        cx.run(panels, &|p| {
            let width = width(n, p);
            // SAFETY: panels do not overlap and each is filled by one task.
            let words = unsafe { words.part(p * PANEL * rows..(p * PANEL + width) * rows) };
            fill(Panel { words, width, k, dtype }, p * PANEL..n.min((p + 1) * PANEL));
        });
    }
}

/// The words `[rows, width]` of a panel that is being filled.
struct Panel<'a> {
    words: &'a mut [u32],
    width: usize,
    k: usize,
    dtype: Dtype,
}

impl Panel<'_> {
    /// Writes the first `outputs` columns; `value(j, i)` is the weight of column `j` for input `i`.
    fn fill(self, outputs: usize, value: impl Fn(usize, usize) -> f32) {
        let Self { words, width, k, dtype } = self;
        let block_rows = FILL_ROWS / dtype.weight_words() * dtype.weight_words();
        for (block, words) in words.chunks_mut(block_rows * width).enumerate() {
            for j in 0..outputs {
                let value = |i| if i < k { value(j, i) } else { 0.0 };
                let first = block * block_rows;
                match dtype {
                    Dtype::F32 => fill_column(words, width, j, |row| value(first + row).to_bits()),
                    Dtype::Bf16 => {
                        fill_column(words, width, j, |row| bf16::pair(value(2 * (first + row)), value(2 * (first + row) + 1)));
                    }
                    Dtype::Q8 => {
                        for (group, words) in words.chunks_exact_mut((GROUP_ROWS + 1) * width).enumerate() {
                            let at = (first / (GROUP_ROWS + 1) + group) * GROUP;
                            let bytes = quantize_weights(&std::array::from_fn(|i| value(at + i)));
                            let row = |row| if row < GROUP_ROWS { weight_word(bytes.words[row]) } else { bytes.scale.to_bits() };
                            fill_column(words, width, j, row);
                        }
                    }
                }
            }
        }
    }
}

/// Writes column `j` of rows of `width` words.
#[inline(always)]
fn fill_column(words: &mut [u32], width: usize, j: usize, word: impl Fn(usize) -> u32) {
    for (row, to) in words[j..].iter_mut().step_by(width).enumerate() {
        *to = word(row);
    }
}

/// Outputs of a panel, with the zeros that round the last one up.
fn width(n: usize, panel: usize) -> usize {
    (n - panel * PANEL).next_multiple_of(NARROW).min(PANEL)
}
