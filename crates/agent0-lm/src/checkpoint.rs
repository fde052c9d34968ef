//! A model's weights by role, whatever file they come from (`files.rs`).

use std::ops::Range;

use crate::config::ModelConfig;
use crate::error::ModelError;

/// A weight of the model, by its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tensor {
    /// Token embedding `[vocab, hidden]`. Where a tied model's file holds two copies, the one of higher precision.
    Embedding,
    /// Output head `[vocab, hidden]`; the embedding itself when tied.
    Head,
    /// Weight of the last RMS norm `[hidden]`.
    FinalNorm,
    /// A weight of a decoder layer.
    Layer(usize, LayerTensor),
}

/// A weight of a decoder layer. Matrices are `[out, in]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerTensor {
    /// RMS norm before attention `[hidden]`.
    AttnNorm,
    /// Query projection `[heads * head_dim, hidden]`.
    Q,
    /// Query bias `[heads * head_dim]`.
    QBias,
    /// Key projection `[kv_heads * head_dim, hidden]`.
    K,
    /// Key bias `[kv_heads * head_dim]`.
    KBias,
    /// Value projection `[kv_heads * head_dim, hidden]`.
    V,
    /// Value bias `[kv_heads * head_dim]`.
    VBias,
    /// RMS norm of each query head `[head_dim]`.
    QNorm,
    /// RMS norm of each key head `[head_dim]`.
    KNorm,
    /// Output projection of attention `[hidden, heads * head_dim]`.
    O,
    /// RMS norm before the feed-forward layer `[hidden]`.
    FfnNorm,
    /// Gate projection `[ffn, hidden]`.
    Gate,
    /// Up projection `[ffn, hidden]`.
    Up,
    /// Down projection `[hidden, ffn]`.
    Down,
}

impl Tensor {
    /// The shape the configuration gives this weight, rows first.
    pub fn shape(self, config: &ModelConfig) -> Vec<usize> {
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match self {
            Tensor::Embedding | Tensor::Head => vec![config.vocab, config.hidden],
            Tensor::FinalNorm => vec![config.hidden],
            Tensor::Layer(_, part) => match part {
                LayerTensor::AttnNorm | LayerTensor::FfnNorm => vec![config.hidden],
                LayerTensor::Q => vec![q, config.hidden],
                LayerTensor::QBias => vec![q],
                LayerTensor::K | LayerTensor::V => vec![kv, config.hidden],
                LayerTensor::KBias | LayerTensor::VBias => vec![kv],
                LayerTensor::QNorm | LayerTensor::KNorm => vec![config.head_dim],
                LayerTensor::O => vec![config.hidden, q],
                LayerTensor::Gate | LayerTensor::Up => vec![config.ffn, config.hidden],
                LayerTensor::Down => vec![config.hidden, config.ffn],
            },
        }
    }
}

/// Every weight that the architecture of `config` has.
pub(crate) fn all_tensors(config: &ModelConfig) -> impl Iterator<Item = Tensor> {
    use LayerTensor::*;
    let mut parts = vec![AttnNorm, Q, K, V, O, FfnNorm, Gate, Up, Down];
    if config.qkv_bias {
        parts.extend([QBias, KBias, VBias]);
    }
    if config.qk_norm {
        parts.extend([QNorm, KNorm]);
    }
    // Lazy: the number of layers is a file's claim.
    let layers = (0..config.layers).flat_map(move |layer| parts.clone().into_iter().map(move |part| Tensor::Layer(layer, part)));
    [Tensor::Embedding, Tensor::Head, Tensor::FinalNorm].into_iter().chain(layers)
}

/// A model's configuration and weights. Weights are read when asked for, as many rows at a time as wanted.
pub trait Checkpoint: Send + Sync {
    /// The model's shape.
    fn config(&self) -> &ModelConfig;

    /// Some rows of one weight as f32 into `out`, `[rows, columns]`, in the half-split rotary order of Hugging Face. A
    /// vector is one row.
    ///
    /// # Errors
    /// The tensor is missing (biases and head norms of an architecture without them included), has the wrong shape,
    /// or cannot be read.
    ///
    /// # Panics
    /// When `rows` lies outside the weight or does not fill `out`.
    fn read_rows(&self, tensor: Tensor, rows: Range<usize>, out: &mut [f32]) -> Result<(), ModelError>;

    /// A whole weight as f32, row-major.
    ///
    /// # Errors
    /// As for [`Checkpoint::read_rows`].
    fn tensor(&self, tensor: Tensor) -> Result<Vec<f32>, ModelError> {
        let (rows, columns) = matrix(&tensor.shape(self.config()));
        let mut values = vec![0.0; rows * columns];
        self.read_rows(tensor, 0..rows, &mut values)?;
        Ok(values)
    }
}

/// Rows and columns of a weight's shape; a vector is one row.
pub(crate) fn matrix(shape: &[usize]) -> (usize, usize) {
    match *shape {
        [rows, columns] => (rows, columns),
        _ => (1, shape.iter().product()),
    }
}

/// Which part of a stored tensor `rows` are, in weights.
///
/// # Panics
/// When they lie outside a tensor of this shape or do not fill `out`.
pub(crate) fn part(shape: &[usize], rows: Range<usize>, out: &[f32]) -> usize {
    let (count, columns) = matrix(shape);
    assert!(rows.end <= count && out.len() == rows.len() * columns, "rows {rows:?} of {shape:?} into {}", out.len());
    rows.start * columns
}
