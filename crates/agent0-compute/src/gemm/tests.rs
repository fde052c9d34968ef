//! Products against `f64` references, and the promise of equal bits.

use super::*;
use crate::cpu::Isa;
use crate::testing::{noise, on_all};

/// A row of activations along `k` as a product sees it.
fn rounded(row: &[f32], dtype: Dtype) -> Vec<f32> {
    rounded_to(127.0, row, dtype)
}

/// A row of weights.
fn rounded_weights(row: &[f32], dtype: Dtype) -> Vec<f32> {
    rounded_to(64.0, row, dtype)
}

fn rounded_to(largest_byte: f32, row: &[f32], dtype: Dtype) -> Vec<f32> {
    let rounded_group = |group: &[f32]| {
        let largest = group.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let inverse = if largest > 0.0 { largest_byte / largest } else { 0.0 };
        group.iter().map(|x| (x * inverse).round_ties_even() * (largest / largest_byte)).collect::<Vec<_>>()
    };
    match dtype {
        Dtype::F32 => row.to_vec(),
        Dtype::Bf16 => row.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect(),
        Dtype::Q8 => row.chunks(64).flat_map(rounded_group).collect(),
    }
}

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::Q8];

/// `(m, n, k)`: below, at and above the tile, the panel, the block of steps and the chunk of rows.
const SHAPES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (3, 16, 5),
    (1, 50, 33),
    (7, 47, 64),
    (8, 48, 384),
    (9, 49, 385),
    (13, 100, 401),
    (130, 97, 200),
    (17, 33, 1000),
    (40, 250, 777),
    (300, 16, 130),
    (150, 320, 16),
];

#[test]
fn products_match_an_f64_reference() {
    for isa in Isa::available() {
        let cx = Compute::new(2, isa);
        for dtype in DTYPES {
            for (m, n, k) in SHAPES {
                for write in [Write::Set, Write::Add] {
                    let (ldx, ldy) = (k + 3, n + 5);
                    let (x, w) = (noise(m * ldx, 1), noise(n * k, 2));
                    let before = noise(m * ldy, 3);
                    let mut y = before.clone();
                    let packed = PackedMatrix::pack(&cx, &w, n, k, k, 1, 0.5, dtype);
                    gemm(&cx, m, &x, ldx, &packed, &mut y, ldy, write);
                    let xs: Vec<Vec<f32>> = x.chunks(ldx).map(|row| rounded(&row[..k], dtype)).collect();
                    let half = |w: &[f32]| w.iter().map(|w| 0.5 * w).collect::<Vec<_>>();
                    let ws: Vec<Vec<f32>> = w.chunks(k).map(|row| rounded_weights(&half(row), dtype)).collect();
                    for (at, (&y, &before)) in y.iter().zip(&before).enumerate() {
                        let (i, j) = (at / ldy, at % ldy);
                        if j >= n {
                            assert_eq!(y, before, "padding of a row was written");
                            continue;
                        }
                        let product = |l: usize| f64::from(xs[i][l]) * f64::from(ws[j][l]);
                        let size: f64 = (0..k).map(|l| product(l).abs()).sum();
                        let sum: f64 = (0..k).map(product).sum::<f64>() + if write == Write::Add { f64::from(before) } else { 0.0 };
                        let error = (f64::from(y) - sum).abs();
                        assert!(error <= 1e-6 * size + 1e-6, "{isa} {dtype:?} {write:?} [{m},{n},{k}] at ({i},{j}): {y} is not {sum}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_gives_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
    let (rows, lines) = (300, 3);
    for (n, k) in [(100, 1003), (16, 896), (530, 16), (96, 2000)] {
        let (ldx, x, w) = (k, noise(rows * k, 4), noise(n * k, 5));
        for isa in Isa::available() {
            for dtype in DTYPES {
                for write in [Write::Set, Write::Add] {
                    let mut expected: Option<Vec<u32>> = None;
                    for threads in [1, 2, 3] {
                        let cx = Compute::new(threads, isa);
                        let packed = PackedMatrix::pack(&cx, &w, n, k, k, 1, 1.0, dtype);
                        for m in [1, 7, 64, 300] {
                            // Rows 0..3 of the big batch, as the last rows of each smaller one.
                            let take = m.min(lines);
                            let mut batch = x[(rows - (m - take)) * k..].to_vec();
                            batch.extend_from_slice(&x[..take * k]);
                            let mut y = vec![0.25; m * n];
                            gemm(&cx, m, &batch, ldx, &packed, &mut y, n, write);
                            let bits: Vec<u32> = y[(m - take) * n..].iter().map(|y| y.to_bits()).collect();
                            let expected = expected.get_or_insert_with(|| {
                                (0..lines)
                                    .flat_map(|i| {
                                        let mut y = vec![0.25; n];
                                        gemm(&cx, 1, &x[i * k..], ldx, &packed, &mut y, n, write);
                                        y.into_iter().map(f32::to_bits)
                                    })
                                    .collect()
                            });
                            assert!(bits == expected[..take * n], "{isa} {dtype:?} {write:?} [{m},{n},{k}] on {threads} threads");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn instruction_sets_that_fuse_give_the_same_bits() {
    for dtype in DTYPES {
        for (m, n, k) in SHAPES {
            let (x, w) = (noise(m * k, 1), noise(n * k, 2));
            on_all(|cx| {
                let mut y = vec![0.25; m * n];
                gemm(cx, m, &x, k, &PackedMatrix::pack(cx, &w, n, k, k, 1, 1.0, dtype), &mut y, n, Write::Add);
                y
            });
        }
    }
}

#[test]
fn long_inputs_go_through_in_passes() {
    let cx = Compute::new(2, Isa::detect());
    // Two passes: more words than are packed at once.
    let (m, n, k) = (700, 17, 70_000);
    let (x, w) = (noise(m * k, 6), noise(n * k, 7));
    let packed = PackedMatrix::pack(&cx, &w, n, k, k, 1, 1.0, Dtype::Bf16);
    let (mut all, mut one) = (vec![0.0; m * n], vec![0.0; n]);
    gemm(&cx, m, &x, k, &packed, &mut all, n, Write::Set);
    for i in [0, 127, 383, 384, 699] {
        gemm(&cx, 1, &x[i * k..], k, &packed, &mut one, n, Write::Set);
        assert_eq!(all[i * n..(i + 1) * n], one, "row {i}");
    }
}

#[test]
fn sums_of_the_largest_bytes_are_exact() {
    let k = 128;
    for isa in Isa::available() {
        let cx = Compute::new(1, isa);
        for (x, w) in [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0)] {
            let packed = PackedMatrix::pack(&cx, &vec![w * 64.0; 50 * k], 50, k, k, 1, 1.0, Dtype::Q8);
            let mut y = vec![0.0; 9 * 50];
            gemm(&cx, 9, &vec![x * 127.0; 9 * k], k, &packed, &mut y, 50, Write::Set);
            assert!(y.iter().all(|&y| y == x * w * 64.0 * 127.0 * k as f32), "{isa} {x} {w}: {}", y[0]);
        }
    }
}

#[test]
fn empty_products_are_defined() {
    let cx = Compute::new(1, Isa::detect());
    let none = PackedMatrix::pack(&cx, &[], 3, 0, 0, 1, 1.0, Dtype::Bf16);
    let mut y = [5.0; 6];
    gemm(&cx, 2, &[], 0, &none, &mut y, 3, Write::Add);
    assert_eq!(y, [5.0; 6]);
    gemm(&cx, 2, &[], 0, &none, &mut y, 3, Write::Set);
    assert_eq!(y, [0.0; 6]);
    gemm(&cx, 0, &[], 0, &none, &mut [], 3, Write::Set);
}

#[test]
fn values_that_are_not_numbers_are_not_hidden() {
    for isa in Isa::available() {
        let cx = Compute::new(1, isa);
        for dtype in DTYPES {
            let packed = PackedMatrix::pack(&cx, &[1.0; 50 * 40], 50, 40, 40, 1, 1.0, dtype);
            let mut x = vec![1.0; 20 * 40];
            x[7] = f32::from_bits(0x7fff_ffff);
            let mut y = vec![0.0; 20 * 50];
            gemm(&cx, 20, &x, 40, &packed, &mut y, 50, Write::Set);
            assert!(y[..50].iter().all(|y| y.is_nan()) && y[50..].iter().all(|&y| (y - 40.0).abs() < 1e-4), "{isa} {dtype:?}");
        }
    }
}

#[test]
fn packing_keeps_the_values() {
    let cx = Compute::new(2, Isa::detect());
    let (n, k) = (101, 77);
    let w = noise(n * k, 8);
    for dtype in DTYPES {
        let packed = PackedMatrix::pack(&cx, &w, n, k, k, 1, 2.0, dtype);
        let mut columns = vec![0.0; n * k];
        for i in 0..n {
            for j in 0..k {
                columns[j * n + i] = w[i * k + j];
            }
        }
        let mut repacked = PackedMatrix::pack(&cx, &vec![9.0; n * k], n, k, k, 1, 2.0, dtype);
        repacked.repack(&cx, &columns, 1, n, 2.0);
        let transposed = packed.transposed(&cx);
        assert_eq!((transposed.n(), transposed.k(), transposed.dtype()), (k, n, dtype));
        assert!(packed.bytes() >= n * k * 4 * dtype.weight_words() / dtype.per_step());
        let (mut row, mut column, mut other) = (vec![0.0; k], vec![0.0; n], vec![0.0; k]);
        let mut rows = Vec::new();
        for i in 0..n {
            packed.read_row(i, &mut row);
            let expected = rounded_weights(&w[i * k..(i + 1) * k].iter().map(|w| 2.0 * w).collect::<Vec<_>>(), dtype);
            assert_eq!(row, expected);
            repacked.read_row(i, &mut other);
            assert_eq!(row, other);
            rows.push(row.clone());
        }
        for j in [0, k / 2, k - 1] {
            let stored: Vec<f32> = rows.iter().map(|row| row[j]).collect();
            transposed.read_row(j, &mut column);
            assert_eq!(column, rounded_weights(&stored, dtype));
        }
    }
}

#[test]
fn a_matrix_packed_by_rows_is_the_one_packed_whole() {
    let cx = Compute::new(2, Isa::detect());
    for dtype in DTYPES {
        for (n, k) in [(1, 1), (48, 64), (250, 77)] {
            let w = noise(n * k, 2);
            let whole = PackedMatrix::pack(&cx, &w, n, k, k, 1, 1.0, dtype);
            let by_rows = PackedMatrix::from_rows(&cx, n, k, dtype, |rows, out| {
                out.copy_from_slice(&w[rows.start * k..rows.end * k]);
                Ok::<(), String>(())
            });
            let by_rows = by_rows.unwrap();
            assert!((0..whole.panels()).all(|p| whole.panel(p) == by_rows.panel(p)), "{dtype:?} [{n}, {k}]");
            let failing = PackedMatrix::from_rows(&cx, n, k, dtype, |rows, _| if rows.end == n { Err("torn") } else { Ok(()) });
            assert_eq!(failing.err(), Some("torn"));
        }
    }
}
