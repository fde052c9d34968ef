//! A model in a GGUF file: configuration from the metadata, weights under their llama.cpp names.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use crate::checkpoint::{Checkpoint, LayerTensor, Tensor, all_tensors};
use crate::config::{Architecture, ModelConfig};
use crate::error::ModelError;
use crate::frequencies::RopeScaling;
use crate::gguf::{GgufFile, Value};
use crate::gguf_vocabulary::UNUSED_TOKEN;

const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";
const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// A model in a GGUF file.
pub(crate) struct GgufModel {
    file: GgufFile,
    config: ModelConfig,
}

impl GgufModel {
    /// Reads the header and checks that all weights are there.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let file = GgufFile::open(path)?;
        let mut model = Self { config: read_config(&file)?, file };
        for tensor in all_tensors(&model.config) {
            model.file.check(&model.name(tensor), &tensor.shape(&model.config))?;
        }
        model.refuse_other_biases()?;
        model.config.tied_embedding = model.is_tied()?;
        Ok(model)
    }

    /// A bias that the architecture does not have here would be missing from every result, unnoticed.
    fn refuse_other_biases(&self) -> Result<(), ModelError> {
        let known: BTreeSet<String> = all_tensors(&self.config).map(|tensor| self.name(tensor)).collect();
        match self.file.tensor_names().find(|name| name.ends_with(".bias") && !known.contains(*name)) {
            Some(name) => Err(ModelError::unsupported(self.file.path(), format!("tensor {name:?}"), "use a model without this bias")),
            None => Ok(()),
        }
    }

    /// Whether head and embedding are one matrix: quantisers may store a tied matrix twice, in different formats.
    fn is_tied(&self) -> Result<bool, ModelError> {
        if self.file.tensor(HEAD).is_none() {
            return Ok(true);
        }
        const SAMPLES: usize = 16;
        let shape = [self.config.vocab, self.config.hidden];
        let (mut head, mut embedding) = (vec![0.0; self.config.hidden], vec![0.0; self.config.hidden]);
        let (mut dot, mut head_norm, mut embedding_norm) = (0.0, 0.0, 0.0);
        for i in 0..SAMPLES {
            let row = i * self.config.tokens / SAMPLES;
            self.file.read_rows(HEAD, &shape, row..row + 1, &mut head)?;
            self.file.read_rows(EMBEDDING, &shape, row..row + 1, &mut embedding)?;
            for (&h, &e) in head.iter().zip(&embedding) {
                dot += f64::from(h) * f64::from(e);
                head_norm += f64::from(h) * f64::from(h);
                embedding_norm += f64::from(e) * f64::from(e);
            }
        }
        // Copies of one matrix, however coarse, correlate by more than 0.9; matrices trained apart by next to nothing.
        Ok(dot > 0.7 * (head_norm * embedding_norm).sqrt())
    }

    /// The name of a weight in the file. Of a tied model's two copies the head's is the finer one.
    fn name(&self, tensor: Tensor) -> String {
        match tensor {
            Tensor::Embedding if self.config.tied_embedding && self.file.tensor(HEAD).is_some() => HEAD.to_owned(),
            Tensor::Head if self.file.tensor(HEAD).is_some() => HEAD.to_owned(),
            Tensor::Embedding | Tensor::Head => EMBEDDING.to_owned(),
            Tensor::FinalNorm => "output_norm.weight".to_owned(),
            Tensor::Layer(layer, part) => format!("blk.{layer}.{}", part_name(part)),
        }
    }
}

impl Checkpoint for GgufModel {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn read_rows(&self, tensor: Tensor, rows: Range<usize>, out: &mut [f32]) -> Result<(), ModelError> {
        let (name, shape) = (self.name(tensor), tensor.shape(&self.config));
        if self.config.architecture == Architecture::Llama && matches!(tensor, Tensor::Layer(_, LayerTensor::Q | LayerTensor::K)) {
            for (row, out) in rows.zip(out.chunks_exact_mut(self.config.hidden)) {
                let stored = interleaved(row, self.config.head_dim);
                self.file.read_rows(&name, &shape, stored..stored + 1, out)?;
            }
            return Ok(());
        }
        self.file.read_rows(&name, &shape, rows, out)
    }
}

fn part_name(part: LayerTensor) -> &'static str {
    match part {
        LayerTensor::AttnNorm => "attn_norm.weight",
        LayerTensor::Q => "attn_q.weight",
        LayerTensor::QBias => "attn_q.bias",
        LayerTensor::K => "attn_k.weight",
        LayerTensor::KBias => "attn_k.bias",
        LayerTensor::V => "attn_v.weight",
        LayerTensor::VBias => "attn_v.bias",
        LayerTensor::QNorm => "attn_q_norm.weight",
        LayerTensor::KNorm => "attn_k_norm.weight",
        LayerTensor::O => "attn_output.weight",
        LayerTensor::FfnNorm => "ffn_norm.weight",
        LayerTensor::Gate => "ffn_gate.weight",
        LayerTensor::Up => "ffn_up.weight",
        LayerTensor::Down => "ffn_down.weight",
    }
}

/// Where the file has row `row` of a llama query or key matrix: llama.cpp interleaves the two rotary halves of each head,
/// row `i` of half `h` becomes row `2i + h`.
fn interleaved(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    let (half, i) = (within / (head_dim / 2), within % (head_dim / 2));
    head * head_dim + 2 * i + half
}

fn read_config(file: &GgufFile) -> Result<ModelConfig, ModelError> {
    let path = file.path();
    let name = file.string("general.architecture").ok_or_else(|| ModelError::damaged(path, "general.architecture is missing"))?;
    let architecture = Architecture::from_name(name).ok_or_else(|| ModelError::architecture(path, name))?;
    let key = |key: &str| format!("{}.{key}", architecture.name());
    let required = |of: &str| {
        file.integer(&key(of)).ok_or_else(|| ModelError::damaged(path, format!("metadata {:?} is missing or no number", key(of))))
    };

    let hidden = required("embedding_length")?;
    let heads = required("attention.head_count")?;
    let head_dim = file.integer(&key("attention.key_length")).unwrap_or(hidden / heads.max(1));
    for of in ["attention.value_length", "rope.dimension_count"] {
        if let Some(found) = file.integer(&key(of)).filter(|&found| found != head_dim) {
            return Err(ModelError::unsupported(path, format!("{} of {found} with heads of {head_dim}", key(of)), "use another model"));
        }
    }
    if file.integer(&key("expert_count")).is_some_and(|experts| experts > 0) {
        return Err(ModelError::unsupported(path, "a mixture of experts", "use a dense model"));
    }
    let vocab = match file.tensor(EMBEDDING).map(|info| info.shape.as_slice()) {
        Some(&[rows, _]) => rows,
        _ => return Err(ModelError::MissingTensor { path: path.to_owned(), tensor: EMBEDDING.to_owned() }),
    };
    let config = ModelConfig {
        name: path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
        architecture,
        vocab,
        tokens: count_tokens(file).unwrap_or(vocab),
        hidden,
        layers: required("block_count")?,
        heads,
        kv_heads: file.integer(&key("attention.head_count_kv")).unwrap_or(heads),
        head_dim,
        ffn: required("feed_forward_length")?,
        rms_eps: file
            .float(&key("attention.layer_norm_rms_epsilon"))
            .ok_or_else(|| ModelError::damaged(path, "the norm epsilon is missing"))?,
        rope_theta: file.float(&key("rope.freq_base")).unwrap_or(10_000.0),
        rope_scaling: read_scaling(file, architecture, head_dim)?,
        inv_freq: Vec::new(),
        rope_attention_scale: 1.0,
        qkv_bias: architecture == Architecture::Qwen2,
        qk_norm: architecture == Architecture::Qwen3,
        tied_embedding: false,
        context: required("context_length")?,
        hf_base: file.string("general.source.huggingface.repository").map(str::to_owned),
    };
    config.finish().map_err(|fault| ModelError::damaged(path, fault))
}

fn read_scaling(file: &GgufFile, architecture: Architecture, head_dim: usize) -> Result<RopeScaling, ModelError> {
    let key = |key: &str| format!("{}.rope.{key}", architecture.name());
    let divisors = match file.tensor(ROPE_DIVISORS) {
        Some(_) => Some(file.read(ROPE_DIVISORS, &[head_dim / 2])?),
        None => None,
    };
    match (file.string(&key("scaling.type")).unwrap_or("none"), divisors) {
        ("none", None) => Ok(RopeScaling::None),
        ("none", Some(divisors)) => Ok(RopeScaling::Divisors(divisors)),
        ("linear", None) => Ok(RopeScaling::Linear(file.float(&key("scaling.factor")).unwrap_or(1.0))),
        (other, _) => Err(ModelError::rope_scaling(file.path(), other)),
    }
}

/// Tokens of the vocabulary without the padding at its end.
fn count_tokens(file: &GgufFile) -> Option<usize> {
    match file.value("tokenizer.ggml.token_type") {
        Some(Value::Ints(kinds)) => kinds.iter().rposition(|&kind| kind != UNUSED_TOKEN).map(|last| last + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_rotary_halves_are_found_between_one_another() {
        // Two heads of four rows.
        let stored: Vec<usize> = (0..8).map(|row| interleaved(row, 4)).collect();
        assert_eq!(stored, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
