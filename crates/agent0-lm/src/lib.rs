//! The embedded engine: model files, tokenizer, transformer, LoRA, sampler, optimizer.

mod checkpoint;
mod config;
mod error;
mod gguf;
mod hf;

pub use checkpoint::{Checkpoint, LayerTensor, Tensor, open};
pub use config::{Architecture, ModelConfig};
pub use error::ModelError;
