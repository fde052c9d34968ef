//! Log-softmax of logit rows: log-probability and entropy of each target, the gradient, and sums for the sampler. Logits may be
//! divided by a temperature first; what is given is its inverse, and 1 changes no bit.

use crate::Compute;
use crate::dot;
use crate::exp::exp;
use crate::lanes::{LANES, Lanes, dispatch};
use crate::share::for_rows;

/// Lowest distance from the maximum that counts: `exp` of it is 0, and unlike -inf it can be multiplied by that 0.
const FARTHEST: f32 = -104.0;

/// What the softmax of one logit row says about its target.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TokenTerm {
    /// Log-probability of the target.
    pub logprob: f32,
    /// Entropy of the distribution, in nats.
    pub entropy: f32,
    /// Largest logit.
    pub max: f32,
    /// `ln sum exp((logit - max) * inv_temperature)`: the log-sum-exp is `max * inv_temperature + log_sum`.
    pub log_sum: f32,
}

#[inline(always)]
fn row_term<L: Lanes>(row: &[f32], target: usize, inv_temperature: f32) -> TokenTerm {
    let max = dot::max::<L>(row);
    let (mut sum, mut weighted) = (L::splat(0.0), L::splat(0.0));
    for x in row.chunks(LANES) {
        let below = L::splat(FARTHEST).max(L::read(x, f32::NEG_INFINITY).sub(L::splat(max)).mul(L::splat(inv_temperature)));
        let e = exp(below);
        sum = sum.add(e);
        weighted = e.mul_add(below, weighted);
    }
    let sum = sum.sum();
    let log_sum = sum.ln();
    let logprob = (row[target] - max) * inv_temperature - log_sum;
    TokenTerm { logprob, entropy: log_sum - weighted.sum() / sum, max, log_sum }
}

#[inline(always)]
fn row_backward<L: Lanes>(row: &mut [f32], target: usize, term: &TokenTerm, coef: f32, inv_temperature: f32) {
    let coef = coef * inv_temperature;
    let (max, log_sum, inverse, scale) = (L::splat(term.max), L::splat(term.log_sum), L::splat(inv_temperature), L::splat(coef));
    for x in row.chunks_mut(LANES) {
        exp(L::read(x, 0.0).sub(max).mul(inverse).sub(log_sum)).mul(scale).write(x);
    }
    row[target] -= coef;
}

#[inline(always)]
fn scaled_exp_sum<L: Lanes>(row: &[f32], max: f32, scale: f32) -> f32 {
    let mut sum = L::splat(0.0);
    for x in row.chunks(LANES) {
        sum = sum.add(exp(L::read(x, f32::NEG_INFINITY).sub(L::splat(max)).mul(L::splat(scale))));
    }
    sum.sum()
}

/// The terms of `targets` `[m]` under the softmax of the first `vocab` columns, times `inv_temperature`, of each of `m` rows of
/// `logits` (rows `ld` apart), into `out` `[m]`. A logit of -inf has probability 0.
///
/// # Panics
/// When a target is not below `vocab`.
#[allow(clippy::too_many_arguments)]
pub fn log_softmax_stats(
    cx: &Compute,
    m: usize,
    logits: &[f32],
    ld: usize,
    vocab: usize,
    targets: &[u32],
    inv_temperature: f32,
    out: &mut [TokenTerm],
) {
    for_rows(cx, m, out, 1, 4 * vocab, |i, out| {
        let (row, target) = (&logits[i * ld..][..vocab], targets[i] as usize);
        out[0] = dispatch!(cx.isa(), row_term(row: &[f32], target: usize, inv_temperature: f32) -> TokenTerm);
    });
}

/// In place, row `i` of `logits` (rows `ld` apart) becomes `coef[i] * inv_temperature * (softmax - onehot(target))`, the gradient of
/// `-coef[i] * logprob` with respect to the logits; columns `vocab..ld` become 0. `stats` are those of [`log_softmax_stats`] at the
/// same temperature.
///
/// # Panics
/// When a target is not below `vocab`.
#[allow(clippy::too_many_arguments)]
pub fn softmax_backward(
    cx: &Compute,
    m: usize,
    logits: &mut [f32],
    ld: usize,
    vocab: usize,
    targets: &[u32],
    stats: &[TokenTerm],
    coef: &[f32],
    inv_temperature: f32,
) {
    for_rows(cx, m, logits, ld, 4 * vocab, |i, row| {
        let (row, padding) = row.split_at_mut(vocab);
        padding.fill(0.0);
        let (target, term, coef) = (targets[i] as usize, &stats[i], coef[i]);
        if coef == 0.0 {
            row.fill(0.0);
        } else {
            dispatch!(cx.isa(), row_backward(row: &mut [f32], target: usize, term: &TokenTerm, coef: f32, inv_temperature: f32));
        }
    });
}

/// The largest number of a row, -inf for an empty one. Runs on the calling thread.
pub fn max_value(cx: &Compute, row: &[f32]) -> f32 {
    use dot::max;
    dispatch!(cx.isa(), max(row: &[f32]) -> f32)
}

/// `sum exp((x - max) * inv_temperature)` over a row, in one fixed order. Runs on the calling thread.
pub fn exp_sum_scaled(cx: &Compute, row: &[f32], max: f32, inv_temperature: f32) -> f32 {
    dispatch!(cx.isa(), scaled_exp_sum(row: &[f32], max: f32, inv_temperature: f32) -> f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise, on_all};

    fn probabilities(row: &[f32], inv_temperature: f32) -> (Vec<f64>, f64) {
        let scaled: Vec<f64> = row.iter().map(|&x| f64::from(x) * f64::from(inv_temperature)).collect();
        let max = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let e: Vec<f64> = scaled.iter().map(|x| (x - max).exp()).collect();
        let sum: f64 = e.iter().sum();
        (e.iter().map(|e| e / sum).collect(), max + sum.ln())
    }

    #[test]
    fn terms_and_gradient() {
        for (m, vocab, padding, inv) in
            [(1, 49_152, 0, 1.0), (37, 1003, 5, 1.0), (37, 1003, 5, 1.0 / 0.6), (3, 16, 48, 0.7), (2, 151_936, 0, 1.25)]
        {
            let ld = vocab + padding;
            let mut logits: Vec<f32> = noise(m * ld, 1).iter().map(|x| x * 12.0).collect();
            for (i, row) in logits.chunks_mut(ld).enumerate() {
                row[vocab..].fill(1e9); // padding must not count
                row[(i * 5 + 1) % vocab] = 15.0;
                row[(i * 5 + 2) % vocab] = f32::NEG_INFINITY;
            }
            let targets: Vec<u32> = (0..m).map(|i| ((i * 5 + i % 2) % vocab) as u32).collect();
            let coef: Vec<f32> = (0..m).map(|i| if i % 4 == 3 { 0.0 } else { i as f32 * 0.3 - 0.7 }).collect();
            let (mut terms, mut gradient) = (Vec::new(), Vec::new());
            for (i, row) in logits.chunks(ld).enumerate() {
                let (p, lse) = probabilities(&row[..vocab], inv);
                let target = targets[i] as usize;
                let entropy: f64 = p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
                terms.extend([f64::from(row[target]) * f64::from(inv) - lse, entropy, lse]);
                gradient.extend(
                    p.iter().enumerate().map(|(j, p)| f64::from(coef[i]) * f64::from(inv) * (p - f64::from(u8::from(j == target)))),
                );
                gradient.extend(vec![0.0; padding]);
            }
            for (_, got) in on_all(|cx| {
                let mut out = vec![TokenTerm::default(); m];
                log_softmax_stats(cx, m, &logits, ld, vocab, &targets, inv, &mut out);
                out.iter().flat_map(|t| [t.logprob, t.entropy, t.max * inv + t.log_sum]).collect()
            }) {
                assert_close(&got, &terms, 2e-6);
            }
            for (_, got) in on_all(|cx| {
                let mut stats = vec![TokenTerm::default(); m];
                log_softmax_stats(cx, m, &logits, ld, vocab, &targets, inv, &mut stats);
                let mut d = logits.clone();
                softmax_backward(cx, m, &mut d, ld, vocab, &targets, &stats, &coef, inv);
                d
            }) {
                assert_close(&got, &gradient, 1e-6);
            }
        }
    }

    #[test]
    fn sampler_sums() {
        for n in [1, 16, 777, 49_152] {
            let row: Vec<f32> = noise(n, 4).iter().map(|x| x * 10.0).collect();
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for inv in [1.0, 0.5, 1.7] {
                let expected: f64 = row.iter().map(|&x| (f64::from(x - max) * f64::from(inv)).exp()).sum();
                for (_, got) in on_all(|cx| vec![max_value(cx, &row), exp_sum_scaled(cx, &row, max, inv)]) {
                    assert_eq!(got[0], max);
                    // Rounding the scaled distance, up to 34, moves its exponential by up to 2e-6.
                    assert_close(&got[1..], &[expected], 4e-6);
                }
            }
        }
    }
}
