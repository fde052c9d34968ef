//! The shape of a model, as read from its files. Says nothing of where the weights are.

/// The decoder families that the engine computes. They share RMS norm, rotary positions, grouped-query attention and SwiGLU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama and its kin: no biases.
    Llama,
    /// Qwen2 and Qwen2.5: biases on the q, k and v projections.
    Qwen2,
    /// Qwen3: RMS norm of each query and key head.
    Qwen3,
}

impl Architecture {
    /// The family of a `model_type` (Hugging Face) or `general.architecture` (GGUF).
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "llama" => Some(Self::Llama),
            "qwen2" => Some(Self::Qwen2),
            "qwen3" => Some(Self::Qwen3),
            _ => None,
        }
    }

    /// The name that both file kinds use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// Everything the transformer needs to know beside the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// A name for reports.
    pub name: String,
    /// The decoder family.
    pub architecture: Architecture,
    /// Rows of the embedding matrix.
    pub vocab: usize,
    /// Real tokens: ids at or above this are padding and must be masked when sampling. At most `vocab`.
    pub tokens: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; `heads * head_dim` need not be `hidden`.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Added to the mean square in RMS norms.
    pub rms_eps: f32,
    /// Rotary frequencies `[head_dim / 2]`, in radians per position, any scaling applied.
    pub inv_freq: Vec<f32>,
    /// Factor on the rotary cosines and sines.
    pub rope_attention_scale: f32,
    /// Whether q, k and v projections have biases.
    pub qkv_bias: bool,
    /// Whether each query and key head is RMS-normalised.
    pub qk_norm: bool,
    /// Whether the head's weights are the embedding's.
    pub tied_embedding: bool,
    /// Longest sequence the model was made for, in tokens.
    pub context: usize,
    /// The Hugging Face name of the model, when the files tell it; goes into saved adapters.
    pub hf_base: Option<String>,
}
