//! The forward pass of the decoder: rows of tokens through the layers. Sampling (prefill and decode) and training run
//! this same code, so they agree on every number. Knows nothing of batching policy, the head or gradients.
//!
//! ```text
//! h = rms_norm(x);  q, k, v = rope(head_norm(W_qkv h + b));  x += W_o attention(q, k, v)
//! h = rms_norm(x);  g, u = W_gu h;                           x += W_d (silu(g) * u)
//! ```
//! Every `W` stands for the frozen weight plus the LoRA update of the row's adapter.

use std::ops::Range;
use std::sync::Arc;

use agent0_compute::{
    AlignedBuffer, AttendRow, Compute, Dtype, KvBlocks, KvFormat, KvShape, Write, attention, for_rows, head_norm, rms_norm, rope, round_to,
    swiglu,
};

use crate::config::ModelConfig;
use crate::lora::{LoraWeights, Site};
use crate::model::{Layer, Model};

/// Looking up a number of an embedding, packed as it is, takes as long as touching so many.
const EMBED_WORK: usize = 8;

/// One row of work: a token of a sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) token: u32,
    /// Which block table the row reads and writes.
    pub(crate) sequence: u32,
    pub(crate) position: u32,
}

/// Rows of several sequences and the weights they run under.
pub(crate) struct Batch<'a> {
    /// Rows of one sequence stand together, positions ascending.
    pub(crate) rows: Vec<Row>,
    /// Block table of each sequence.
    pub(crate) tables: Vec<&'a [u32]>,
    /// Consecutive ranges of `rows` with their adapter; together they cover all rows.
    pub(crate) adapters: Vec<(Range<usize>, Option<Arc<LoraWeights>>)>,
}

impl<'a> Batch<'a> {
    /// The batch of the `wanted` rows (ascending).
    fn only(&self, wanted: &[usize]) -> Batch<'a> {
        let place = |row: usize| wanted.partition_point(|&w| w < row);
        Batch {
            rows: wanted.iter().map(|&row| self.rows[row]).collect(),
            tables: self.tables.clone(),
            adapters: self.adapters.iter().map(|(range, weights)| (place(range.start)..place(range.end), weights.clone())).collect(),
        }
    }
}

/// Moves the `wanted` rows (ascending) of `x` up, one after another.
fn move_up<T: Copy>(x: &mut [T], width: usize, wanted: &[usize]) {
    for (to, &from) in wanted.iter().enumerate() {
        x.copy_within(from * width..(from + 1) * width, to * width);
    }
}

/// Makes `to` a copy of `from`, whose rows are `width` wide.
pub(crate) fn copy(cx: &Compute, from: &[f32], width: usize, to: &mut AlignedBuffer) {
    to.resize(from.len());
    for_rows(cx, from.len() / width, to, width, width, |i, row| row.copy_from_slice(&from[i * width..][..width]));
}

/// The key and value blocks of every layer.
pub(crate) struct KvStorage {
    pub(crate) layers: Vec<KvBlocks>,
}

impl KvStorage {
    /// Bytes of a block in all layers, where weights are of `dtype`.
    pub(crate) fn block_bytes(config: &ModelConfig, dtype: Dtype) -> u64 {
        let shape = KvShape { kv_heads: config.kv_heads, head_dim: config.head_dim };
        (shape.block_bytes(kv_format(dtype)) * config.layers) as u64
    }

    /// Room for `blocks` blocks a layer. Pages of memory are touched when first used.
    pub(crate) fn new(model: &Model, blocks: usize) -> Self {
        Self { layers: (0..model.config.layers).map(|_| kv_blocks(model, blocks)).collect() }
    }
}

pub(crate) fn kv_shape(model: &Model) -> KvShape {
    KvShape { kv_heads: model.config.kv_heads, head_dim: model.config.head_dim }
}

/// Blocks of one layer.
pub(crate) fn kv_blocks(model: &Model, blocks: usize) -> KvBlocks {
    KvBlocks::new(kv_shape(model), kv_format(model.head.weight().dtype()), blocks)
}

/// Keys and values are `f32` where the weights are, and bf16 else.
fn kv_format(dtype: Dtype) -> KvFormat {
    if dtype == Dtype::F32 { KvFormat::F32 } else { KvFormat::Bf16 }
}

/// Activations of a forward pass, kept between calls because fresh pages are expensive.
#[derive(Default)]
pub(crate) struct Activations {
    /// Residual stream, `[rows, hidden]`.
    pub(crate) x: AlignedBuffer,
    /// Normalised input of a linear, `[rows, hidden]`.
    pub(crate) h: AlignedBuffer,
    pub(crate) projections: Projections,
    /// Output of attention, `[rows, heads * head_dim]`.
    pub(crate) attended: AlignedBuffer,
    /// `silu(gate) * up`, `[rows, ffn]`.
    pub(crate) act: AlignedBuffer,
    /// `A x` of the LoRA update of each site, for the range of rows that came last.
    pub(crate) z: [AlignedBuffer; Site::ALL.len()],
    positions: Vec<u32>,
    attend: Vec<AttendRow>,
}

/// The wide activations of one layer: what takes longest to compute, and most of the memory.
#[derive(Default)]
pub(crate) struct Projections {
    /// Queries, keys and values `[rows, qkv_width]`, before head norms and rotation (only where heads are normed) ...
    pub(crate) qkv_raw: AlignedBuffer,
    /// ... and after.
    pub(crate) qkv: AlignedBuffer,
    /// Gate and up projections, `[rows, 2 ffn]`.
    pub(crate) gate_up: AlignedBuffer,
}

impl Projections {
    fn resize(&mut self, model: &Model, rows: usize) {
        self.qkv.resize(rows * model.qkv_width());
        self.gate_up.resize(rows * 2 * model.config.ffn);
    }
}

impl Activations {
    /// Sizes the buffers for a batch and embeds its tokens into `x`.
    pub(crate) fn begin(&mut self, cx: &Compute, model: &Model, batch: &Batch) {
        let (rows, hidden) = (batch.rows.len(), model.config.hidden);
        self.x.resize(rows * hidden);
        self.resize(model, rows);
        self.positions.clear();
        self.positions.extend(batch.rows.iter().map(|row| row.position));
        self.attend.clear();
        self.attend.extend(batch.rows.iter().map(|row| AttendRow { sequence: row.sequence, position: row.position }));
        for_rows(cx, rows, &mut self.x, hidden, EMBED_WORK * hidden, |i, x| model.embed(batch.rows[i].token, x));
    }

    /// Sizes what a layer writes; `begin` does so too.
    pub(crate) fn resize(&mut self, model: &Model, rows: usize) {
        let c = &model.config;
        self.h.resize(rows * c.hidden);
        self.projections.resize(model, rows);
        self.attended.resize(rows * c.heads * c.head_dim);
        self.act.resize(rows * c.ffn);
    }

    /// One layer, `x` to `x`. `storage` holds this layer's blocks: the rows' keys and values are written into it.
    pub(crate) fn layer(&mut self, cx: &Compute, model: &Model, index: usize, batch: &Batch, storage: &mut KvBlocks) {
        let layer = &model.layers[index];
        self.attention_half(cx, model, layer, index, batch, storage, None);
        self.feed_forward_half(cx, model, layer, index, batch);
    }

    /// The last layer, for the `wanted` rows (ascending) alone: the others leave their keys and values and are done.
    /// Afterwards `x` holds the wanted rows one after another.
    pub(crate) fn last_layer(&mut self, cx: &Compute, model: &Model, batch: &Batch, storage: &mut KvBlocks, wanted: &[usize]) {
        let index = model.layers.len() - 1;
        let layer = &model.layers[index];
        self.queries_keys_values(cx, model, layer, index, batch);
        self.store_keys_values(cx, model, batch, storage);
        let batch = batch.only(wanted);
        move_up(&mut self.x, model.config.hidden, wanted);
        move_up(&mut self.projections.qkv, model.qkv_width(), wanted);
        move_up(&mut self.attend, 1, wanted);
        self.attend.truncate(wanted.len());
        self.attend(cx, model, layer, index, &batch, storage, None);
        self.feed_forward_half(cx, model, layer, index, &batch);
    }

    /// `x += W_o attention(..)`. `lse [rows, heads]` receives attention's log-sum-exp for the backward pass.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn attention_half(
        &mut self,
        cx: &Compute,
        model: &Model,
        layer: &Layer,
        index: usize,
        batch: &Batch,
        storage: &mut KvBlocks,
        lse: Option<&mut [f32]>,
    ) {
        self.queries_keys_values(cx, model, layer, index, batch);
        self.store_keys_values(cx, model, batch, storage);
        self.attend(cx, model, layer, index, batch, storage, lse);
    }

    /// Writes the rows' keys and values into their blocks.
    fn store_keys_values(&self, cx: &Compute, model: &Model, batch: &Batch, storage: &mut KvBlocks) {
        let c = &model.config;
        let (k, v) = (c.heads * c.head_dim, (c.heads + c.kv_heads) * c.head_dim);
        let qkv = &self.projections.qkv;
        storage.write(cx, &self.attend, &batch.tables, &qkv[k..], &qkv[v..], model.qkv_width());
    }

    /// `x += W_o attention(q, K, V)` for the queries in `qkv` and the keys and values in `storage`.
    #[allow(clippy::too_many_arguments)]
    fn attend(
        &mut self,
        cx: &Compute,
        model: &Model,
        layer: &Layer,
        index: usize,
        batch: &Batch,
        storage: &KvBlocks,
        lse: Option<&mut [f32]>,
    ) {
        let c = &model.config;
        let (width, q_width) = (model.qkv_width(), c.heads * c.head_dim);
        let q = &self.projections.qkv;
        attention(cx, c.heads, q, width, &self.attend, storage, &batch.tables, &mut self.attended, q_width, lse);
        layer.output.forward(cx, batch.rows.len(), &self.attended, &mut self.x, Write::Add);
        apply_lora(cx, batch, index, Site::Output, &self.attended, q_width, &mut self.x, c.hidden, &mut self.z);
    }

    /// `h`, `qkv_raw` (with head norms only) and `qkv` of a layer, from `x`.
    pub(crate) fn queries_keys_values(&mut self, cx: &Compute, model: &Model, layer: &Layer, index: usize, batch: &Batch) {
        let c = &model.config;
        let (rows, width, q_width) = (batch.rows.len(), model.qkv_width(), c.heads * c.head_dim);
        rms_norm(cx, rows, &self.x, c.hidden, &layer.attn_norm, c.rms_eps, &mut self.h);
        let Projections { qkv, qkv_raw, .. } = &mut self.projections;
        layer.qkv.forward(cx, rows, &self.h, qkv, Write::Set);
        apply_lora(cx, batch, index, Site::Qkv, &self.h, c.hidden, qkv, width, &mut self.z);
        if let Some((q_norm, k_norm)) = &layer.head_norms {
            copy(cx, qkv, width, qkv_raw);
            head_norm(cx, rows, qkv, width, c.heads, c.head_dim, q_norm, c.rms_eps);
            head_norm(cx, rows, &mut qkv[q_width..], width, c.kv_heads, c.head_dim, k_norm, c.rms_eps);
        }
        rope(cx, rows, qkv, width, c.heads + c.kv_heads, c.head_dim, &self.positions, &model.rope, false);
        // The backward pass reads these rows: they must be the numbers that attention computes with.
        round_to(cx, kv_format(model.head.weight().dtype()), rows, qkv, width, width);
    }

    /// `x += W_d (silu(g) * u)`.
    pub(crate) fn feed_forward_half(&mut self, cx: &Compute, model: &Model, layer: &Layer, index: usize, batch: &Batch) {
        let c = &model.config;
        self.gated(cx, model, layer, index, batch);
        layer.down.forward(cx, batch.rows.len(), &self.act, &mut self.x, Write::Add);
        apply_lora(cx, batch, index, Site::Down, &self.act, c.ffn, &mut self.x, c.hidden, &mut self.z);
    }

    /// `h`, `gate_up` and `act` of a layer, from `x` as attention left it.
    pub(crate) fn gated(&mut self, cx: &Compute, model: &Model, layer: &Layer, index: usize, batch: &Batch) {
        let c = &model.config;
        let rows = batch.rows.len();
        rms_norm(cx, rows, &self.x, c.hidden, &layer.ffn_norm, c.rms_eps, &mut self.h);
        let gate_up = &mut self.projections.gate_up;
        layer.gate_up.forward(cx, rows, &self.h, gate_up, Write::Set);
        apply_lora(cx, batch, index, Site::GateUp, &self.h, c.hidden, gate_up, 2 * c.ffn, &mut self.z);
        swiglu(cx, rows, gate_up, c.ffn, &mut self.act);
    }

    /// Positions of the rows, for the backward rotation.
    pub(crate) fn positions(&self) -> &[u32] {
        &self.positions
    }
}

/// Adds each range's LoRA update of a site.
#[allow(clippy::too_many_arguments)]
fn apply_lora(
    cx: &Compute,
    batch: &Batch,
    layer: usize,
    site: Site,
    x: &[f32],
    ldx: usize,
    y: &mut [f32],
    ldy: usize,
    z: &mut [AlignedBuffer; Site::ALL.len()],
) {
    // A range is empty in the last layer when none of its rows is wanted.
    for (range, weights) in batch.adapters.iter().filter(|(range, _)| !range.is_empty()) {
        if let Some(weights) = weights {
            let (x, y) = (&x[range.start * ldx..], &mut y[range.start * ldy..]);
            weights.apply(cx, layer, site, range.len(), x, ldx, y, ldy, &mut z[site as usize]);
        }
    }
}
