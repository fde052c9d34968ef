//! A model in a Hugging Face folder: config.json and safetensors. Reads no other file, pickled weights least of all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;

use crate::blocks::BlockType;
use crate::checkpoint::{Checkpoint, LayerTensor, Tensor, all_tensors, part};
use crate::config::{Architecture, ModelConfig};
use crate::error::ModelError;
use crate::frequencies::RopeScaling;
use crate::hf_json::{MAX_JSON, read_json};
use crate::hf_vocabulary::count_tokens;

/// A model in a Hugging Face folder.
pub(crate) struct HfFolder {
    folder: PathBuf,
    config: ModelConfig,
    shards: Vec<Shard>,
}

/// One safetensors file.
struct Shard {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where the tensors' data start, in bytes.
    data: u64,
}

impl HfFolder {
    /// Reads configuration and headers and checks that all weights are there.
    pub(crate) fn open(folder: &Path) -> Result<Self, ModelError> {
        let config_path = folder.join("config.json");
        let raw: RawConfig = read_json(&config_path)?
            .ok_or_else(|| ModelError::NotAModel { path: folder.to_owned(), cause: "the folder has no config.json".to_owned() })?;
        let shards = shard_paths(folder)?.iter().map(|path| Shard::open(path)).collect::<Result<Vec<_>, _>>()?;
        let tokens = count_tokens(folder)?;
        let has_head = shards.iter().any(|shard| shard.metadata.info("lm_head.weight").is_some());
        let mut config = raw.resolve(&config_path, tokens, has_head)?;
        config.hf_base = hub_name(folder).or(config.hf_base);
        config.name = match &config.hf_base {
            Some(base) => base.rsplit('/').next().unwrap_or(base).to_owned(),
            None => folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        };
        let model = Self { folder: folder.to_owned(), config, shards };
        for tensor in all_tensors(&model.config) {
            model.locate(tensor)?;
        }
        Ok(model)
    }

    fn locate(&self, tensor: Tensor) -> Result<(&Shard, BlockType, u64), ModelError> {
        let name = name(tensor, self.config.tied_embedding);
        let found = self.shards.iter().find_map(|shard| Some((shard, shard.metadata.info(&name)?)));
        let (shard, info) = found.ok_or_else(|| ModelError::MissingTensor { path: self.folder.clone(), tensor: name.clone() })?;
        let expected = tensor.shape(&self.config);
        if info.shape != expected {
            return Err(ModelError::Shape { path: shard.path.clone(), tensor: name, found: info.shape.clone(), expected });
        }
        let kind = match info.dtype {
            Dtype::F32 => BlockType::F32,
            Dtype::F16 => BlockType::F16,
            Dtype::BF16 => BlockType::Bf16,
            other => {
                let what = format!("tensor {name:?} in number format {other:?}");
                return Err(ModelError::unsupported(&shard.path, what, "use the F32, F16 or BF16 weights, or a GGUF file"));
            }
        };
        // Offsets were checked against shape, number format and file length when the shard was opened.
        Ok((shard, kind, shard.data + info.data_offsets.0 as u64))
    }
}

impl Checkpoint for HfFolder {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn read_rows(&self, tensor: Tensor, rows: Range<usize>, out: &mut [f32]) -> Result<(), ModelError> {
        let (shard, kind, offset) = self.locate(tensor)?;
        // These formats have blocks of one weight.
        let first = (part(&tensor.shape(&self.config), rows, out) * kind.bytes()) as u64;
        kind.read(&shard.file, offset + first, out).map_err(|e| ModelError::io(&shard.path, e))
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self, ModelError> {
        let mut file = File::open(path).map_err(|e| ModelError::io(path, e))?;
        let length = file.metadata().map_err(|e| ModelError::io(path, e))?.len();
        let mut start = [0; 8];
        file.read_exact(&mut start).map_err(|_| ModelError::damaged(path, "the file ends inside its header"))?;
        let header_length = u64::from_le_bytes(start);
        if header_length > MAX_JSON.min(length - 8) {
            return Err(ModelError::damaged(path, format!("a header of {header_length} bytes in a file of {length}")));
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(|e| ModelError::io(path, e))?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|e| ModelError::damaged(path, format!("safetensors header: {e}")))?;
        let data = 8 + header_length;
        if metadata.data_len() as u64 > length - data {
            return Err(ModelError::damaged(path, "the file ends before its tensors do"));
        }
        Ok(Self { path: path.to_owned(), file, metadata, data })
    }
}

/// The name of a weight in the files.
pub(crate) fn name(tensor: Tensor, tied: bool) -> String {
    match tensor {
        Tensor::Head if !tied => "lm_head.weight".to_owned(),
        Tensor::Embedding | Tensor::Head => "model.embed_tokens.weight".to_owned(),
        Tensor::FinalNorm => "model.norm.weight".to_owned(),
        Tensor::Layer(layer, part) => {
            let part = match part {
                LayerTensor::AttnNorm => "input_layernorm.weight",
                LayerTensor::Q => "self_attn.q_proj.weight",
                LayerTensor::QBias => "self_attn.q_proj.bias",
                LayerTensor::K => "self_attn.k_proj.weight",
                LayerTensor::KBias => "self_attn.k_proj.bias",
                LayerTensor::V => "self_attn.v_proj.weight",
                LayerTensor::VBias => "self_attn.v_proj.bias",
                LayerTensor::QNorm => "self_attn.q_norm.weight",
                LayerTensor::KNorm => "self_attn.k_norm.weight",
                LayerTensor::O => "self_attn.o_proj.weight",
                LayerTensor::FfnNorm => "post_attention_layernorm.weight",
                LayerTensor::Gate => "mlp.gate_proj.weight",
                LayerTensor::Up => "mlp.up_proj.weight",
                LayerTensor::Down => "mlp.down_proj.weight",
            };
            format!("model.layers.{layer}.{part}")
        }
    }
}

/// The weight files: those of the index, else the single one.
fn shard_paths(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index_path = folder.join("model.safetensors.index.json");
    let Some(index) = read_json::<Index>(&index_path)? else {
        let single = folder.join("model.safetensors");
        if !single.exists() {
            let cause = "the folder has neither model.safetensors nor model.safetensors.index.json".to_owned();
            return Err(ModelError::NotAModel { path: folder.to_owned(), cause });
        }
        return Ok(vec![single]);
    };
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    if let Some(name) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
        return Err(ModelError::damaged(&index_path, format!("{name:?} is not a plain file name")));
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// `org/model` when the folder lies in a cache of the Hugging Face hub (`models--org--model/snapshots/...`).
fn hub_name(folder: &Path) -> Option<String> {
    let parts = folder.components().rev().filter_map(|part| part.as_os_str().to_str());
    let (org, model) = parts.take(3).find_map(|part| part.strip_prefix("models--"))?.split_once("--")?;
    Some(format!("{org}/{model}"))
}

/// config.json as transformers writes it, of version 5 (`rope_parameters`) and before.
#[derive(Deserialize)]
struct RawConfig {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: usize,
    rms_norm_eps: f32,
    max_position_embeddings: usize,
    tie_word_embeddings: Option<bool>,
    hidden_act: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    partial_rotary_factor: Option<f32>,
    quantization_config: Option<serde_json::Value>,
    rope_theta: Option<f32>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    #[serde(rename = "_name_or_path")]
    name_or_path: Option<String>,
}

#[derive(Deserialize)]
struct RawRope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<f32>,
}

impl RawConfig {
    fn resolve(self, path: &Path, tokens: Option<usize>, has_head: bool) -> Result<ModelConfig, ModelError> {
        let architecture = Architecture::from_name(&self.model_type).ok_or_else(|| ModelError::architecture(path, &self.model_type))?;
        self.refuse_variants(path)?;
        let rope = self.rope_parameters.or(self.rope_scaling);
        let theta = rope.as_ref().and_then(|rope| rope.rope_theta).or(self.rope_theta).unwrap_or(10_000.0);
        let scaling = rope.map_or(Ok(RopeScaling::None), |rope| rope.resolve(path))?;
        let config = ModelConfig {
            name: String::new(),
            architecture,
            vocab: self.vocab_size,
            tokens: tokens.unwrap_or(self.vocab_size).min(self.vocab_size),
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            kv_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_dim: self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1)),
            ffn: self.intermediate_size,
            rms_eps: self.rms_norm_eps,
            rope_theta: theta,
            rope_scaling: scaling,
            inv_freq: Vec::new(),
            rope_attention_scale: 1.0,
            qkv_bias: architecture == Architecture::Qwen2,
            qk_norm: architecture == Architecture::Qwen3,
            tied_embedding: self.tie_word_embeddings.unwrap_or(!has_head),
            context: self.max_position_embeddings,
            hf_base: self.name_or_path.filter(|name| name.split('/').count() == 2 && !name.starts_with(['.', '/'])),
        };
        config.finish().map_err(|fault| ModelError::damaged(path, fault))
    }

    fn refuse_variants(&self, path: &Path) -> Result<(), ModelError> {
        let activation = self.hidden_act.as_deref().unwrap_or("silu");
        let variants = [
            (activation != "silu", format!("activation {activation:?}")),
            (self.attention_bias, "attention_bias".to_owned()),
            (self.mlp_bias, "mlp_bias".to_owned()),
            (self.use_sliding_window, "sliding-window attention".to_owned()),
            (self.partial_rotary_factor.is_some_and(|share| share != 1.0), "partial_rotary_factor".to_owned()),
        ];
        if let Some((_, what)) = variants.into_iter().find(|(present, _)| *present) {
            return Err(ModelError::unsupported(path, what, "use a plain llama, qwen2 or qwen3 model"));
        }
        if self.quantization_config.is_some() {
            return Err(ModelError::unsupported(path, "a quantised safetensors folder", "use the unquantised weights, or a GGUF file"));
        }
        Ok(())
    }
}

impl RawRope {
    fn resolve(self, path: &Path) -> Result<RopeScaling, ModelError> {
        let need = |value: Option<f32>, name: &str| {
            value.filter(|v| v.is_finite() && *v > 0.0).ok_or_else(|| ModelError::damaged(path, format!("rotary scaling without {name}")))
        };
        match self.rope_type.as_deref().unwrap_or("default") {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear(need(self.factor, "factor")?)),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: need(self.factor, "factor")?,
                low_freq_factor: need(self.low_freq_factor, "low_freq_factor")?,
                high_freq_factor: need(self.high_freq_factor, "high_freq_factor")?,
                original_context: need(self.original_max_position_embeddings, "original_max_position_embeddings")?,
            }),
            other => Err(ModelError::rope_scaling(path, other)),
        }
    }
}
