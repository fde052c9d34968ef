//! The least time in which a machine of a measured roofline could do the engine's work: what `share_of_roofline` is a share
//! of. It counts what the mathematics asks for and nothing else: no recomputation, no packing, no elementwise work.
//!
//! ```text
//! pass(W, rows, keys, read) = max( arithmetic, memory )
//!   arithmetic = 2 rows W / peak(weights) + (2 rows A + 4 Hq layers keys) / peak(other)
//!   memory     = (bytes of W + read * bytes of a token's keys and values) / read bandwidth
//!
//! prefill = pass(layers, prompt tokens, pairs of prompt positions, 0) + pass(head, sequences, 0, 0)
//! step    = pass(layers and head, sequences, sequences * context, sequences * context)
//! sample  = prefill + the sum of step over the new tokens after the first, the context growing by one each
//! train   = forward + backward
//!   forward  = arithmetic of all tokens through the layers and of trained ones through the head
//!   backward = the same once more for the inputs of every product, once more for A's own gradient, twice for attention
//! ```
//! `W` are frozen weights, `A` those of the adapter, `Hq` the width of all query heads. In the last layer only rows that are
//! drawn from or trained go beyond keys and values. `peak(weights)` is the peak of the weights' format: int8 for q8.
//! `peak(other)`, and the backward pass of q8, is held to that of bf16 (f32 when the weights are f32), and keys and values to
//! two bytes a number (four): never slower than what the engine does.

use agent0_compute::Dtype;
use agent0_compute::roofline::{Arithmetic, Roofline};
use agent0_lm::ModelConfig;

/// Bounds for one model and one format of weights on one machine.
pub struct Least {
    roofline: Roofline,
    weights: Arithmetic,
    other: Arithmetic,
    /// Weights of the linear layers, of the head, and of the adapter.
    linear: f64,
    /// Those of the last layer that a row goes through only when its logits are wanted.
    after_last_kv: f64,
    head: f64,
    adapter: f64,
    /// Operations of a query and a key: scores and values, all layers and heads.
    attention: f64,
    /// Bytes of a weight, and of the keys and values of a token.
    weight_bytes: f64,
    kv_bytes: f64,
}

/// Pairs of a position and one that it sees, in a sequence of so many tokens.
fn causal_pairs(tokens: usize) -> f64 {
    (tokens * (tokens + 1)) as f64 / 2.0
}

impl Least {
    /// For a model with weights of `dtype` and an adapter of `rank` (0: none).
    pub fn new(roofline: Roofline, config: &ModelConfig, dtype: Dtype, rank: usize) -> Self {
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let layer = [(config.hidden, q), (config.hidden, kv), (config.hidden, kv), (q, config.hidden)];
        let feed_forward = [(config.hidden, config.ffn), (config.hidden, config.ffn), (config.ffn, config.hidden)];
        let linears = || layer.iter().chain(&feed_forward);
        let in_layer: usize = linears().map(|(k, n)| k * n).sum();
        let (weights, other, weight_bytes, number) = match dtype {
            Dtype::F32 => (Arithmetic::F32, Arithmetic::F32, 4.0, 4.0),
            Dtype::Bf16 => (Arithmetic::Bf16, Arithmetic::Bf16, 2.0, 2.0),
            // A scale of four bytes for every 64 weights.
            Dtype::Q8 => (Arithmetic::Int8, Arithmetic::Bf16, 1.0625, 2.0),
        };
        Self {
            roofline,
            weights,
            other,
            linear: (config.layers * in_layer) as f64,
            after_last_kv: (in_layer - 2 * config.hidden * kv) as f64,
            head: (config.vocab * config.hidden) as f64,
            adapter: (config.layers * rank * linears().map(|(k, n)| k + n).sum::<usize>()) as f64,
            attention: (4 * q * config.layers) as f64,
            weight_bytes,
            kv_bytes: (2 * kv * config.layers) as f64 * number,
        }
    }

    /// Seconds of arithmetic: multiply-adds with frozen weights, and operations beside them.
    fn arithmetic(&self, frozen: f64, weights: Arithmetic, other: f64) -> f64 {
        2.0 * frozen / self.roofline.ops(weights) + other / self.roofline.ops(self.other)
    }

    /// Multiply-adds of `rows` rows through the layers, of which `wanted` go on to the head.
    fn through_layers(&self, rows: f64, wanted: f64) -> f64 {
        rows * (self.linear - self.after_last_kv) + wanted * self.after_last_kv
    }

    /// Seconds of reading.
    fn memory(&self, weights: f64, kv_tokens: f64) -> f64 {
        (weights * self.weight_bytes + kv_tokens * self.kv_bytes) / self.roofline.read_bytes
    }

    /// Seconds to read `prompts` prompts and to draw the first token of each of `sequences`.
    pub fn prefill(&self, prompts: usize, tokens: usize, sequences: usize) -> f64 {
        let rows = (prompts * tokens) as f64;
        let other = 2.0 * rows * self.adapter + prompts as f64 * causal_pairs(tokens) * self.attention;
        let frozen = self.through_layers(rows, sequences as f64);
        let layers = self.arithmetic(frozen, self.weights, other).max(self.memory(self.linear, 0.0));
        let head = self.arithmetic(sequences as f64 * self.head, self.weights, 0.0).max(self.memory(self.head, 0.0));
        layers + head
    }

    /// Seconds of one more token for each of `sequences` that hold `context` tokens.
    pub fn step(&self, sequences: usize, context: f64) -> f64 {
        let rows = sequences as f64;
        let other = rows * (2.0 * self.adapter + context * self.attention);
        let frozen = self.linear + self.head;
        self.arithmetic(rows * frozen, self.weights, other).max(self.memory(frozen, rows * context))
    }

    /// Seconds of a whole sampling call: `sequences` that share prompts in groups of `group`.
    pub fn sample(&self, sequences: usize, group: usize, prompt: usize, new: usize) -> f64 {
        let steps: f64 = (1..new).map(|t| self.step(sequences, (prompt + t) as f64)).sum();
        self.prefill(sequences.div_ceil(group), prompt, sequences) + steps
    }

    /// Seconds of a training step on sequences of `tokens`, of which `trained` carry loss.
    pub fn train(&self, sequences: usize, tokens: usize, trained: usize) -> f64 {
        let (rows, wanted) = ((sequences * tokens) as f64, (sequences * trained) as f64);
        let frozen = self.through_layers(rows, wanted) + wanted * self.head;
        let (adapter, attention) = (2.0 * rows * self.adapter, sequences as f64 * causal_pairs(tokens) * self.attention);
        self.arithmetic(2.0 * frozen, self.weights, 3.0 * (adapter + attention))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Roofline = Roofline { f32_ops: 1e9, bf16_ops: 2e9, int8_ops: 4e9, read_bytes: 1e9, copy_bytes: 1e9 };

    fn least(dtype: Dtype, rank: usize) -> Least {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent0-lm/tests/fixtures/tiny-llama.gguf");
        Least::new(MACHINE, agent0_lm::open(&path).unwrap().config(), dtype, rank)
    }

    #[test]
    fn one_sequence_is_bound_by_reading_and_many_by_arithmetic() {
        let bound = least(Dtype::F32, 0);
        let weights = bound.linear + bound.head;
        let near = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-9, "{a} {b}");
        near(bound.step(1, 0.0), 4.0 * weights / 1e9);
        near(bound.step(64, 0.0), 2.0 * 64.0 * weights / 1e9);
        near(least(Dtype::Q8, 0).step(64, 0.0), 2.0 * 64.0 * weights / 4e9);
    }

    #[test]
    fn shared_prompts_and_missing_adapters_take_less() {
        let (bare, adapted) = (least(Dtype::Bf16, 0), least(Dtype::Bf16, 16));
        assert!(bare.sample(8, 8, 32, 4) < bare.sample(8, 1, 32, 4));
        assert!(bare.sample(8, 1, 32, 4) < adapted.sample(8, 1, 32, 4));
        assert!(bare.train(2, 32, 16) < adapted.train(2, 32, 16));
        // Forward and backward of the frozen products are twice the forward.
        let forward = bare.prefill(2, 32, 2 * 16) - bare.arithmetic(0.0, Arithmetic::Bf16, 2.0 * causal_pairs(32) * bare.attention);
        let attention = bare.arithmetic(0.0, Arithmetic::Bf16, 6.0 * causal_pairs(32) * bare.attention);
        assert!((bare.train(2, 32, 16) - attention - 2.0 * forward).abs() < 1e-12);
    }
}
