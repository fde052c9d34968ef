//! The one inner product of attention: `c = a * b` for small operands in caches, forward and backward.
//!
//! Operands are read word by word along the steps: a word is one `f32`, or two bf16 neighbours. Each element of `c` is one
//! accumulator that takes its steps in order, whatever the tile: so its bits do not depend on how rows and columns were
//! grouped.
#![allow(unsafe_code)]

use std::marker::PhantomData;

use crate::Isa;
use crate::lanes::{LANES, Lanes, dispatch};

/// Parts of [`Right::Steps`] in one call.
pub(super) const MAX_PARTS: usize = 4;

/// Word `(r, i)` is `x[r * row + i * step]`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a, W = f32> {
    pub x: &'a [W],
    pub row: usize,
    pub step: usize,
}

/// The right operand, in parts that need not lie together; in a part, vectors of one column lie `step` words apart.
#[derive(Clone, Copy)]
pub(super) enum Right<'a, W = f32> {
    /// Part `j` holds all steps of columns `16 j..16 (j + 1)`.
    Columns { parts: &'a [&'a [W]], step: usize },
    /// Each part (at most [`MAX_PARTS`]) holds the next `steps / parts.len()` steps of all `columns`.
    Steps { parts: &'a [&'a [W]], step: usize, columns: usize },
}

impl<'a, W> Right<'a, W> {
    fn parts(&self) -> &'a [&'a [W]] {
        match self {
            Right::Columns { parts, .. } | Right::Steps { parts, .. } => parts,
        }
    }
}

/// Where accumulators start.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Start {
    Zero,
    /// At what `c` holds.
    Previous,
}

/// What operands are made of.
pub(super) trait Operand: Copy {
    /// [`product`], which meanwhile asks for the memory of `ahead`: parts like those of `b` that will be read next.
    #[allow(clippy::too_many_arguments)]
    fn product(
        isa: Isa,
        rows: usize,
        steps: usize,
        a: Left<Self>,
        b: Right<Self>,
        c: &mut [f32],
        c_row: usize,
        start: Start,
        ahead: &[&[Self]],
    );
}

/// `c[r * c_row + j] = sum over i in 0..steps of a(r, i) * b(i, j)` for `rows` rows; columns are multiples of 16.
#[allow(clippy::too_many_arguments)]
pub(super) fn product<W: Operand>(isa: Isa, rows: usize, steps: usize, a: Left<W>, b: Right<W>, c: &mut [f32], c_row: usize, start: Start) {
    W::product(isa, rows, steps, a, b, c, c_row, start, &[]);
}

#[rustfmt::skip]
impl Operand for f32 {
    fn product(
        isa: Isa, rows: usize, steps: usize, a: Left, b: Right, c: &mut [f32], c_row: usize, start: Start, ahead: &[&[f32]],
    ) {
        #[inline(always)]
        #[allow(clippy::too_many_arguments)]
        fn numbers<L: Lanes>(
            rows: usize, steps: usize, a: Left, b: Right, c: &mut [f32], c_row: usize, start: Start, ahead: &[&[f32]],
        ) {
            tiles::<Numbers<L>>(rows, steps, a, b, c, c_row, start, ahead);
        }
        dispatch!(isa, numbers(
            rows: usize, steps: usize, a: Left, b: Right, c: &mut [f32], c_row: usize, start: Start, ahead: &[&[f32]],
        ));
    }
}

/// Two bf16, the first in the lower half.
#[rustfmt::skip]
impl Operand for u32 {
    fn product(
        isa: Isa, rows: usize, steps: usize, a: Left<u32>, b: Right<u32>, c: &mut [f32], c_row: usize, start: Start, ahead: &[&[u32]],
    ) {
        #[inline(always)]
        #[allow(clippy::too_many_arguments)]
        fn widened<L: Lanes>(
            rows: usize, steps: usize, a: Left<u32>, b: Right<u32>, c: &mut [f32], c_row: usize, start: Start, ahead: &[&[u32]],
        ) {
            tiles::<Widened<L>>(rows, steps, a, b, c, c_row, start, ahead);
        }
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512Bf16 {
            // SAFETY: an `Isa` in use is one the processor has.
            return unsafe { dot::product(rows, steps, a, b, c, c_row, start, ahead) };
        }
        dispatch!(isa, widened(
            rows: usize, steps: usize, a: Left<u32>, b: Right<u32>, c: &mut [f32], c_row: usize, start: Start, ahead: &[&[u32]],
        ));
    }
}

/// How words are multiplied. Like [`Lanes`], for use only where the instruction set is enabled and present.
trait Arithmetic: Copy {
    type Sum: Lanes;
    type Word: Copy;
    /// A left word in all lanes.
    type A: Copy;
    /// Words of 16 columns.
    type B: Copy;
    /// Rows of a tile that the registers hold ...
    const ROWS: usize;
    /// ... and vectors side by side in it.
    const COLUMNS: usize;

    fn left(word: Self::Word) -> Self::A;
    fn right(words: &[Self::Word]) -> Self::B;
    /// `sum + a * b`.
    fn step(sum: Self::Sum, a: Self::A, b: Self::B) -> Self::Sum;
}

/// Words of one `f32`.
#[derive(Clone, Copy)]
struct Numbers<L>(PhantomData<L>);

impl<L: Lanes> Arithmetic for Numbers<L> {
    type Sum = L;
    type Word = f32;
    type A = L;
    type B = L;
    const ROWS: usize = L::TILE_ROWS;
    const COLUMNS: usize = L::TILE_COLUMNS;

    #[inline(always)]
    fn left(word: f32) -> L {
        L::splat(word)
    }
    #[inline(always)]
    fn right(words: &[f32]) -> L {
        L::load(words)
    }
    #[inline(always)]
    fn step(sum: L, a: L, b: L) -> L {
        a.mul_add(b, sum)
    }
}

/// Words of two bf16, widened to `f32` in registers, which is exact. The upper halves' product is added first, as the dot product
/// does it: so both give the same bits.
#[derive(Clone, Copy)]
struct Widened<L>(PhantomData<L>);

impl<L: Lanes> Arithmetic for Widened<L> {
    type Sum = L;
    type Word = u32;
    type A = (L, L);
    type B = (L, L);
    const ROWS: usize = if L::TILE_ROWS > 2 { 4 } else { 1 };
    const COLUMNS: usize = L::TILE_COLUMNS;

    #[inline(always)]
    fn left(word: u32) -> (L, L) {
        L::splat_pair(word)
    }
    #[inline(always)]
    fn right(words: &[u32]) -> (L, L) {
        L::load_pairs(words)
    }
    #[inline(always)]
    fn step(sum: L, a: (L, L), b: (L, L)) -> L {
        a.0.mul_add(b.0, a.1.mul_add(b.1, sum))
    }
}

/// The dot product of AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
mod dot {
    use std::arch::x86_64::*;

    use super::{Arithmetic, LANES, Left, Right, Start, tiles};
    use crate::lanes::Avx512;

    /// # Safety
    /// The processor has AVX-512 BF16.
    #[allow(clippy::too_many_arguments)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma")]
    #[rustfmt::skip]
    pub(super) fn product(
        rows: usize, steps: usize, a: Left<u32>, b: Right<u32>, c: &mut [f32], c_row: usize, start: Start, ahead: &[&[u32]],
    ) {
        tiles::<Dot>(rows, steps, a, b, c, c_row, start, ahead);
    }

    #[derive(Clone, Copy)]
    struct Dot;

    impl Arithmetic for Dot {
        type Sum = Avx512;
        type Word = u32;
        type A = __m512bh;
        type B = __m512bh;
        const ROWS: usize = 6;
        const COLUMNS: usize = 4;

        #[inline(always)]
        fn left(word: u32) -> __m512bh {
            // SAFETY: the instruction set is present (see `Arithmetic`); both types are 512 plain bits.
            unsafe { std::mem::transmute(_mm512_set1_epi32(word as i32)) }
        }
        #[inline(always)]
        fn right(words: &[u32]) -> __m512bh {
            // SAFETY: as in `left`; the slice has 16 words.
            unsafe { std::mem::transmute(_mm512_loadu_si512(words[..LANES].as_ptr().cast())) }
        }
        #[inline(always)]
        fn step(sum: Avx512, a: __m512bh, b: __m512bh) -> Avx512 {
            // SAFETY: as in `left`.
            Avx512(unsafe { _mm512_dpbf16_ps(sum.0, a, b) })
        }
    }
}

/// One register tile's view of its operands.
#[derive(Clone, Copy)]
struct Tile<'a, W> {
    a: *const W,
    a_row: usize,
    a_step: usize,
    /// Start of each column in each part, and of what is asked for ahead of time meanwhile.
    b: &'a [[(*const W, *const W); MAX_COLUMNS]],
    b_step: usize,
    steps_per_part: usize,
    c: *mut f32,
    c_row: usize,
    start: Start,
}

/// The widest tile of any instruction set.
const MAX_COLUMNS: usize = 4;

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn tiles<T: Arithmetic>(
    rows: usize,
    steps: usize,
    a: Left<T::Word>,
    b: Right<T::Word>,
    c: &mut [f32],
    c_row: usize,
    start: Start,
    ahead: &[&[T::Word]],
) {
    let (columns, b_step, part_count, width) = match b {
        Right::Columns { parts, step } => (parts.len(), step, 1, LANES),
        Right::Steps { parts, step, columns } => (columns / LANES, step, parts.len(), columns),
    };
    if rows == 0 || columns == 0 || steps == 0 {
        return;
    }
    let steps_per_part = steps / part_count;
    // Every address below lies at or before one of these.
    assert!(part_count <= MAX_PARTS && steps_per_part * part_count == steps);
    assert!((rows - 1) * a.row + (steps - 1) * a.step < a.x.len());
    assert!((rows - 1) * c_row + columns * LANES <= c.len());
    assert!(b.parts().iter().all(|part| (steps_per_part - 1) * b_step + width <= part.len()));

    let row_tiles = rows.div_ceil(T::ROWS);
    for column in (0..columns).step_by(T::COLUMNS) {
        let wide = T::COLUMNS.min(columns - column);
        let mut starts = [[(std::ptr::null(), std::ptr::null()); MAX_COLUMNS]; MAX_PARTS];
        for (p, starts) in starts[..part_count].iter_mut().enumerate() {
            for (j, start) in starts[..wide].iter_mut().enumerate() {
                let (part, at) = match b {
                    Right::Columns { .. } => (column + j, 0),
                    Right::Steps { .. } => (p, (column + j) * LANES),
                };
                let now = b.parts()[part][at..].as_ptr();
                *start = (now, ahead.get(part).map_or(now, |next| next.as_ptr().wrapping_add(at)));
            }
        }
        for i in 0..row_tiles {
            // Tiles of nearly equal height: a last one of a single row would wait for each of its additions.
            let (first, end) = (rows * i / row_tiles, rows * (i + 1) / row_tiles);
            // SAFETY: in bounds by the assertions above.
            unsafe {
                let tile = Tile {
                    a: a.x.as_ptr().add(first * a.row),
                    a_row: a.row,
                    a_step: a.step,
                    b: &starts[..part_count],
                    b_step,
                    steps_per_part,
                    c: c.as_mut_ptr().add(first * c_row + column * LANES),
                    c_row,
                    start,
                };
                match wide {
                    1 => tile_of_columns::<T, 1>(end - first, tile),
                    2 if T::COLUMNS > 1 => tile_of_columns::<T, 2>(end - first, tile),
                    3 if T::COLUMNS > 1 => tile_of_columns::<T, 3>(end - first, tile),
                    _ if T::COLUMNS > 1 => tile_of_columns::<T, 4>(end - first, tile),
                    _ => unreachable!("tiles are at most COLUMNS wide"),
                }
            }
        }
    }
}

/// # Safety
/// All addresses the tile reaches with this many rows and columns must be valid.
#[inline(always)]
unsafe fn tile_of_columns<T: Arithmetic, const COLUMNS: usize>(rows: usize, tile: Tile<T::Word>) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => accumulate::<T, 1, COLUMNS>(tile),
            2 if T::ROWS > 1 => accumulate::<T, 2, COLUMNS>(tile),
            3 if T::ROWS > 2 => accumulate::<T, 3, COLUMNS>(tile),
            4 if T::ROWS > 2 => accumulate::<T, 4, COLUMNS>(tile),
            5 if T::ROWS > 4 => accumulate::<T, 5, COLUMNS>(tile),
            6 if T::ROWS > 4 => accumulate::<T, 6, COLUMNS>(tile),
            _ => unreachable!("tiles have at most ROWS rows"),
        }
    }
}

/// # Safety
/// As for [`tile_of_columns`].
#[inline(always)]
unsafe fn accumulate<T: Arithmetic, const ROWS: usize, const COLUMNS: usize>(t: Tile<T::Word>) {
    // SAFETY: the caller's promise covers every address of this block but those of prefetches, which may be any.
    unsafe {
        let mut sums = [[T::Sum::splat(0.0); COLUMNS]; ROWS];
        if t.start == Start::Previous {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = T::Sum::load(std::slice::from_raw_parts(t.c.add(r * t.c_row + j * LANES), LANES));
                }
            }
        }
        let mut a = t.a;
        for starts in t.b {
            let mut offset = 0;
            for _ in 0..t.steps_per_part {
                let b: [T::B; COLUMNS] = std::array::from_fn(|j| T::right(std::slice::from_raw_parts(starts[j].0.add(offset), LANES)));
                for start in &starts[..COLUMNS] {
                    T::Sum::prefetch(start.1.wrapping_add(offset));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = T::left(*a.add(r * t.a_row));
                    for (sum, &b) in sums.iter_mut().zip(&b) {
                        *sum = T::step(*sum, x, b);
                    }
                }
                a = a.wrapping_add(t.a_step);
                offset += t.b_step;
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                sum.store(std::slice::from_raw_parts_mut(t.c.add(r * t.c_row + j * LANES), LANES));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise};

    /// Both operand kinds and all tile shapes, of words that `word` makes of `noise` and `numbers` reads back.
    fn check<W: Operand>(word: impl Fn(f32) -> W, numbers: impl Fn(W) -> [f64; 2]) {
        for isa in Isa::available() {
            for (rows, columns) in (1..=13).flat_map(|r| [16, 32, 48, 64, 80, 128].map(|c| (r, c))) {
                let (parts, per_part) = (3, 5);
                let steps = parts * per_part;
                // Word (r, i) of a lies at r * 2 + i * 31; b is one row-major matrix first.
                let a: Vec<W> = noise(rows * 2 + steps * 31, 1).into_iter().map(&word).collect();
                let b: Vec<W> = noise(steps * (columns + 3), 2).into_iter().map(&word).collect();
                let before = noise(rows * (columns + 1), 3);
                let value = |r: usize, j: usize, from: f32| {
                    let product = |i: usize| {
                        let (a, b) = (numbers(a[r * 2 + i * 31]), numbers(b[i * (columns + 3) + j]));
                        a[0] * b[0] + a[1] * b[1]
                    };
                    f64::from(from) + (0..steps).map(product).sum::<f64>()
                };
                let slices: Vec<&[W]> = b.chunks(per_part * (columns + 3)).collect();
                let by_steps = Right::Steps { parts: &slices, step: columns + 3, columns };
                let slices: Vec<&[W]> = (0..columns / LANES).map(|j| &b[j * LANES..]).collect();
                let by_columns = Right::Columns { parts: &slices, step: columns + 3 };
                for right in [by_steps, by_columns] {
                    for start in [Start::Zero, Start::Previous] {
                        let mut c = before.clone();
                        product(isa, rows, steps, Left { x: &a, row: 2, step: 31 }, right, &mut c, columns + 1, start);
                        let expected: Vec<f64> = (0..c.len())
                            .map(|at| match (at / (columns + 1), at % (columns + 1)) {
                                (_, j) if j == columns => f64::from(before[at]),
                                (r, j) => value(r, j, if start == Start::Zero { 0.0 } else { before[at] }),
                            })
                            .collect();
                        assert_close(&c, &expected, 2e-6);
                    }
                }
            }
        }
    }

    #[test]
    fn every_tile_shape_of_numbers() {
        check(|x: f32| x, |word| [f64::from(word), 0.0]);
    }

    #[test]
    fn every_tile_shape_of_pairs() {
        let halves = |word: u32| [word << 16, word & 0xffff_0000].map(|bits| f64::from(f32::from_bits(bits)));
        // The bits of a number make two others: here of its leading and of its lowest digits, with signs that vary.
        check(|x: f32| x.to_bits() & 0xffff_0000 | (x * 37.7).fract().to_bits() >> 16, halves);
    }
}
