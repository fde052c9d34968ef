//! What a training call says and what comes back.

use crate::TokenId;

/// One sequence to train on, with the coefficients of its loss.
///
/// All vectors are as long as `ids` and aligned with it: entry `t` concerns token `ids[t]`, predicted from
/// `ids[..t]`. Entry 0 has no prediction and must have weight 0.
///
/// With `r = exp(logp - old_logprob)` and `d = ref_logprob - logp`, the loss of a token is
///
/// ```text
/// weight * ( -min(r * A, clamp(r, 1 - clip_low, 1 + clip_high) * A) + kl_coef * (exp(d) - d - 1) )
/// ```
///
/// (algorithm.md section 4; the paper's equations for GRPO and ADPO). A token of weight 0 has neither loss nor gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    /// Prompt, sampled and environment tokens as they stood in the trajectory.
    pub ids: Vec<TokenId>,
    /// Mask and aggregation in one: 0 for prompt and environment tokens, else the token's share of the mean.
    pub weights: Vec<f32>,
    /// Log-probability at sampling time.
    pub old_logprobs: Vec<f32>,
    /// Log-probability under the reference policy.
    pub ref_logprobs: Vec<f32>,
    /// Advantage A of each token.
    pub advantages: Vec<f32>,
    /// Lower clip distance: ratios are clipped at `1 - clip_low`.
    pub clip_low: f32,
    /// Upper clip distance: ratios are clipped at `1 + clip_high`.
    pub clip_high: f32,
}

/// One sequence to score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreRequest {
    /// The tokens.
    pub ids: Vec<TokenId>,
    /// Whose log-probabilities are asked for, as long as `ids`. Entry 0, which has no prediction, is not looked at.
    pub wanted: Vec<bool>,
}

/// What all data of one call share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyLoss {
    /// Coefficient beta of the KL term; 0 switches it off.
    pub kl_coef: f32,
    /// Divides the logits: the policy that learns is the one that tokens were drawn from. All log-probabilities of a datum are at this
    /// temperature.
    pub temperature: f32,
}

impl Default for PolicyLoss {
    /// No KL term, temperature 1.
    fn default() -> Self {
        Self { kl_coef: 0.0, temperature: 1.0 }
    }
}

/// What the forward pass saw, per token of one datum; 0 where the weight is 0.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenStats {
    /// Log-probability under the adapter before this step.
    pub logprobs: Vec<f32>,
    /// Entropy of the predicted distribution, in nats.
    pub entropies: Vec<f32>,
}

/// Result of a forward and backward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardBackward {
    /// Sum of the loss over all data.
    pub loss: f64,
    /// Per datum, in the order given.
    pub tokens: Vec<TokenStats>,
}

/// AdamW with clipping by global gradient norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamParams {
    /// Step size.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Gradients are scaled down to this global norm; infinity switches it off.
    pub max_grad_norm: f32,
}

impl Default for AdamParams {
    fn default() -> Self {
        Self { learning_rate: 1e-5, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, max_grad_norm: 1.0 }
    }
}

/// Result of an optimizer step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimStep {
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
}
