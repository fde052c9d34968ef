//! Attention and its gradient against plain double-precision code, and the promises about bits.

use super::*;
use crate::Isa;
use crate::testing::{assert_close, noise, on_all, wide};

/// A few sequences: shape, heads, and lengths one after the other.
struct Case {
    shape: KvShape,
    heads: usize,
    starts: Vec<usize>,
    /// `[m, ld]`, columns `[q | k | v]` and a few that must not be touched.
    qkv: Vec<f32>,
    ld: usize,
}

const EXTRA: usize = 5;

impl Case {
    fn new(heads: usize, kv_heads: usize, head_dim: usize, lengths: &[usize]) -> Self {
        let shape = KvShape { kv_heads, head_dim };
        let starts: Vec<usize> = std::iter::once(0)
            .chain(lengths.iter().scan(0, |end, n| {
                Some({
                    *end += n;
                    *end
                })
            }))
            .collect();
        let ld = (heads + 2 * kv_heads) * head_dim + EXTRA;
        let qkv = noise(starts[lengths.len()] * ld, (heads * 1000 + head_dim + lengths.len()) as u64).iter().map(|x| x * 2.0).collect();
        Self { shape, heads, starts, qkv, ld }
    }

    fn all() -> Vec<Self> {
        vec![
            Self::new(3, 3, 16, &[1]),
            Self::new(6, 2, 64, &[37, 1, 130]),
            Self::new(7, 1, 128, &[17, 16, 70]),
            Self::new(14, 2, 16, &[300, 64, 5]),
            Self::new(2, 1, 80, &[65, 33]),
        ]
    }

    fn m(&self) -> usize {
        *self.starts.last().unwrap()
    }

    fn width(&self) -> usize {
        self.heads * self.shape.head_dim
    }

    /// Every row of every sequence.
    fn rows(&self) -> Vec<AttendRow> {
        let rows = |(s, w): (usize, &[usize])| (0..w[1] - w[0]).map(move |p| AttendRow { sequence: s as u32, position: p as u32 });
        self.starts.windows(2).enumerate().flat_map(rows).collect()
    }

    /// Index of a row in the buffers.
    fn place(&self, row: AttendRow) -> usize {
        self.starts[row.sequence as usize] + row.position as usize
    }

    /// The same with queries, keys and values that bf16 can hold.
    fn rounded(mut self) -> Self {
        round_to(&Compute::new(1, Isa::Portable), KvFormat::Bf16, self.starts[self.starts.len() - 1], &mut self.qkv, self.ld, self.ld);
        self
    }

    /// Keys and values in blocks that are handed out in a scattered order, and the tables that find them.
    fn paged(&self, cx: &Compute, format: KvFormat) -> (KvBlocks, Vec<Vec<u32>>) {
        let per_sequence: Vec<usize> = self.starts.windows(2).map(|w| (w[1] - w[0]).div_ceil(KV_BLOCK)).collect();
        let blocks: usize = per_sequence.iter().sum();
        let mut scattered = (0..blocks as u32).map(|i| blocks as u32 - 1 - i);
        let tables: Vec<Vec<u32>> = per_sequence.iter().map(|&n| scattered.by_ref().take(n).collect()).collect();
        let mut kv = KvBlocks::new(self.shape, format, blocks);
        let (k, slices) = (self.width(), tables.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let v = k + self.shape.kv_heads * self.shape.head_dim;
        // Prompts, then one token of each sequence at a time, as decoding does.
        let (prompts, mut later): (Vec<AttendRow>, Vec<AttendRow>) = self.rows().into_iter().partition(|row| row.position < 21);
        later.sort_by_key(|row| row.position);
        let steps = std::iter::once(prompts.as_slice()).chain(later.chunk_by(|a, b| a.position == b.position));
        for rows in steps {
            let qkv: Vec<f32> = rows.iter().flat_map(|&r| self.qkv[self.place(r) * self.ld..][..self.ld].to_vec()).collect();
            if !rows.is_empty() {
                kv.write(cx, rows, &slices, &qkv[k..], &qkv[v..], self.ld);
            }
        }
        (kv, tables)
    }

    /// Outputs `[rows, heads * head_dim]` and log-sum-exps `[rows, heads]` of some rows.
    fn attend(&self, cx: &Compute, format: KvFormat, rows: &[AttendRow]) -> (Vec<f32>, Vec<f32>) {
        let (kv, tables) = self.paged(cx, format);
        let tables: Vec<&[u32]> = tables.iter().map(Vec::as_slice).collect();
        let q: Vec<f32> = rows.iter().flat_map(|&r| self.qkv[self.place(r) * self.ld..][..self.ld].to_vec()).collect();
        let mut out = vec![f32::NAN; rows.len() * self.width()];
        let mut lse = vec![f32::NAN; rows.len() * self.heads];
        attention(cx, self.heads, &q, self.ld, rows, &kv, &tables, &mut out, self.width(), Some(&mut lse));
        (out, lse)
    }

    fn backward(&self, cx: &Compute, dout: &[f32]) -> Vec<f32> {
        let (out, lse) = self.attend(cx, KvFormat::F32, &self.rows());
        let (ldo, ldd) = (self.width(), self.ld);
        let mut dqkv = vec![0.25; self.m() * ldd];
        let segments: Vec<Segment> = self.starts.windows(2).map(|s| Segment { rows: s[0]..s[1], until: s[1] }).collect();
        attention_backward(cx, self.shape, self.heads, &segments, &self.qkv, self.ld, &out, ldo, dout, ldo, &lse, &mut dqkv, ldd);
        dqkv
    }
}

/// Plain attention in double precision.
struct Reference<'a> {
    case: &'a Case,
    qkv: Vec<f64>,
}

impl Reference<'_> {
    fn head(&self, row: usize, column: usize) -> &[f64] {
        let d = self.case.shape.head_dim;
        &self.qkv[row * self.case.ld + column * d..][..d]
    }

    /// Columns, in heads, of the key and the value that query head `h` uses.
    fn kv_columns(&self, h: usize) -> (usize, usize) {
        let (heads, kv_heads) = (self.case.heads, self.case.shape.kv_heads);
        let k = heads + h / (heads / kv_heads);
        (k, k + kv_heads)
    }

    /// Softmax weights and log-sum-exp of one (row, head) over the keys from `start` to itself.
    fn weights(&self, start: usize, row: usize, h: usize) -> (Vec<f64>, f64) {
        let scale = 1.0 / (self.case.shape.head_dim as f64).sqrt();
        let (q, k) = (self.head(row, h), self.kv_columns(h).0);
        let scores: Vec<f64> = (start..=row).map(|j| scale * dot64(q, self.head(j, k))).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = max + scores.iter().map(|s| (s - max).exp()).sum::<f64>().ln();
        (scores.iter().map(|s| (s - lse).exp()).collect(), lse)
    }

    /// `visit(sequence start, row, head)` for all.
    fn each(&self, mut visit: impl FnMut(usize, usize, usize)) {
        for w in self.case.starts.windows(2) {
            (w[0]..w[1]).for_each(|row| (0..self.case.heads).for_each(|h| visit(w[0], row, h)));
        }
    }

    fn forward(&self) -> (Vec<f64>, Vec<f64>) {
        let (mut out, mut lses) = (Vec::new(), Vec::new());
        self.each(|start, row, h| {
            let (weights, lse) = self.weights(start, row, h);
            let v = self.kv_columns(h).1;
            out.extend(
                (0..self.case.shape.head_dim).map(|d| weights.iter().enumerate().map(|(j, w)| w * self.head(start + j, v)[d]).sum::<f64>()),
            );
            lses.push(lse);
        });
        (out, lses)
    }

    fn backward(&self, dout: &[f64]) -> Vec<f64> {
        let (d, ld) = (self.case.shape.head_dim, self.case.ld);
        let scale = 1.0 / (d as f64).sqrt();
        let mut gradient = vec![0.0; self.qkv.len()];
        self.each(|start, row, h| {
            let (weights, _) = self.weights(start, row, h);
            let (k, v) = self.kv_columns(h);
            let dout = &dout[row * self.case.width() + h * d..][..d];
            let dweights: Vec<f64> = (0..weights.len()).map(|j| dot64(dout, self.head(start + j, v))).collect();
            let delta = dot64(&weights, &dweights);
            for (j, (w, dw)) in weights.iter().zip(dweights).enumerate() {
                let dscore = w * (dw - delta) * scale;
                for i in 0..d {
                    gradient[row * ld + h * d + i] += dscore * self.head(start + j, k)[i];
                    gradient[(start + j) * ld + k * d + i] += dscore * self.head(row, h)[i];
                    gradient[(start + j) * ld + v * d + i] += w * dout[i];
                }
            }
        });
        gradient
    }
}

fn dot64(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn forward_matches_double_precision() {
    for case in Case::all() {
        let (out, lse) = Reference { case: &case, qkv: wide(&case.qkv) }.forward();
        for (_, got) in on_all(|cx| {
            let (mut out, lse) = case.attend(cx, KvFormat::F32, &case.rows());
            out.extend(lse);
            out
        }) {
            assert_close(&got[..out.len()], &out, 3e-6);
            assert_close(&got[out.len()..], &lse, 3e-6);
        }
    }
}

#[test]
fn forward_over_bf16_blocks_is_off_by_the_rounding_of_weights_only() {
    for case in Case::all() {
        let case = case.rounded();
        let (out, lse) = Reference { case: &case, qkv: wide(&case.qkv) }.forward();
        for (_, got) in on_all(|cx| {
            let (mut out, lse) = case.attend(cx, KvFormat::Bf16, &case.rows());
            out.extend(lse);
            out
        }) {
            // Weights sum to one, each off by up to 2^-9 of itself; values are below 2.
            assert_close(&got[..out.len()], &out, 2.0 / 512.0);
            assert_close(&got[out.len()..], &lse, 3e-6);
            let off: f64 = got.iter().zip(&out).map(|(&g, e)| (f64::from(g) - e).powi(2)).sum::<f64>() / out.len() as f64;
            assert!(off.sqrt() < 5e-4, "{}", off.sqrt());
        }
    }
}

#[test]
fn rows_that_bf16_cannot_hold_are_rounded_on_the_way() {
    let (case, rounded) = (Case::new(6, 2, 64, &[40]), Case::new(6, 2, 64, &[40]).rounded());
    for isa in Isa::available() {
        let cx = Compute::new(1, isa);
        let attend = |case: &Case| bits(&case.attend(&cx, KvFormat::Bf16, &case.rows()).0);
        assert_eq!(attend(&case), attend(&rounded), "{isa}");
    }
}

#[test]
#[should_panic(expected = "two sequences write to one block")]
fn sequences_cannot_share_a_block_that_they_write_to() {
    let case = Case::new(2, 2, 16, &[1, 1]);
    let mut kv = KvBlocks::new(case.shape, KvFormat::Bf16, 1);
    kv.write(&Compute::new(1, Isa::Portable), &case.rows(), &[&[0], &[0]], &case.qkv, &case.qkv, case.ld);
}

#[test]
fn a_row_has_the_same_bits_alone_in_a_batch_and_in_prefill() {
    let formats = [KvFormat::F32, KvFormat::Bf16];
    for (format, case) in formats.into_iter().flat_map(|format| Case::all().into_iter().map(move |case| (format, case))) {
        let all = case.rows();
        for isa in Isa::available() {
            let cx = Compute::new(2, isa);
            let (prefill, prefill_lse) = case.attend(&cx, format, &all);
            // A decode batch: rows of different sequences in turns, so that every tile is a single row.
            let mut batch = all.clone();
            batch.sort_by_key(|r| (r.position.wrapping_mul(0x9e37_79b9), r.sequence));
            let (batched, batched_lse) = case.attend(&cx, format, &batch);
            for (i, &row) in batch.iter().enumerate().step_by(3) {
                let at = case.place(row);
                let one = |x: &[f32], i: usize| bits(&x[i * case.width()..][..case.width()]);
                assert_eq!(one(&batched, i), one(&prefill, at), "{isa} {row:?}");
                assert_eq!(bits(&batched_lse[i * case.heads..][..case.heads]), bits(&prefill_lse[at * case.heads..][..case.heads]));
                if i % 15 == 0 {
                    // Threads that do not divide the work evenly split a group of heads.
                    let cx = Compute::new(3, isa);
                    assert_eq!(one(&case.attend(&cx, format, &[row]).0, 0), one(&prefill, at), "{isa} {row:?} alone");
                }
            }
        }
    }
}

#[test]
fn stale_places_of_a_block_do_not_count() {
    let case = Case::new(6, 2, 64, &[40]);
    let cx = Compute::new(1, Isa::detect());
    let rows = &case.rows()[..21];
    let mut shorter = Case::new(6, 2, 64, &[21]);
    shorter.qkv.copy_from_slice(&case.qkv[..21 * case.ld]);
    // The last block holds later tokens in one case and zeros in the other.
    for format in [KvFormat::F32, KvFormat::Bf16] {
        assert_eq!(bits(&case.attend(&cx, format, rows).0), bits(&shorter.attend(&cx, format, rows).0));
    }
}

#[test]
fn backward_matches_double_precision() {
    for case in Case::all() {
        let reference = Reference { case: &case, qkv: wide(&case.qkv) };
        let dout = noise(case.m() * case.width(), 77);
        let mut gradient = reference.backward(&wide(&dout));
        // The reference itself, against the slope of the forward pass along random directions.
        for seed in 0..2 {
            let direction = wide(&noise(case.qkv.len(), 100 + seed));
            let loss = |step: f64| {
                let qkv = reference.qkv.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
                dot64(&Reference { case: &case, qkv }.forward().0, &wide(&dout))
            };
            let (slope, expected) = ((loss(1e-5) - loss(-1e-5)) / 2e-5, dot64(&gradient, &direction));
            assert!((slope - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{slope} {expected}");
        }
        gradient.chunks_mut(case.ld).for_each(|row| row[case.ld - EXTRA..].fill(0.25));
        for (_, got) in on_all(|cx| case.backward(cx, &dout)) {
            assert_close(&got, &gradient, 1e-5);
        }
    }
}

#[test]
fn the_gradient_of_a_sequence_does_not_depend_on_the_others() {
    let case = Case::new(6, 2, 64, &[90, 1100, 37]);
    let dout = noise(case.m() * case.width(), 5);
    for isa in Isa::available() {
        let cx = Compute::new(2, isa);
        let together = case.backward(&cx, &dout);
        for s in [0, 2] {
            let (from, to) = (case.starts[s], case.starts[s + 1]);
            let mut alone = Case::new(6, 2, 64, &[to - from]);
            alone.qkv.copy_from_slice(&case.qkv[from * case.ld..to * case.ld]);
            let got = alone.backward(&cx, &dout[from * case.width()..to * case.width()]);
            assert_eq!(bits(&got), bits(&together[from * case.ld..to * case.ld]), "{isa} sequence {s}");
        }
    }
}

#[test]
fn instruction_sets_that_fuse_agree_bit_for_bit() {
    for case in Case::all() {
        let dout = noise(case.m() * case.width(), 9);
        for format in [KvFormat::F32, KvFormat::Bf16] {
            on_all(|cx| case.attend(cx, format, &case.rows()).0);
        }
        on_all(|cx| case.backward(cx, &dout));
    }
}

#[test]
fn rows_that_sequences_share_get_the_sum_of_their_gradients() {
    // Three sequences: all begin with the same 70 rows, the last two share 33 more; then each goes on alone.
    let (common, pair, alone) = (70, 33, [50, 90, 5]);
    let mut apart = Case::new(6, 2, 64, &[common + alone[0], common + pair + alone[1], common + pair + alone[2]]);
    let (ld, width, heads) = (apart.ld, apart.width(), apart.heads);
    let copy = |x: &mut [f32], from: usize, to: usize, rows: usize| x.copy_within(from * ld..(from + rows) * ld, to * ld);
    let starts = apart.starts.clone();
    copy(&mut apart.qkv, starts[0], starts[1], common);
    copy(&mut apart.qkv, starts[0], starts[2], common);
    copy(&mut apart.qkv, starts[1] + common, starts[2] + common, pair);
    // Where each row of the shared layout stands in the other one; the shared ones stand there several times.
    let rows = |at: usize, n: usize| at..at + n;
    let mut places: Vec<Vec<usize>> = rows(0, common).map(|i| starts[..3].iter().map(|s| s + i).collect()).collect();
    places.extend(rows(common, alone[0]).map(|i| vec![i]));
    places.extend(rows(common, pair).map(|i| vec![starts[1] + i, starts[2] + i]));
    places.extend(rows(common + pair, alone[1]).map(|i| vec![starts[1] + i]));
    places.extend(rows(common + pair, alone[2]).map(|i| vec![starts[2] + i]));
    let ends = [common, common + alone[0], common + alone[0] + pair, common + alone[0] + pair + alone[1], places.len()];
    let untils = [ends[4], ends[1], ends[4], ends[3], ends[4]];
    let segments: Vec<Segment> =
        (0..5).map(|i| Segment { rows: if i == 0 { 0 } else { ends[i - 1] }..ends[i], until: untils[i] }).collect();

    let dout = noise(apart.m() * width, 3);
    let first = |x: &[f32], n: usize| -> Vec<f32> { places.iter().flat_map(|p| x[p[0] * n..][..n].to_vec()).collect() };
    let summed = |x: &[f64], n: usize| -> Vec<f64> {
        places.iter().flat_map(|p| (0..n).map(move |j| p.iter().map(|p| x[p * n + j]).sum())).collect()
    };
    let shared_dout: Vec<f32> = summed(&wide(&dout), width).iter().map(|&x| x as f32).collect();
    let mut expected = summed(&Reference { case: &apart, qkv: wide(&apart.qkv) }.backward(&wide(&dout)), ld);
    expected.chunks_mut(ld).for_each(|row| row[ld - EXTRA..].fill(0.25));
    for (_, got) in on_all(|cx| {
        let (out, lse) = apart.attend(cx, KvFormat::F32, &apart.rows());
        let (qkv, out, lse) = (first(&apart.qkv, ld), first(&out, width), first(&lse, heads));
        let mut dqkv = vec![0.25; places.len() * ld];
        attention_backward(cx, apart.shape, heads, &segments, &qkv, ld, &out, width, &shared_dout, width, &lse, &mut dqkv, ld);
        dqkv
    }) {
        assert_close(&got, &expected, 1e-5);
    }
}
