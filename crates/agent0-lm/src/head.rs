//! The output head: logits, log-probabilities, and the policy-gradient loss fused with its backward pass.
//!
//! Logits exist for [`CHUNK`] rows at a time only. The loss coefficient of a token depends on that token's own
//! log-probability alone, so one pass over a chunk gives log-probabilities, loss and gradient. All of them are those of the softmax at
//! a temperature.

use agent0_compute::{AlignedBuffer, Compute, TokenTerm, Write, log_softmax_stats, softmax_backward};
use agent0_engine::PolicyLoss;

use crate::model::Model;

/// Rows whose logits are held at once.
pub(crate) const CHUNK: usize = 64;

/// Buffers of the head, kept between calls.
#[derive(Default)]
pub(crate) struct Head {
    logits: AlignedBuffer,
    stats: Vec<TokenTerm>,
    coefficients: Vec<f32>,
}

impl Head {
    /// Logits `[rows, vocab]` of at most [`CHUNK`] normalised rows.
    pub(crate) fn logits(&mut self, cx: &Compute, model: &Model, rows: usize, hidden: &[f32]) -> &mut [f32] {
        self.logits.resize(rows * model.config.vocab);
        model.head.forward(cx, rows, hidden, &mut self.logits, Write::Set);
        &mut self.logits
    }

    /// Calls `visit(row, term)` with the log-probability and entropy of each row's target, in order.
    /// `hidden [targets, hidden]` is normalised.
    pub(crate) fn score(
        &mut self,
        cx: &Compute,
        model: &Model,
        hidden: &[f32],
        targets: &[u32],
        temperature: f32,
        mut visit: impl FnMut(usize, &TokenTerm),
    ) {
        for (chunk, (hidden, targets)) in chunks(model, hidden, targets) {
            self.chunk_stats(cx, model, hidden, targets, 1.0 / temperature);
            for (i, term) in self.stats.iter().enumerate() {
                visit(chunk * CHUNK + i, term);
            }
        }
    }

    /// As [`Head::score`], where `visit` returns the loss gradient with respect to the target's log-probability;
    /// writes the gradient of `hidden` into `dhidden`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn backward(
        &mut self,
        cx: &Compute,
        model: &Model,
        hidden: &[f32],
        targets: &[u32],
        temperature: f32,
        dhidden: &mut [f32],
        mut visit: impl FnMut(usize, &TokenTerm) -> f32,
    ) {
        let (vocab, width) = (model.config.vocab, model.config.hidden);
        for (chunk, (hidden, targets)) in chunks(model, hidden, targets) {
            self.chunk_stats(cx, model, hidden, targets, 1.0 / temperature);
            let rows = targets.len();
            self.coefficients.clear();
            // softmax_backward differentiates -logprob, hence the sign.
            self.coefficients.extend(self.stats.iter().enumerate().map(|(i, term)| -visit(chunk * CHUNK + i, term)));
            let logits = &mut self.logits;
            softmax_backward(cx, rows, logits, vocab, vocab, targets, &self.stats, &self.coefficients, 1.0 / temperature);
            model.head.backward(cx, rows, logits, &mut dhidden[chunk * CHUNK * width..][..rows * width]);
        }
    }

    fn chunk_stats(&mut self, cx: &Compute, model: &Model, hidden: &[f32], targets: &[u32], inv_temperature: f32) {
        let rows = targets.len();
        self.logits(cx, model, rows, hidden);
        self.stats.resize(rows, TokenTerm::default());
        log_softmax_stats(cx, rows, &self.logits, model.config.vocab, model.config.vocab, targets, inv_temperature, &mut self.stats);
    }
}

fn chunks<'a>(model: &Model, hidden: &'a [f32], targets: &'a [u32]) -> impl Iterator<Item = (usize, (&'a [f32], &'a [u32]))> {
    hidden.chunks(CHUNK * model.config.hidden).zip(targets.chunks(CHUNK)).enumerate()
}

/// Loss of one token and its derivative with respect to the token's log-probability (see [`agent0_engine::Datum`];
/// algorithm.md section 4).
pub(crate) fn token_loss(loss: PolicyLoss, term: &LossTerm, logprob: f32) -> (f32, f32) {
    let ratio = (logprob - term.old_logprob).exp();
    let unclipped = ratio * term.advantage;
    let clipped = ratio.clamp(1.0 - term.clip_low, 1.0 + term.clip_high) * term.advantage;
    // Where the minimum takes the clipped branch the ratio is outside the bounds, and its derivative is zero.
    let (surrogate, d_surrogate) = if unclipped <= clipped { (unclipped, unclipped) } else { (clipped, 0.0) };
    let d = term.ref_logprob - logprob;
    let kl = d.exp() - d - 1.0;
    let value = -surrogate + loss.kl_coef * kl;
    let slope = -d_surrogate + loss.kl_coef * (1.0 - d.exp());
    (term.weight * value, term.weight * slope)
}

/// The coefficients of one token's loss.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LossTerm {
    pub(crate) weight: f32,
    pub(crate) old_logprob: f32,
    pub(crate) ref_logprob: f32,
    pub(crate) advantage: f32,
    pub(crate) clip_low: f32,
    pub(crate) clip_high: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slope_is_the_derivative_of_the_loss_on_every_branch() {
        let loss = PolicyLoss { kl_coef: 0.05, ..PolicyLoss::default() };
        for advantage in [-1.3f32, 0.7] {
            for shift in [-0.6f32, -0.1, 0.0, 0.15, 0.5] {
                let term = LossTerm { weight: 0.5, old_logprob: -1.0, ref_logprob: -1.4, advantage, clip_low: 0.2, clip_high: 0.28 };
                let at = -1.0 + shift;
                let (_, slope) = token_loss(loss, &term, at);
                let step = 1e-3;
                let numeric = (token_loss(loss, &term, at + step).0 - token_loss(loss, &term, at - step).0) / (2.0 * step);
                assert!((slope - numeric).abs() < 2e-3, "A {advantage} shift {shift}: {slope} vs {numeric}");
            }
        }
    }

    #[test]
    fn clipped_tokens_have_no_policy_gradient() {
        let loss = PolicyLoss::default();
        let term = LossTerm { weight: 1.0, old_logprob: -2.0, ref_logprob: 0.0, advantage: 1.0, clip_low: 0.2, clip_high: 0.28 };
        assert_eq!(token_loss(loss, &term, -1.0).1, 0.0);
        assert!(token_loss(loss, &term, -2.0).1 < 0.0);
        let term = LossTerm { advantage: -1.0, ..term };
        assert_eq!(token_loss(loss, &term, -3.0).1, 0.0);
        assert!(token_loss(loss, &term, -1.0).1 > 0.0, "a grown ratio with negative advantage is still pushed down");
    }
}
