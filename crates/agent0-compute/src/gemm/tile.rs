//! The innermost loop: a tile of a few rows times a few vectors of outputs, held in registers along `k`.
#![allow(unsafe_code)]

use super::bytes::GROUP_ROWS;
use super::{LINE_WORDS, Write};
use std::ops::Range;

/// The most rows that any tile has.
pub(crate) const MAX_ROWS: usize = 8;

/// Where tiles read and write, which lie below one another and share their weights. Strides are in 32-bit words.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    /// How many there are.
    pub(crate) count: usize,
    /// Steps along `k`: one word each, or a group in 8 bits.
    pub(crate) steps: usize,
    /// Activation word `(row, step)` is at `a + row * a_row + step * a_step`, the first one in 8 bits; those of the next
    /// tile are `a_tile` further.
    pub(crate) a: *const u32,
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    pub(crate) a_tile: usize,
    /// The weight words of a step start at `b + step * b_step`.
    pub(crate) b: *const u32,
    pub(crate) b_step: usize,
    /// Weights so many words ahead are asked for in advance, to be near when this tile needs them ...
    pub(crate) ahead: usize,
    /// ... and from here on so many cache lines with every row of words, by so many of the tiles: weights needed after these.
    pub(crate) next: *const u32,
    pub(crate) next_lines: usize,
    pub(crate) next_tiles: usize,
    /// Sums to go on from; null to start at zero.
    pub(crate) start: *const f32,
    pub(crate) start_row: usize,
    /// Where the sums go.
    pub(crate) out: *mut f32,
    pub(crate) out_row: usize,
    pub(crate) write: Write,
}

impl Tiles {
    /// The tile number `i` alone; each has `rows` rows.
    pub(crate) fn only(&self, i: usize, rows: usize) -> Self {
        Tiles { count: 1, next_tiles: 0, ..self.tile(i, rows, 0) }
    }

    /// The tile number `i`, of `rows` rows and `words` rows of words.
    #[inline(always)]
    fn tile(&self, i: usize, rows: usize, words: usize) -> Self {
        Tiles {
            a: self.a.wrapping_add(i * self.a_tile),
            next: self.next.wrapping_add(i * words * self.next_lines * LINE_WORDS),
            next_lines: if i < self.next_tiles { self.next_lines } else { 0 },
            start: if self.start.is_null() { self.start } else { self.start.wrapping_add(i * rows * self.start_row) },
            out: self.out.wrapping_add(i * rows * self.out_row),
            ..*self
        }
    }
}

/// How words are multiplied on one instruction set.
///
/// # Safety
/// Every method may use the instruction set, which the processor must have, and reads or writes `LANES` words (or one,
/// for `a`) at its pointer, of any alignment.
pub(crate) trait Arithmetic {
    /// A vector of sums.
    type Sum: Copy;
    /// An activation word, in all lanes.
    type A: Copy;
    /// A vector of weight words.
    type B: Copy;
    const LANES: usize;
    /// Words of a row's activations in a step.
    const STEP_WORDS: usize = 1;

    unsafe fn zero() -> Self::Sum;
    unsafe fn load(from: *const f32) -> Self::Sum;
    unsafe fn store(sum: Self::Sum, to: *mut f32);
    unsafe fn add(x: Self::Sum, y: Self::Sum) -> Self::Sum;
    unsafe fn broadcast(a: *const u32) -> Self::A;
    unsafe fn weights(b: *const u32) -> Self::B;
    /// `sum + a * b`, one product after the other.
    unsafe fn accumulate(sum: Self::Sum, a: Self::A, b: Self::B) -> Self::Sum;
    /// Asks for the cache line at `at`, which need not exist.
    #[inline(always)]
    unsafe fn prefetch(_at: *const u32) {}
    /// The same, into the second-level cache.
    #[inline(always)]
    unsafe fn prefetch_far(_at: *const u32) {}
}

/// Computes tiles of `ROWS` rows and `VECTORS` vectors.
///
/// # Safety
/// The processor has `T`'s instruction set and all that `tiles` describes can be accessed.
#[inline(always)]
pub(crate) unsafe fn tiles<T: Arithmetic, const ROWS: usize, const VECTORS: usize>(tiles: &Tiles) {
    for i in 0..tiles.count {
        // SAFETY: handed on to the caller.
        unsafe { tile::<T, ROWS, VECTORS>(&tiles.tile(i, ROWS, tiles.steps)) }
    }
}

/// Computes a tile of `ROWS` rows and `VECTORS` vectors.
///
/// # Safety
/// The processor has `T`'s instruction set and all that `t` describes can be accessed.
#[inline(always)]
unsafe fn tile<T: Arithmetic, const ROWS: usize, const VECTORS: usize>(t: &Tiles) {
    // SAFETY: the caller vouches for the instruction set and for the extents in `t`.
    unsafe {
        let mut sums = [[T::zero(); VECTORS]; ROWS];
        if !t.start.is_null() {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = T::load(t.start.add(row * t.start_row + v * T::LANES));
                }
            }
        }
        for row in 0..ROWS {
            for line in 0..(VECTORS * T::LANES).div_ceil(LINE_WORDS) {
                T::prefetch(t.out.wrapping_add(row * t.out_row + LINE_WORDS * line).cast());
            }
        }
        let (mut a, mut b, mut next) = (t.a, t.b, t.next);
        for _ in 0..t.steps {
            let mut weights = [T::weights(b); VECTORS];
            for (v, weights) in weights.iter_mut().enumerate() {
                *weights = T::weights(b.add(v * T::LANES));
            }
            for line in 0..(VECTORS * T::LANES).div_ceil(LINE_WORDS) {
                T::prefetch(b.wrapping_add(t.ahead + LINE_WORDS * line));
            }
            next = ask_for::<T>(next, t.next_lines);
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = T::broadcast(a.add(row * t.a_row));
                for (sum, &weights) in sums.iter_mut().zip(&weights) {
                    *sum = T::accumulate(*sum, x, weights);
                }
            }
            a = a.wrapping_add(t.a_step);
            b = b.wrapping_add(t.b_step);
        }
        store::<T, ROWS, VECTORS>(t, &sums);
    }
}

/// How groups of bytes are multiplied on one instruction set.
///
/// # Safety
/// As for [`Arithmetic`].
pub(crate) trait GroupArithmetic {
    /// The floating-point side: sums, scales.
    type Float: Arithmetic<A = Self::Scale, B = <Self::Float as Arithmetic>::Sum>;
    /// A row's scale, in all lanes.
    type Scale: Copy;
    /// A vector of integer sums.
    type Sum: Copy;
    /// Four numbers of activations, in all lanes.
    type A: Copy;
    /// A vector of words of four unsigned bytes of weights.
    type B: Copy;
    /// Words of a row's activations in a step: the group, its scale and its start.
    const STEP_WORDS: usize = GROUP_ROWS + 2;

    /// The same start in all lanes.
    unsafe fn start(from: *const u32) -> Self::Sum;
    /// The four numbers of the word at `a`.
    unsafe fn broadcast(a: *const u32) -> Self::A;
    unsafe fn weights(b: *const u32) -> Self::B;
    /// `sum + ` the four products of each lane.
    unsafe fn accumulate(sum: Self::Sum, a: Self::A, b: Self::B) -> Self::Sum;
    /// `total + sum * (row scale * weight scales)`.
    unsafe fn scale(
        total: <Self::Float as Arithmetic>::Sum,
        sum: Self::Sum,
        row: Self::Scale,
        weights: <Self::Float as Arithmetic>::Sum,
    ) -> <Self::Float as Arithmetic>::Sum;
}

/// Computes tiles of `ROWS` rows and `VECTORS` vectors of bytes: integers within a group, floating point across groups.
///
/// # Safety
/// As for [`tiles`].
#[inline(always)]
pub(crate) unsafe fn tiles_of_groups<T: GroupArithmetic, const ROWS: usize, const VECTORS: usize>(tiles: &Tiles) {
    for i in 0..tiles.count {
        // SAFETY: handed on to the caller.
        unsafe { tile_of_groups::<T, ROWS, VECTORS>(&tiles.tile(i, ROWS, tiles.steps * (GROUP_ROWS + 1))) }
    }
}

/// Computes a tile of bytes.
///
/// # Safety
/// As for [`tiles`].
#[inline(always)]
unsafe fn tile_of_groups<T: GroupArithmetic, const ROWS: usize, const VECTORS: usize>(t: &Tiles) {
    // SAFETY: the caller vouches for the instruction set and for the extents in `t`.
    unsafe {
        let lanes = T::Float::LANES;
        let mut totals = [[T::Float::zero(); VECTORS]; ROWS];
        if !t.start.is_null() {
            for (row, totals) in totals.iter_mut().enumerate() {
                for (v, total) in totals.iter_mut().enumerate() {
                    *total = T::Float::load(t.start.add(row * t.start_row + v * lanes));
                }
            }
        }
        let b_word = t.b_step / (GROUP_ROWS + 1);
        let (mut a, mut b, mut next) = (t.a, t.b, t.next);
        for _ in 0..t.steps {
            let mut sums: [[T::Sum; VECTORS]; ROWS] = std::array::from_fn(|row| [T::start(a.add(row * t.a_row + GROUP_ROWS + 1)); VECTORS]);
            for word in 0..GROUP_ROWS {
                let b = b.add(word * b_word);
                let weights: [T::B; VECTORS] = std::array::from_fn(|v| T::weights(b.add(v * lanes)));
                for line in 0..(VECTORS * lanes).div_ceil(LINE_WORDS) {
                    T::Float::prefetch(b.wrapping_add(t.ahead + LINE_WORDS * line));
                }
                next = ask_for::<T::Float>(next, t.next_lines);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = T::broadcast(a.add(row * t.a_row + word));
                    for (sum, &weights) in sums.iter_mut().zip(&weights) {
                        *sum = T::accumulate(*sum, x, weights);
                    }
                }
            }
            next = ask_for::<T::Float>(next, t.next_lines);
            let scales = b.add(GROUP_ROWS * b_word);
            let weights: [_; VECTORS] = std::array::from_fn(|v| T::Float::weights(scales.add(v * lanes)));
            for row in 0..ROWS {
                let scale = T::Float::broadcast(a.add(row * t.a_row + GROUP_ROWS));
                for v in 0..VECTORS {
                    totals[row][v] = T::scale(totals[row][v], sums[row][v], scale, weights[v]);
                }
            }
            a = a.wrapping_add(t.a_step);
            b = b.wrapping_add(t.b_step);
        }
        store::<T::Float, ROWS, VECTORS>(t, &totals);
    }
}

/// Asks for so many cache lines from `at` on and returns where they end.
#[inline(always)]
unsafe fn ask_for<T: Arithmetic>(at: *const u32, lines: usize) -> *const u32 {
    for line in 0..lines {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { T::prefetch_far(at.wrapping_add(LINE_WORDS * line)) };
    }
    at.wrapping_add(LINE_WORDS * lines)
}

/// Writes a tile's sums where `t` says.
#[inline(always)]
unsafe fn store<T: Arithmetic, const ROWS: usize, const VECTORS: usize>(t: &Tiles, sums: &[[T::Sum; VECTORS]; ROWS]) {
    // SAFETY: the caller vouches for the instruction set and for the extents in `t`.
    unsafe {
        for (row, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let out = t.out.add(row * t.out_row + v * T::LANES);
                T::store(if t.write == Write::Add { T::add(T::load(out), sum) } else { sum }, out);
            }
        }
    }
}

/// [`tiles`] compiled for an instruction set.
pub(crate) type TilesFn = unsafe fn(&Tiles);

/// The tiles of one kind of arithmetic.
pub(crate) struct Kernel {
    pub(crate) lanes: usize,
    /// Words of a row's activations in a step.
    pub(crate) step_words: usize,
    /// `tiles[rows - 1][vectors - 1]`; as many of either as fit the registers together.
    pub(crate) tiles: &'static [&'static [TilesFn]],
}

impl Kernel {
    /// Rows of the highest tile.
    pub(crate) fn height(&self) -> usize {
        self.tiles.len()
    }

    /// The columns of a panel, in the widths of tiles of `rows` rows.
    pub(crate) fn strips(&self, rows: usize, width: usize) -> impl Iterator<Item = Range<usize>> {
        let most = self.tiles[rows - 1].len() * self.lanes;
        (0..width).step_by(most).map(move |start| start..width.min(start + most))
    }

    /// Computes tiles of `rows` rows and `columns` outputs, at most those of [`height`](Self::height) and
    /// [`strips`](Self::strips).
    ///
    /// # Safety
    /// All that `tiles` describes can be accessed, and the processor has the kernel's instruction set.
    pub(crate) unsafe fn run(&self, rows: usize, columns: usize, tiles: &Tiles) {
        debug_assert!(columns.is_multiple_of(self.lanes));
        // SAFETY: handed on to the caller.
        unsafe { self.tiles[rows - 1][columns / self.lanes - 1](tiles) }
    }
}
