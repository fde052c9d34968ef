//! The one inner product of attention: `c = a * b` for small operands in caches, forward and backward.
//!
//! Each element of `c` is one accumulator that takes its steps in order, whatever the tile: so its bits do not depend on how
//! rows and columns were grouped.
#![allow(unsafe_code)]

use crate::Isa;
use crate::lanes::{LANES, Lanes, dispatch};

/// Parts of [`Right::Steps`] in one call.
pub(super) const MAX_PARTS: usize = 8;

/// Element `(r, i)` is `x[r * row + i * step]`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub x: &'a [f32],
    pub row: usize,
    pub step: usize,
}

/// The right operand, in parts that need not lie together; in a part, vectors of one column lie `step` numbers apart.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// Part `j` holds all steps of columns `16 j..16 (j + 1)`.
    Columns { parts: &'a [&'a [f32]], step: usize },
    /// Each part (at most [`MAX_PARTS`]) holds the next `steps / parts.len()` steps of all `columns`.
    Steps { parts: &'a [&'a [f32]], step: usize, columns: usize },
}

/// Where accumulators start.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Start {
    Zero,
    /// At what `c` holds.
    Previous,
}

/// `c[r * c_row + j] = sum over i in 0..steps of a(r, i) * b(i, j)` for `rows` rows; columns are multiples of 16.
#[allow(clippy::too_many_arguments)]
pub(super) fn product(isa: Isa, rows: usize, steps: usize, a: Left, b: Right, c: &mut [f32], c_row: usize, start: Start) {
    dispatch!(isa, tiles(rows: usize, steps: usize, a: Left, b: Right, c: &mut [f32], c_row: usize, start: Start));
}

/// One register tile's view of its operands.
#[derive(Clone, Copy)]
struct Tile<'a> {
    a: *const f32,
    a_row: usize,
    a_step: usize,
    /// Start of each column in each part.
    b: &'a [[*const f32; MAX_COLUMNS]],
    b_step: usize,
    steps_per_part: usize,
    c: *mut f32,
    c_row: usize,
    start: Start,
}

/// The widest tile of any instruction set.
const MAX_COLUMNS: usize = 4;

#[inline(always)]
fn tiles<L: Lanes>(rows: usize, steps: usize, a: Left, b: Right, c: &mut [f32], c_row: usize, start: Start) {
    let (columns, b_step, part_count) = match b {
        Right::Columns { parts, step } => (parts.len(), step, 1),
        Right::Steps { parts, step, columns } => (columns / LANES, step, parts.len()),
    };
    if rows == 0 || columns == 0 || steps == 0 {
        return;
    }
    let steps_per_part = steps / part_count;
    // Every address below lies at or before one of these.
    assert!(part_count <= MAX_PARTS && steps_per_part * part_count == steps);
    assert!((rows - 1) * a.row + (steps - 1) * a.step < a.x.len());
    assert!((rows - 1) * c_row + columns * LANES <= c.len());
    let (parts, width) = match b {
        Right::Columns { parts, .. } => (parts, LANES),
        Right::Steps { parts, columns, .. } => (parts, columns),
    };
    assert!(parts.iter().all(|part| (steps_per_part - 1) * b_step + width <= part.len()));

    let row_tiles = rows.div_ceil(L::TILE_ROWS);
    for column in (0..columns).step_by(L::TILE_COLUMNS) {
        let wide = L::TILE_COLUMNS.min(columns - column);
        let mut starts = [[std::ptr::null(); MAX_COLUMNS]; MAX_PARTS];
        for (p, starts) in starts[..part_count].iter_mut().enumerate() {
            for (j, start) in starts[..wide].iter_mut().enumerate() {
                *start = match b {
                    Right::Columns { parts, .. } => parts[column + j].as_ptr(),
                    Right::Steps { parts, .. } => parts[p][(column + j) * LANES..].as_ptr(),
                };
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
                    1 => tile_of_columns::<L, 1>(end - first, tile),
                    2 if L::TILE_COLUMNS > 1 => tile_of_columns::<L, 2>(end - first, tile),
                    3 if L::TILE_COLUMNS > 1 => tile_of_columns::<L, 3>(end - first, tile),
                    _ if L::TILE_COLUMNS > 1 => tile_of_columns::<L, 4>(end - first, tile),
                    _ => unreachable!("tiles are at most TILE_COLUMNS wide"),
                }
            }
        }
    }
}

/// # Safety
/// All addresses the tile reaches with this many rows and columns must be valid.
#[inline(always)]
unsafe fn tile_of_columns<L: Lanes, const COLUMNS: usize>(rows: usize, tile: Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => accumulate::<L, 1, COLUMNS>(tile),
            2 => accumulate::<L, 2, COLUMNS>(tile),
            3 if L::TILE_ROWS > 2 => accumulate::<L, 3, COLUMNS>(tile),
            4 if L::TILE_ROWS > 2 => accumulate::<L, 4, COLUMNS>(tile),
            5 if L::TILE_ROWS > 2 => accumulate::<L, 5, COLUMNS>(tile),
            _ if L::TILE_ROWS > 2 => accumulate::<L, 6, COLUMNS>(tile),
            _ => unreachable!("tiles have at most TILE_ROWS rows"),
        }
    }
}

/// # Safety
/// As for [`tile_of_columns`].
#[inline(always)]
unsafe fn accumulate<L: Lanes, const ROWS: usize, const COLUMNS: usize>(t: Tile) {
    // SAFETY: the caller's promise covers every address of this block.
    unsafe {
        let vector = |p: *const f32| L::load(std::slice::from_raw_parts(p, LANES));
        let mut sums = [[L::splat(0.0); COLUMNS]; ROWS];
        if t.start == Start::Previous {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = vector(t.c.add(r * t.c_row + j * LANES));
                }
            }
        }
        let mut a = t.a;
        for starts in t.b {
            let mut offset = 0;
            for _ in 0..t.steps_per_part {
                let b: [L; COLUMNS] = std::array::from_fn(|j| vector(starts[j].add(offset)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = L::splat(*a.add(r * t.a_row));
                    for (sum, &b) in sums.iter_mut().zip(&b) {
                        *sum = x.mul_add(b, *sum);
                    }
                }
                a = a.add(t.a_step);
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

    #[test]
    fn every_tile_shape_of_both_operand_kinds() {
        for isa in Isa::available() {
            for (rows, columns) in (1..=13).flat_map(|r| [16, 32, 48, 64, 80, 128].map(|c| (r, c))) {
                let (parts, per_part) = (3, 5);
                let steps = parts * per_part;
                // Element (r, i) of a lies at r * 2 + i * 31; b is one row-major matrix first.
                let a = noise(rows * 2 + steps * 31, 1);
                let b = noise(steps * (columns + 3), 2);
                let before = noise(rows * (columns + 1), 3);
                let value = |r: usize, j: usize, from: f32| {
                    let product = |i: usize| f64::from(a[r * 2 + i * 31]) * f64::from(b[i * (columns + 3) + j]);
                    f64::from(from) + (0..steps).map(product).sum::<f64>()
                };
                let slices: Vec<&[f32]> = b.chunks(per_part * (columns + 3)).collect();
                let by_steps = Right::Steps { parts: &slices, step: columns + 3, columns };
                let slices: Vec<&[f32]> = (0..columns / LANES).map(|j| &b[j * LANES..]).collect();
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
}
