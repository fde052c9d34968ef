//! What a training step did to the policy, for the record of every step (algorithm.md section 6).

use agent0_engine::{Datum, TokenStats};
use serde::{Deserialize, Serialize};

/// Means over the sampled tokens of a step, whatever the aggregation of its loss. All 0 for a step without tokens.
///
/// With `r = exp(logp - old)`: a token is *up-clipped* when A > 0 and r > 1 + clip_high, *down-clipped* when A < 0 and
/// r < 1 - clip_low; then the clipped term is the smaller one and its gradient is cut.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Sampled tokens, those that carry a loss.
    pub tokens: usize,
    /// Share of down-clipped tokens.
    pub clip_low_fraction: f64,
    /// Share of up-clipped tokens.
    pub clip_high_fraction: f64,
    /// Mean probability, under the policy being trained, of the up-clipped tokens; `None` when there are none.
    pub mean_prob_up_clipped: Option<f64>,
    /// Mean of the k3 estimate of the divergence from the reference policy, in nats.
    pub kl: f64,
    /// Mean of `old - logp`: how far the policy is from the one that sampled, in nats.
    pub drift: f64,
    /// Mean entropy of the predicted distributions, in nats.
    pub entropy: f64,
    /// Mean of r.
    pub ratio_mean: f64,
    /// Largest r.
    pub ratio_max: f64,
}

/// The metrics of a step from its data and what the forward pass saw, `tokens[i]` belonging to `data[i]`.
pub fn step_metrics(data: &[Datum], tokens: &[TokenStats]) -> StepMetrics {
    let mut sum = Sums::default();
    for (datum, stats) in data.iter().zip(tokens) {
        for t in (0..datum.ids.len()).filter(|&t| datum.weights[t] != 0.0) {
            sum.add(datum, t, f64::from(stats.logprobs[t]), f64::from(stats.entropies[t]));
        }
    }
    sum.means()
}

#[derive(Default)]
struct Sums {
    tokens: usize,
    clipped_low: usize,
    clipped_high: usize,
    prob_up_clipped: f64,
    kl: f64,
    drift: f64,
    entropy: f64,
    ratio: f64,
    ratio_max: f64,
}

impl Sums {
    fn add(&mut self, datum: &Datum, t: usize, logprob: f64, entropy: f64) {
        let log_ratio = logprob - f64::from(datum.old_logprobs[t]);
        let ratio = log_ratio.exp();
        let to_reference = f64::from(datum.ref_logprobs[t]) - logprob;
        let advantage = datum.advantages[t];
        self.tokens += 1;
        if advantage > 0.0 && ratio > 1.0 + f64::from(datum.clip_high) {
            self.clipped_high += 1;
            self.prob_up_clipped += logprob.exp();
        }
        if advantage < 0.0 && ratio < 1.0 - f64::from(datum.clip_low) {
            self.clipped_low += 1;
        }
        self.kl += to_reference.exp() - to_reference - 1.0;
        self.drift -= log_ratio;
        self.entropy += entropy;
        self.ratio += ratio;
        self.ratio_max = self.ratio_max.max(ratio);
    }

    fn means(self) -> StepMetrics {
        let n = self.tokens.max(1) as f64;
        StepMetrics {
            tokens: self.tokens,
            clip_low_fraction: self.clipped_low as f64 / n,
            clip_high_fraction: self.clipped_high as f64 / n,
            mean_prob_up_clipped: (self.clipped_high > 0).then(|| self.prob_up_clipped / self.clipped_high as f64),
            kl: self.kl / n,
            drift: self.drift / n,
            entropy: self.entropy / n,
            ratio_mean: self.ratio / n,
            ratio_max: self.ratio_max,
        }
    }
}
