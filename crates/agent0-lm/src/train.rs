//! Forward and backward over whole sequences: log-probabilities, and the gradient of a policy loss with respect to LoRA.
//!
//! Sequences are cut into micro-batches of a bounded number of tokens, so peak memory does not grow with the call. A
//! layer keeps four activations of the forward pass (its input, attention's output and log-sum-exp, and the stream
//! between its halves); the backward pass recomputes the rest. Knows nothing of optimisers or of where the data come from.

use std::ops::Range;
use std::sync::Arc;

use agent0_compute::{Compute, KV_BLOCK, attention_backward, head_norm_backward, rms_norm, rms_norm_backward, rope, swiglu_backward};
use agent0_engine::{Datum, EngineError, ForwardBackward, PolicyLoss, TokenId, TokenStats};

use crate::forward::{Activations, Batch, Row, kv_shape};
use crate::head::{Head, LossTerm, token_loss};
use crate::lora::{LoraBackward, LoraGradient, LoraScratch, LoraWeights, Site, lora_backward};
use crate::model::Model;

/// What a layer keeps of the forward pass.
#[derive(Default, Clone)]
struct SavedLayer {
    /// Input of the layer, `[rows, hidden]`.
    x: Vec<f32>,
    /// Output of attention before its projection, `[rows, heads * head_dim]`.
    attended: Vec<f32>,
    /// Log-sum-exp of attention scores, `[rows, heads]`.
    lse: Vec<f32>,
    /// Stream between attention and feed-forward, `[rows, hidden]`.
    middle: Vec<f32>,
}

/// Gradients of activations, kept between calls.
#[derive(Default)]
struct Gradients {
    /// Of the residual stream, `[rows, hidden]`.
    x: Vec<f32>,
    h: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    gate_up: Vec<f32>,
    act: Vec<f32>,
    lora: LoraScratch,
}

/// Runs whole sequences through the model. Holds only buffers.
#[derive(Default)]
pub(crate) struct Trainer {
    activations: Activations,
    saved: Vec<SavedLayer>,
    /// Key and value blocks of one layer.
    kv: Vec<f32>,
    head: Head,
    /// Rows of the stream that predict a wanted token, and the same normalised, `[wanted, hidden]`.
    picked: Vec<f32>,
    hidden: Vec<f32>,
    gradients: Gradients,
}

/// A prediction that is wanted: row of the micro-batch, sequence and position of the predicted token.
struct Target {
    row: usize,
    sequence: usize,
    position: usize,
}

impl Trainer {
    /// Log-probability of every token after the first of each sequence; entry 0 is 0.
    pub(crate) fn logprobs(
        &mut self,
        cx: &Compute,
        model: &Model,
        weights: Option<Arc<LoraWeights>>,
        sequences: &[Vec<TokenId>],
        micro_tokens: usize,
    ) -> Vec<Vec<f32>> {
        let mut result: Vec<Vec<f32>> = sequences.iter().map(|s| vec![0.0; s.len()]).collect();
        for range in micro_batches(sequences.iter().map(Vec::len), micro_tokens) {
            let micro: Vec<&[TokenId]> = sequences[range.clone()].iter().map(Vec::as_slice).collect();
            let tables = contiguous_tables(&micro);
            self.forward(cx, model, &whole_sequences(&micro, &tables, weights.clone()), false);
            let (wanted, ids) = targets(&micro, |_, _| true);
            self.pick(cx, model, &wanted);
            self.head.score(cx, model, &self.hidden, &ids, |i, term| {
                result[range.start + wanted[i].sequence][wanted[i].position] = term.logprob;
            });
        }
        result
    }

    /// Adds the gradient of the loss over `data` to `gradient`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn forward_backward(
        &mut self,
        cx: &Compute,
        model: &Model,
        weights: &Arc<LoraWeights>,
        gradient: &mut LoraGradient,
        data: &[Datum],
        loss: PolicyLoss,
        micro_tokens: usize,
    ) -> Result<ForwardBackward, EngineError> {
        let operands = LoraBackward::new(cx, weights);
        let mut tokens: Vec<TokenStats> =
            data.iter().map(|d| TokenStats { logprobs: vec![0.0; d.ids.len()], entropies: vec![0.0; d.ids.len()] }).collect();
        let mut total = 0.0f64;
        for range in micro_batches(data.iter().map(|d| d.ids.len()), micro_tokens) {
            let micro: Vec<&[TokenId]> = data[range.clone()].iter().map(|d| d.ids.as_slice()).collect();
            let data = &data[range.clone()];
            let (wanted, ids) = targets(&micro, |sequence, position| data[sequence].weights[position] != 0.0);
            if wanted.is_empty() {
                continue;
            }
            let tables = contiguous_tables(&micro);
            let batch = whole_sequences(&micro, &tables, Some(weights.clone()));
            self.forward(cx, model, &batch, true);
            self.pick(cx, model, &wanted);
            let hidden = model.config.hidden;
            // Gradient of the picked, normalised rows; the attention-input buffer is free at this point.
            let dhidden = &mut self.gradients.h;
            dhidden.resize(wanted.len() * hidden, 0.0);
            self.head.backward(cx, model, &self.hidden, &ids, dhidden, |i, term| {
                let Target { sequence, position, .. } = wanted[i];
                let stats = &mut tokens[range.start + sequence];
                stats.logprobs[position] = term.logprob;
                stats.entropies[position] = term.entropy;
                let (value, slope) = token_loss(loss, &loss_term(&data[sequence], position), term.logprob);
                total += f64::from(value);
                slope
            });
            self.scatter(cx, model, &wanted, batch.rows.len());
            let starts = starts(&micro);
            let mut pass = BackwardPass { cx, model, weights, operands: &operands, gradient, batch: &batch, starts: &starts };
            for index in (0..model.config.layers).rev() {
                pass.feed_forward_half(index, &self.saved[index], &mut self.activations, &mut self.gradients);
                pass.attention_half(index, &self.saved[index], &mut self.activations, &mut self.gradients);
            }
        }
        if !total.is_finite() {
            return Err(EngineError::NonFinite("the policy loss".into()));
        }
        Ok(ForwardBackward { loss: total, tokens })
    }

    /// Runs the batch through all layers, leaving the stream in `activations.x`; saves what the backward pass needs.
    fn forward(&mut self, cx: &Compute, model: &Model, batch: &Batch, save: bool) {
        let rows = batch.rows.len();
        let blocks = batch.tables.last().and_then(|t| t.last()).map_or(0, |&b| b as usize + 1);
        self.kv.resize(self.kv.len().max(blocks * kv_shape(model).block_len()), 0.0);
        self.activations.begin(model, batch);
        self.saved.resize(model.config.layers, SavedLayer::default());
        for index in 0..model.config.layers {
            if save {
                let saved = &mut self.saved[index];
                saved.x.clone_from(&self.activations.x);
                saved.lse.resize(rows * model.config.heads, 0.0);
                let layer = &model.layers[index];
                self.activations.attention_half(cx, model, layer, index, batch, &mut self.kv, Some(&mut saved.lse));
                saved.attended.clone_from(&self.activations.attended);
                saved.middle.clone_from(&self.activations.x);
                self.activations.feed_forward_half(cx, model, layer, index, batch);
            } else {
                self.activations.layer(cx, model, index, batch, &mut self.kv);
            }
        }
    }

    /// The stream `[tokens, hidden]` after the last layer, of all but each sequence's last token.
    #[cfg(test)]
    pub(crate) fn stream(&mut self, cx: &Compute, model: &Model, sequences: &[Vec<TokenId>]) -> Vec<f32> {
        let sequences: Vec<&[TokenId]> = sequences.iter().map(Vec::as_slice).collect();
        let tables = contiguous_tables(&sequences);
        self.forward(cx, model, &whole_sequences(&sequences, &tables, None), false);
        self.activations.x.clone()
    }

    /// Gathers the rows that predict wanted tokens and normalises them.
    fn pick(&mut self, cx: &Compute, model: &Model, wanted: &[Target]) {
        let width = model.config.hidden;
        self.picked.clear();
        for target in wanted {
            self.picked.extend_from_slice(&self.activations.x[target.row * width..][..width]);
        }
        self.hidden.resize(self.picked.len(), 0.0);
        rms_norm(cx, wanted.len(), &self.picked, width, &model.final_norm, model.config.rms_eps, &mut self.hidden);
    }

    /// Gradient of the stream at the top, from the gradient of the picked rows in `gradients.h`; zero elsewhere.
    fn scatter(&mut self, cx: &Compute, model: &Model, wanted: &[Target], rows: usize) {
        let width = model.config.hidden;
        let g = &mut self.gradients;
        self.hidden.fill(0.0);
        rms_norm_backward(cx, wanted.len(), &self.picked, width, &model.final_norm, model.config.rms_eps, &g.h, &mut self.hidden);
        g.x.clear();
        g.x.resize(rows * width, 0.0);
        for (target, row) in wanted.iter().zip(self.hidden.chunks_exact(width)) {
            g.x[target.row * width..][..width].copy_from_slice(row);
        }
    }
}

/// What all layers of one backward pass share.
struct BackwardPass<'a> {
    cx: &'a Compute,
    model: &'a Model,
    weights: &'a LoraWeights,
    operands: &'a LoraBackward,
    gradient: &'a mut LoraGradient,
    batch: &'a Batch<'a>,
    /// First row of each sequence, and the number of rows.
    starts: &'a [usize],
}

impl BackwardPass<'_> {
    /// Through `x += W_d (silu(g) * u)`, `g, u = W_gu rms_norm(x)`.
    fn feed_forward_half(&mut self, index: usize, saved: &SavedLayer, a: &mut Activations, g: &mut Gradients) {
        let (cx, model, c) = (self.cx, self.model, &self.model.config);
        let layer = &model.layers[index];
        let rows = self.batch.rows.len();
        a.x.clone_from(&saved.middle);
        a.gated(cx, model, layer, index, self.batch);

        g.act.resize(rows * c.ffn, 0.0);
        layer.down.backward(cx, rows, &g.x, &mut g.act);
        self.lora(index, Site::Down, &a.act, &g.x, &mut g.act, &mut g.lora);

        g.gate_up.resize(rows * 2 * c.ffn, 0.0);
        swiglu_backward(cx, rows, &a.gate_up, c.ffn, &g.act, &mut g.gate_up);
        g.h.resize(rows * c.hidden, 0.0);
        layer.gate_up.backward(cx, rows, &g.gate_up, &mut g.h);
        self.lora(index, Site::GateUp, &a.h, &g.gate_up, &mut g.h, &mut g.lora);
        rms_norm_backward(cx, rows, &saved.middle, c.hidden, &layer.ffn_norm, c.rms_eps, &g.h, &mut g.x);
    }

    /// Through `x += W_o attention(rope(head_norm(W_qkv rms_norm(x) + b)))`.
    fn attention_half(&mut self, index: usize, saved: &SavedLayer, a: &mut Activations, g: &mut Gradients) {
        let (cx, model, c) = (self.cx, self.model, &self.model.config);
        let layer = &model.layers[index];
        let rows = self.batch.rows.len();
        let (width, q_width) = (model.qkv_width(), c.heads * c.head_dim);
        a.x.clone_from(&saved.x);
        a.queries_keys_values(cx, model, layer, index, self.batch);

        g.attended.resize(rows * q_width, 0.0);
        layer.output.backward(cx, rows, &g.x, &mut g.attended);
        self.lora(index, Site::Output, &saved.attended, &g.x, &mut g.attended, &mut g.lora);

        g.qkv.resize(rows * width, 0.0);
        attention_backward(
            cx,
            kv_shape(model),
            c.heads,
            self.starts,
            &a.qkv,
            width,
            &saved.attended,
            q_width,
            &g.attended,
            q_width,
            &saved.lse,
            &mut g.qkv,
            width,
        );
        rope(cx, rows, &mut g.qkv, width, c.heads + c.kv_heads, c.head_dim, a.positions(), &model.rope, true);
        if let Some((q_norm, k_norm)) = &layer.head_norms {
            head_norm_backward(cx, rows, &a.qkv_raw, width, c.heads, c.head_dim, q_norm, c.rms_eps, &mut g.qkv, width);
            let (raw, dk) = (&a.qkv_raw[q_width..], &mut g.qkv[q_width..]);
            head_norm_backward(cx, rows, raw, width, c.kv_heads, c.head_dim, k_norm, c.rms_eps, dk, width);
        }

        g.h.resize(rows * c.hidden, 0.0);
        layer.qkv.backward(cx, rows, &g.qkv, &mut g.h);
        self.lora(index, Site::Qkv, &a.h, &g.qkv, &mut g.h, &mut g.lora);
        rms_norm_backward(cx, rows, &saved.x, c.hidden, &layer.attn_norm, c.rms_eps, &g.h, &mut g.x);
    }

    /// LoRA's share of a site's backward pass: the gradient of `A` and `B`, and its addition to `dx`.
    fn lora(&mut self, index: usize, site: Site, x: &[f32], dy: &[f32], dx: &mut [f32], scratch: &mut LoraScratch) {
        let c = &self.model.config;
        let (rows, inputs, outputs) = (self.batch.rows.len(), site.inputs(c), site.outputs(c));
        let dx = Some((dx, inputs));
        lora_backward(self.cx, self.weights, self.operands, self.gradient, index, site, rows, x, inputs, dy, outputs, dx, scratch);
    }
}

fn loss_term(datum: &Datum, position: usize) -> LossTerm {
    LossTerm {
        weight: datum.weights[position],
        old_logprob: datum.old_logprobs[position],
        ref_logprob: datum.ref_logprobs[position],
        advantage: datum.advantages[position],
        clip_low: datum.clip_low,
        clip_high: datum.clip_high,
    }
}

/// Consecutive sequences of at most `limit` tokens together (one longer sequence stands alone).
fn micro_batches(lengths: impl Iterator<Item = usize>, limit: usize) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (i, length) in lengths.enumerate() {
        match ranges.last_mut() {
            Some(range) if tokens + length <= limit => {
                range.end = i + 1;
                tokens += length;
            }
            _ => {
                ranges.push(i..i + 1);
                tokens = length;
            }
        }
    }
    ranges
}

/// Block tables that lay the sequences' rows one after another.
fn contiguous_tables(sequences: &[&[TokenId]]) -> Vec<Vec<u32>> {
    let mut next = 0u32;
    let table = |sequence: &&[TokenId]| {
        let blocks = (sequence.len() - 1).div_ceil(KV_BLOCK) as u32;
        next += blocks;
        (next - blocks..next).collect()
    };
    sequences.iter().map(table).collect()
}

/// Every token but each sequence's last, as one batch.
fn whole_sequences<'a>(sequences: &[&[TokenId]], tables: &'a [Vec<u32>], weights: Option<Arc<LoraWeights>>) -> Batch<'a> {
    let rows: Vec<Row> = sequences
        .iter()
        .enumerate()
        .flat_map(|(s, ids)| {
            let inputs = &ids[..ids.len() - 1];
            inputs.iter().enumerate().map(move |(p, &token)| Row { token, sequence: s as u32, position: p as u32 })
        })
        .collect();
    let all = 0..rows.len();
    Batch { rows, tables: tables.iter().map(Vec::as_slice).collect(), adapters: vec![(all, weights)] }
}

/// First row of each sequence in such a batch, and the number of rows.
fn starts(sequences: &[&[TokenId]]) -> Vec<usize> {
    let mut starts = vec![0];
    for sequence in sequences {
        starts.push(starts[starts.len() - 1] + sequence.len() - 1);
    }
    starts
}

/// The predictions that `wanted(sequence, position)` asks for, and the ids predicted.
fn targets(sequences: &[&[TokenId]], wanted: impl Fn(usize, usize) -> bool) -> (Vec<Target>, Vec<u32>) {
    let (mut picked, mut ids, mut first) = (Vec::new(), Vec::new(), 0);
    for (sequence, tokens) in sequences.iter().enumerate() {
        for position in 1..tokens.len() {
            if wanted(sequence, position) {
                picked.push(Target { row: first + position - 1, sequence, position });
                ids.push(tokens[position]);
            }
        }
        first += tokens.len() - 1;
    }
    (picked, ids)
}
