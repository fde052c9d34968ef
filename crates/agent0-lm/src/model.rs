//! The frozen base model in memory: every weight packed for the kernels. Computes nothing itself.

use std::ops::Range;
use std::sync::OnceLock;

use agent0_compute::{Compute, Dtype, PackedMatrix, RopeTable, Write, add_bias, gemm};

use crate::checkpoint::{Checkpoint, LayerTensor, Tensor, matrix};
use crate::config::ModelConfig;
use crate::error::ModelError;

/// A frozen linear layer `y = W x (+ bias)`, possibly several fused side by side.
pub(crate) struct Linear {
    weight: PackedMatrix,
    bias: Option<Vec<f32>>,
    /// `W^T`, packed when the first backward pass asks for it.
    transposed: OnceLock<PackedMatrix>,
}

impl Linear {
    pub(crate) fn new(weight: PackedMatrix, bias: Option<Vec<f32>>) -> Self {
        Self { weight, bias, transposed: OnceLock::new() }
    }

    /// `y [rows, outputs] (=|+=) W x`, `x [rows, inputs]` contiguous.
    pub(crate) fn forward(&self, cx: &Compute, rows: usize, x: &[f32], y: &mut [f32], write: Write) {
        gemm(cx, rows, x, self.weight.k(), &self.weight, y, self.weight.n(), write);
        if let Some(bias) = &self.bias {
            add_bias(cx, rows, y, self.weight.n(), bias);
        }
    }

    /// `dx [rows, inputs] = W^T dy`, `dy [rows, outputs]` contiguous.
    pub(crate) fn backward(&self, cx: &Compute, rows: usize, dy: &[f32], dx: &mut [f32]) {
        let transposed = self.transposed.get_or_init(|| self.weight.transposed(cx));
        gemm(cx, rows, dy, self.weight.n(), transposed, dx, self.weight.k(), Write::Set);
    }

    pub(crate) fn weight(&self) -> &PackedMatrix {
        &self.weight
    }
}

/// The weights of one decoder layer.
pub(crate) struct Layer {
    pub(crate) attn_norm: Vec<f32>,
    /// Query, key and value projections side by side, `[(heads + 2 kv_heads) * head_dim, hidden]`.
    pub(crate) qkv: Linear,
    /// Norms of query and key heads (qwen3).
    pub(crate) head_norms: Option<(Vec<f32>, Vec<f32>)>,
    pub(crate) output: Linear,
    pub(crate) ffn_norm: Vec<f32>,
    /// Gate and up projections side by side, `[2 ffn, hidden]`.
    pub(crate) gate_up: Linear,
    pub(crate) down: Linear,
}

/// A decoder-only transformer, frozen.
pub(crate) struct Model {
    pub(crate) config: ModelConfig,
    /// Rows to look up, when they are not the head's.
    embedding: Option<PackedMatrix>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) final_norm: Vec<f32>,
    pub(crate) head: Linear,
    pub(crate) rope: RopeTable,
    /// Longest sequence that is computed, in tokens.
    pub(crate) context: usize,
}

impl Model {
    /// Reads and packs every weight. `context` bounds the rotary table.
    pub(crate) fn load(cx: &Compute, checkpoint: &dyn Checkpoint, dtype: Dtype, context: usize) -> Result<Self, ModelError> {
        let config = checkpoint.config().clone();
        if !config.head_dim.is_multiple_of(16) {
            return Err(ModelError::Unsupported {
                path: config.name.clone().into(),
                what: format!("a head width of {}", config.head_dim),
                remedy: "use a model whose heads are a multiple of 16 wide".into(),
            });
        }
        let context = context.min(config.context);
        let packed = |tensors: &[Tensor]| pack(cx, checkpoint, tensors, dtype);
        let layers = (0..config.layers)
            .map(|index| {
                let at = |part| Tensor::Layer(index, part);
                let vector = |part| checkpoint.tensor(at(part));
                let qkv_bias = if config.qkv_bias {
                    Some([vector(LayerTensor::QBias)?, vector(LayerTensor::KBias)?, vector(LayerTensor::VBias)?].concat())
                } else {
                    None
                };
                let head_norms = if config.qk_norm { Some((vector(LayerTensor::QNorm)?, vector(LayerTensor::KNorm)?)) } else { None };
                Ok(Layer {
                    attn_norm: vector(LayerTensor::AttnNorm)?,
                    qkv: Linear::new(packed(&[at(LayerTensor::Q), at(LayerTensor::K), at(LayerTensor::V)])?, qkv_bias),
                    head_norms,
                    output: Linear::new(packed(&[at(LayerTensor::O)])?, None),
                    ffn_norm: vector(LayerTensor::FfnNorm)?,
                    gate_up: Linear::new(packed(&[at(LayerTensor::Gate), at(LayerTensor::Up)])?, None),
                    down: Linear::new(packed(&[at(LayerTensor::Down)])?, None),
                })
            })
            .collect::<Result<Vec<_>, ModelError>>()?;
        Ok(Self {
            embedding: if config.tied_embedding { None } else { Some(packed(&[Tensor::Embedding])?) },
            layers,
            final_norm: checkpoint.tensor(Tensor::FinalNorm)?,
            head: Linear::new(packed(&[Tensor::Head])?, None),
            rope: RopeTable::new(&config.inv_freq, context, config.rope_attention_scale),
            context,
            config,
        })
    }

    /// Embeds one token, `[hidden]`.
    pub(crate) fn embed(&self, id: u32, out: &mut [f32]) {
        self.embedding.as_ref().unwrap_or_else(|| self.head.weight()).read_row(id as usize, out);
    }

    /// Width of the fused query, key and value rows.
    pub(crate) fn qkv_width(&self) -> usize {
        (self.config.heads + 2 * self.config.kv_heads) * self.config.head_dim
    }
}

/// Packs matrices of one width above one another, read a panel at a time.
fn pack(cx: &Compute, checkpoint: &dyn Checkpoint, tensors: &[Tensor], dtype: Dtype) -> Result<PackedMatrix, ModelError> {
    let shapes = tensors.iter().map(|tensor| matrix(&tensor.shape(checkpoint.config())));
    let columns = shapes.clone().next().map_or(0, |(_, columns)| columns);
    let mut first = 0;
    let parts: Vec<(Tensor, Range<usize>)> = tensors
        .iter()
        .zip(shapes)
        .map(|(&tensor, (rows, _))| {
            first += rows;
            (tensor, first - rows..first)
        })
        .collect();
    PackedMatrix::from_rows(cx, first, columns, dtype, |rows, out| {
        for (tensor, part) in &parts {
            let here = rows.start.max(part.start)..rows.end.min(part.end);
            if !here.is_empty() {
                let out = &mut out[(here.start - rows.start) * columns..(here.end - rows.start) * columns];
                checkpoint.read_rows(*tensor, here.start - part.start..here.end - part.start, out)?;
            }
        }
        Ok(())
    })
}
