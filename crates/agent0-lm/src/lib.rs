//! The embedded engine: model files, tokenizer, transformer, LoRA, sampler, optimizer.

mod blocks;
mod chat;
mod checkpoint;
mod config;
mod error;
mod forward;
mod frequencies;
mod gguf;
mod gguf_model;
mod head;
mod hf;
mod kv;
mod local;
mod lora;
mod model;
mod optimizer;
#[cfg(test)]
mod parity_tests;
mod peft;
mod rng;
mod sampler;
mod scheduler;
mod tokenizer;
mod train;
mod vocabulary;

pub use checkpoint::{Checkpoint, LayerTensor, Tensor, open};
pub use config::{Architecture, ModelConfig};
pub use error::ModelError;
pub use local::{LocalEngine, LocalOptions};
pub use tokenizer::Tokenizer;
