//! Forward and backward over whole sequences: log-probabilities, and the gradient of a policy loss with respect to LoRA.
//!
//! Sequences are cut into micro-batches of a bounded number of rows, so peak memory does not grow with the call. Of the
//! forward pass a layer keeps its input, the stream between its halves, its projections, attention's output and log-sum-exp
//! and the inner LoRA products; norms and activations are computed again. A row takes, in each layer,
//!
//! ```text
//! 4 * (2 hidden + qkv_width + 2 ffn + heads * (head_dim + 1) + 7 rank) bytes      (0.5B: 54 KiB, 1.3 MiB in all 24 layers)
//! ```
//!
//! A sequence longer than a micro-batch does not keep its projections (`qkv_width + 2 ffn`, most of it) but computes them
//! again too. Knows nothing of optimisers or of where the data come from.

use std::sync::Arc;

use agent0_compute::{
    AlignedBuffer, Compute, KvBlocks, Segment, attention_backward, head_norm_backward, rms_norm, rms_norm_backward, rope, swiglu_backward,
};
use agent0_engine::{Datum, EngineError, ForwardBackward, PolicyLoss, ScoreRequest, TokenId, TokenStats};

use crate::forward::{Activations, Batch, Projections, copy, kv_blocks, kv_shape};
use crate::head::{Head, LossTerm, token_loss};
use crate::lora::{LoraBackward, LoraGradient, LoraWeights, Site, SiteBackward};
use crate::micro_batch::{MicroBatch, micro_batches};
use crate::model::Model;

/// What a layer keeps of the forward pass.
#[derive(Default)]
struct SavedLayer {
    /// Input of the layer, `[rows, hidden]`.
    x: AlignedBuffer,
    /// Stream between attention and feed-forward, `[rows, hidden]`.
    middle: AlignedBuffer,
    /// Log-sum-exp of attention scores, `[rows, heads]`.
    lse: AlignedBuffer,
    /// As in [`Activations`].
    attended: AlignedBuffer,
    z: [AlignedBuffer; Site::ALL.len()],
    projections: Projections,
}

impl SavedLayer {
    /// Exchanges buffers with the running activations: before and after a layer, so that what it computes stays here.
    fn exchange(&mut self, a: &mut Activations, keep: Keep) {
        std::mem::swap(&mut self.attended, &mut a.attended);
        std::mem::swap(&mut self.z, &mut a.z);
        if keep == Keep::All {
            std::mem::swap(&mut self.projections, &mut a.projections);
        }
    }
}

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    /// All but the projections.
    Narrow,
    All,
}

/// Gradients of activations, kept between calls.
#[derive(Default)]
struct Gradients {
    /// Of the residual stream, `[rows, hidden]`.
    x: AlignedBuffer,
    h: AlignedBuffer,
    qkv: AlignedBuffer,
    attended: AlignedBuffer,
    act: AlignedBuffer,
    z: AlignedBuffer,
}

/// Runs whole sequences through the model. Holds only buffers.
#[derive(Default)]
pub(crate) struct Trainer {
    activations: Activations,
    saved: Vec<SavedLayer>,
    /// Key and value blocks of one layer.
    kv: Option<KvBlocks>,
    head: Head,
    /// Rows of the stream that predict a wanted token, and the same normalised, `[wanted, hidden]`.
    picked: Vec<f32>,
    hidden: Vec<f32>,
    gradients: Gradients,
    operands: LoraBackward,
}

/// Key and value blocks for a micro-batch; more only when it needs more than any before.
fn room<'a>(kv: &'a mut Option<KvBlocks>, model: &Model, micro: &MicroBatch) -> &'a mut KvBlocks {
    if kv.as_ref().is_some_and(|kv| kv.blocks() < micro.blocks()) {
        *kv = None;
    }
    kv.get_or_insert_with(|| kv_blocks(model, micro.blocks()))
}

/// A prediction that is wanted: row of the stream that makes it, sequence and position of the predicted token.
struct Target {
    row: usize,
    sequence: usize,
    position: usize,
}

impl Trainer {
    /// Log-probability of every wanted token at a temperature; 0 for the others.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn logprobs(
        &mut self,
        cx: &Compute,
        model: &Model,
        weights: Option<Arc<LoraWeights>>,
        requests: &[ScoreRequest],
        temperature: f32,
        micro_tokens: usize,
    ) -> Vec<Vec<f32>> {
        let mut result: Vec<Vec<f32>> = requests.iter().map(|r| vec![0.0; r.ids.len()]).collect();
        let inputs: Vec<&[TokenId]> = requests.iter().map(|r| inputs(&r.ids, |position| r.wanted[position])).collect();
        for (range, micro) in micro_batches(&inputs, micro_tokens) {
            let (requests, result) = (&requests[range.clone()], &mut result[range]);
            let (mut wanted, ids) = targets(&micro, requests.iter().map(|r| r.ids.as_slice()), |s, p| requests[s].wanted[p]);
            if wanted.is_empty() {
                continue;
            }
            let mut rows: Vec<usize> = wanted.iter().map(|target| target.row).collect();
            rows.sort_unstable();
            rows.dedup();
            self.forward(cx, model, &micro, &micro.batch(weights.clone()), &rows);
            wanted.iter_mut().for_each(|target| target.row = rows.partition_point(|&row| row < target.row));
            self.pick(cx, model, &wanted);
            self.head.score(cx, model, &self.hidden, &ids, temperature, |i, term| {
                result[wanted[i].sequence][wanted[i].position] = term.logprob;
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
        self.operands.update(cx, weights);
        let mut tokens: Vec<TokenStats> =
            data.iter().map(|d| TokenStats { logprobs: vec![0.0; d.ids.len()], entropies: vec![0.0; d.ids.len()] }).collect();
        let mut total = 0.0f64;
        let inputs: Vec<&[TokenId]> = data.iter().map(|d| inputs(&d.ids, |position| d.weights[position] != 0.0)).collect();
        for (range, micro) in micro_batches(&inputs, micro_tokens) {
            let (data, stats) = (&data[range.clone()], &mut tokens[range]);
            let (wanted, ids) = targets(&micro, data.iter().map(|d| d.ids.as_slice()), |s, p| data[s].weights[p] != 0.0);
            if wanted.is_empty() {
                continue;
            }
            let (batch, segments) = (micro.batch(Some(weights.clone())), micro.segments());
            let keep = if micro.len() <= micro_tokens { Keep::All } else { Keep::Narrow };
            self.forward_keeping(cx, model, &micro, &batch, keep);
            self.pick(cx, model, &wanted);
            // Gradient of the picked, normalised rows; the attention-input buffer is free at this point.
            let dhidden = &mut self.gradients.h;
            dhidden.resize(wanted.len() * model.config.hidden);
            self.head.backward(cx, model, &self.hidden, &ids, loss.temperature, dhidden, |i, term| {
                let Target { sequence, position, .. } = wanted[i];
                stats[sequence].logprobs[position] = term.logprob;
                stats[sequence].entropies[position] = term.entropy;
                let (value, slope) = token_loss(loss, &loss_term(&data[sequence], position), term.logprob);
                total += f64::from(value);
                slope
            });
            self.scatter(cx, model, &wanted, micro.len());
            let mut pass =
                BackwardPass { cx, model, weights, operands: &self.operands, gradient, batch: &batch, segments: &segments, keep };
            for (index, saved) in self.saved.iter_mut().enumerate().rev() {
                saved.exchange(&mut self.activations, keep);
                pass.feed_forward_half(index, saved, &mut self.activations, &mut self.gradients);
                pass.attention_half(index, saved, &mut self.activations, &mut self.gradients);
                saved.exchange(&mut self.activations, keep);
            }
        }
        if !total.is_finite() {
            return Err(EngineError::NonFinite("the policy loss".into()));
        }
        Ok(ForwardBackward { loss: total, tokens })
    }

    /// Runs the batch through all layers for the stream of the `wanted` rows (ascending) alone, which `activations.x` then
    /// holds one after another.
    fn forward(&mut self, cx: &Compute, model: &Model, micro: &MicroBatch, batch: &Batch, wanted: &[usize]) {
        let kv = room(&mut self.kv, model, micro);
        let a = &mut self.activations;
        a.begin(cx, model, batch);
        (0..model.layers.len() - 1).for_each(|index| a.layer(cx, model, index, batch, kv));
        a.last_layer(cx, model, batch, kv, wanted);
    }

    /// Runs the batch through all layers, leaving the stream in `activations.x` and what the backward pass needs in `saved`.
    fn forward_keeping(&mut self, cx: &Compute, model: &Model, micro: &MicroBatch, batch: &Batch, keep: Keep) {
        let kv = room(&mut self.kv, model, micro);
        self.saved.resize_with(model.config.layers, SavedLayer::default);
        let a = &mut self.activations;
        a.begin(cx, model, batch);
        for (index, (saved, layer)) in self.saved.iter_mut().zip(&model.layers).enumerate() {
            saved.exchange(a, keep);
            a.resize(model, micro.len());
            copy(cx, &a.x, model.config.hidden, &mut saved.x);
            saved.lse.resize(micro.len() * model.config.heads);
            a.attention_half(cx, model, layer, index, batch, kv, Some(&mut saved.lse));
            copy(cx, &a.x, model.config.hidden, &mut saved.middle);
            a.feed_forward_half(cx, model, layer, index, batch);
            saved.exchange(a, keep);
        }
    }

    /// The stream `[tokens, hidden]` after the last layer.
    #[cfg(test)]
    pub(crate) fn stream(&mut self, cx: &Compute, model: &Model, sequences: &[&[TokenId]]) -> Vec<f32> {
        let (_, micro) = micro_batches(sequences, usize::MAX).remove(0);
        let all: Vec<usize> = (0..micro.len()).collect();
        self.forward(cx, model, &micro, &micro.batch(None), &all);
        self.activations.x.to_vec()
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
    /// A row that predicts tokens of several sequences gets the sum.
    fn scatter(&mut self, cx: &Compute, model: &Model, wanted: &[Target], rows: usize) {
        let width = model.config.hidden;
        let g = &mut self.gradients;
        self.hidden.fill(0.0);
        rms_norm_backward(cx, wanted.len(), &self.picked, width, &model.final_norm, model.config.rms_eps, &g.h, &mut self.hidden);
        g.x.resize(rows * width);
        g.x.fill(0.0);
        for (target, row) in wanted.iter().zip(self.hidden.chunks_exact(width)) {
            g.x[target.row * width..][..width].iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
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
    segments: &'a [Segment],
    keep: Keep,
}

impl<'a> BackwardPass<'a> {
    /// Through `x += W_d (silu(g) * u)`, `g, u = W_gu rms_norm(x)`.
    fn feed_forward_half(&mut self, index: usize, saved: &SavedLayer, a: &mut Activations, g: &mut Gradients) {
        let (cx, model, c) = (self.cx, self.model, &self.model.config);
        let layer = &model.layers[index];
        let rows = self.batch.rows.len();
        if self.keep == Keep::All {
            rms_norm(cx, rows, &saved.middle, c.hidden, &layer.ffn_norm, c.rms_eps, &mut a.h);
        } else {
            copy(cx, &saved.middle, c.hidden, &mut a.x);
            a.gated(cx, model, layer, index, self.batch);
        }

        g.act.resize(rows * c.ffn);
        layer.down.backward(cx, rows, &g.x, &mut g.act);
        let mut lora = self.lora(index, Site::Down, &a.z, &mut g.z);
        lora.input(&g.x, &mut g.act);
        // From here on `gate_up` is its own gradient, and `act` what it was in the forward pass.
        let gate_up = &mut a.projections.gate_up;
        swiglu_backward(cx, rows, gate_up, c.ffn, &mut g.act);
        lora.weights(&g.act, &g.x, self.gradient);

        g.h.resize(rows * c.hidden);
        layer.gate_up.backward(cx, rows, gate_up, &mut g.h);
        let mut lora = self.lora(index, Site::GateUp, &a.z, &mut g.z);
        lora.input(gate_up, &mut g.h);
        lora.weights(&a.h, gate_up, self.gradient);
        rms_norm_backward(cx, rows, &saved.middle, c.hidden, &layer.ffn_norm, c.rms_eps, &g.h, &mut g.x);
    }

    /// Through `x += W_o attention(rope(head_norm(W_qkv rms_norm(x) + b)))`.
    fn attention_half(&mut self, index: usize, saved: &SavedLayer, a: &mut Activations, g: &mut Gradients) {
        let (cx, model, c) = (self.cx, self.model, &self.model.config);
        let layer = &model.layers[index];
        let rows = self.batch.rows.len();
        let (width, q_width) = (model.qkv_width(), c.heads * c.head_dim);
        if self.keep == Keep::All {
            rms_norm(cx, rows, &saved.x, c.hidden, &layer.attn_norm, c.rms_eps, &mut a.h);
        } else {
            copy(cx, &saved.x, c.hidden, &mut a.x);
            a.queries_keys_values(cx, model, layer, index, self.batch);
        }

        g.attended.resize(rows * q_width);
        layer.output.backward(cx, rows, &g.x, &mut g.attended);
        let mut lora = self.lora(index, Site::Output, &a.z, &mut g.z);
        lora.input(&g.x, &mut g.attended);
        lora.weights(&a.attended, &g.x, self.gradient);

        g.qkv.resize(rows * width);
        attention_backward(
            cx,
            kv_shape(model),
            c.heads,
            self.segments,
            &a.projections.qkv,
            width,
            &a.attended,
            q_width,
            &g.attended,
            q_width,
            &saved.lse,
            &mut g.qkv,
            width,
        );
        rope(cx, rows, &mut g.qkv, width, c.heads + c.kv_heads, c.head_dim, a.positions(), &model.rope, true);
        if let Some((q_norm, k_norm)) = &layer.head_norms {
            let raw = &a.projections.qkv_raw;
            head_norm_backward(cx, rows, raw, width, c.heads, c.head_dim, q_norm, c.rms_eps, &mut g.qkv, width);
            let (raw, dk) = (&raw[q_width..], &mut g.qkv[q_width..]);
            head_norm_backward(cx, rows, raw, width, c.kv_heads, c.head_dim, k_norm, c.rms_eps, dk, width);
        }

        g.h.resize(rows * c.hidden);
        layer.qkv.backward(cx, rows, &g.qkv, &mut g.h);
        let mut lora = self.lora(index, Site::Qkv, &a.z, &mut g.z);
        lora.input(&g.qkv, &mut g.h);
        lora.weights(&a.h, &g.qkv, self.gradient);
        rms_norm_backward(cx, rows, &saved.x, c.hidden, &layer.attn_norm, c.rms_eps, &g.h, &mut g.x);
    }

    /// LoRA's share of a site's backward pass; `z` is kept of the forward pass, `dz` room for its gradient.
    fn lora<'b>(&self, layer: usize, site: Site, z: &'b [AlignedBuffer], dz: &'b mut AlignedBuffer) -> SiteBackward<'b>
    where
        'a: 'b,
    {
        let Self { cx, weights, operands, batch, .. } = self;
        SiteBackward { cx, weights, operands, layer, site, rows: batch.rows.len(), z: &z[site as usize], dz }
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

/// The tokens to read for a sequence's wanted predictions: all before the last of them.
fn inputs(ids: &[TokenId], wanted: impl Fn(usize) -> bool) -> &[TokenId] {
    let last = (1..ids.len()).rev().find(|&position| wanted(position));
    &ids[..last.unwrap_or(0)]
}

/// The predictions that `wanted(sequence, position)` asks for, and the ids predicted.
fn targets<'a>(
    micro: &MicroBatch,
    sequences: impl Iterator<Item = &'a [TokenId]>,
    wanted: impl Fn(usize, usize) -> bool,
) -> (Vec<Target>, Vec<u32>) {
    let (mut picked, mut ids) = (Vec::new(), Vec::new());
    for (sequence, tokens) in sequences.enumerate() {
        for position in (1..tokens.len()).filter(|&position| wanted(sequence, position)) {
            picked.push(Target { row: micro.row(sequence, position - 1), sequence, position });
            ids.push(tokens[position]);
        }
    }
    (picked, ids)
}
