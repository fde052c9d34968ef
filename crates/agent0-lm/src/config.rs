//! The shape of a model, as read from its files. Says nothing of where the weights are.

pub use crate::frequencies::RopeScaling;
use crate::frequencies::inv_freq;

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
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// How they are stretched for long contexts.
    pub rope_scaling: RopeScaling,
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

/// No dimension of a real model comes near this; products of two stay far from overflow.
const LARGEST_DIMENSION: usize = 1 << 24;

impl ModelConfig {
    /// Checks dimensions, which come from a file and may say nonsense, and fills in the rotary frequencies.
    ///
    /// # Errors
    /// What makes the configuration impossible.
    pub(crate) fn finish(mut self) -> Result<Self, String> {
        let dimensions = [
            ("vocabulary", self.vocab),
            ("hidden size", self.hidden),
            ("number of layers", self.layers),
            ("number of heads", self.heads),
            ("number of key-value heads", self.kv_heads),
            ("head size", self.head_dim),
            ("feed-forward size", self.ffn),
            ("context length", self.context),
            ("number of tokens", self.tokens),
        ];
        if let Some((name, value)) = dimensions.into_iter().find(|&(_, value)| value == 0 || value > LARGEST_DIMENSION) {
            return Err(format!("the {name} is {value}"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} heads cannot share {} key-value heads", self.heads, self.kv_heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("the head size {} is odd", self.head_dim));
        }
        if self.tokens > self.vocab {
            return Err(format!("{} tokens but only {} embedding rows", self.tokens, self.vocab));
        }
        if !(self.rms_eps.is_finite() && self.rms_eps >= 0.0) {
            return Err(format!("the norm epsilon is {}", self.rms_eps));
        }
        self.inv_freq = inv_freq(self.rope_theta, self.head_dim, &self.rope_scaling);
        if self.inv_freq.len() != self.head_dim / 2 || !self.inv_freq.iter().all(|f| f.is_finite() && *f >= 0.0) {
            return Err("the rotary frequencies are not finite numbers".to_owned());
        }
        Ok(self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sound configuration.
    pub(crate) fn sample() -> ModelConfig {
        ModelConfig {
            name: "sample".to_owned(),
            architecture: Architecture::Qwen3,
            vocab: 160,
            tokens: 150,
            hidden: 64,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 32,
            ffn: 96,
            rms_eps: 1e-6,
            rope_theta: 1e6,
            rope_scaling: RopeScaling::None,
            inv_freq: Vec::new(),
            rope_attention_scale: 1.0,
            qkv_bias: false,
            qk_norm: true,
            tied_embedding: true,
            context: 512,
            hf_base: None,
        }
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_allocated() {
        let refuses = |change: fn(&mut ModelConfig), words: &str| {
            let mut config = sample();
            change(&mut config);
            let fault = config.finish().unwrap_err();
            assert!(fault.contains(words), "{fault}");
        };
        assert!(sample().finish().is_ok());
        refuses(|c| c.head_dim = usize::MAX, "head size");
        refuses(|c| c.head_dim = 31, "odd");
        refuses(|c| c.kv_heads = 0, "key-value");
        refuses(|c| c.kv_heads = 3, "cannot share");
        refuses(|c| c.tokens = 161, "embedding rows");
        refuses(|c| c.rms_eps = f32::NAN, "epsilon");
        refuses(|c| c.rope_theta = f32::NAN, "rotary");
        refuses(|c| c.rope_scaling = RopeScaling::Divisors(vec![0.0; 16]), "rotary");
    }
}
