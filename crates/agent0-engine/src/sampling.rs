//! What a sampling request says and what comes back.

use std::fmt;
use std::sync::Arc;

use crate::{TokenId, Weights};

/// A condition on the ids sampled so far that ends a continuation, such as "a code fence was closed".
///
/// The token that fulfils it is kept. An engine that cannot run code between tokens samples on and cuts the
/// continuation at that token, which gives the same distribution.
pub trait StopRule: Send + Sync {
    /// A fresh state for one continuation.
    fn start(&self) -> Box<dyn StopState>;
}

/// The state of a [`StopRule`] along one continuation.
pub trait StopState: Send {
    /// Takes the next sampled id; true ends the continuation after it.
    fn push(&mut self, id: TokenId) -> bool;
}

/// Hears of each token as it is drawn: which of the request's continuations it belongs to, the token, and its log-probability as in
/// [`Sampled::logprobs`]. Called where tokens are drawn, so it must not block; for each continuation in order, and before the request
/// is answered. An engine that learns of tokens only at the end says nothing.
pub type OnToken = Arc<dyn Fn(usize, TokenId, f32) + Send + Sync>;

/// How to draw continuations.
#[derive(Clone)]
pub struct SamplingParams {
    /// Most tokens to sample for one continuation.
    pub max_tokens: usize,
    /// Divides the logits; 0 takes the most probable token always.
    pub temperature: f32,
    /// Keep the smallest set of most probable tokens that reaches this mass; 1 keeps all.
    pub top_p: f32,
    /// Keep this many most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Tokens that end a continuation; the one sampled is kept as its last.
    pub stop_tokens: Vec<TokenId>,
    /// Sequences of ids that end a continuation; they are kept.
    pub stop_sequences: Vec<Vec<TokenId>>,
    /// A further condition that ends a continuation.
    pub stop_rule: Option<Arc<dyn StopRule>>,
    /// Who is told of each token as it comes; changes nothing.
    pub on_token: Option<OnToken>,
    /// Seed of the first continuation's random stream; the i-th draws from a stream derived from (seed, i).
    pub seed: u64,
}

impl SamplingParams {
    /// Whether nothing is left to chance: at temperature 0, and where its inverse is infinite.
    pub fn is_greedy(&self) -> bool {
        !(1.0 / self.temperature).is_finite()
    }

    /// The temperature of log-probabilities: that of drawing, for the policy that acts is the one to train; 1 of a greedy one.
    pub fn scored_at(&self) -> f32 {
        if self.is_greedy() { 1.0 } else { self.temperature }
    }
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            stop_tokens: Vec::new(),
            stop_sequences: Vec::new(),
            stop_rule: None,
            on_token: None,
            seed: 0,
        }
    }
}

impl fmt::Debug for SamplingParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SamplingParams")
            .field("max_tokens", &self.max_tokens)
            .field("temperature", &self.temperature)
            .field("top_p", &self.top_p)
            .field("top_k", &self.top_k)
            .field("stop_tokens", &self.stop_tokens)
            .field("stop_sequences", &self.stop_sequences)
            .field("stop_rule", &self.stop_rule.is_some())
            .field("on_token", &self.on_token.is_some())
            .field("seed", &self.seed)
            .finish()
    }
}

/// `n` continuations of one prompt.
#[derive(Debug, Clone)]
pub struct SampleRequest {
    /// The sequence to continue, not empty.
    pub prompt: Vec<TokenId>,
    /// How many continuations.
    pub n: usize,
    /// How to draw them.
    pub params: SamplingParams,
    /// The weights to draw from.
    pub weights: Weights,
}

/// Why a continuation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// A stop token was sampled.
    StopToken,
    /// A stop sequence was completed.
    StopSequence,
    /// The stop rule was fulfilled.
    StopRule,
    /// `max_tokens` or the model's context was reached.
    Length,
}

/// One continuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The sampled ids, the one that ended it included.
    pub ids: Vec<TokenId>,
    /// Log-probability of each sampled id at the temperature it was drawn with ([`SamplingParams::scored_at`]), nothing cut off: what
    /// a trainer computes for the same token at that temperature.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub stop: StopReason,
}
