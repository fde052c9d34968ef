//! The embedded engine: model files, tokenizer, transformer, LoRA, sampler, optimizer.
//!
//! [`open`] reads a model's files into a [`Checkpoint`]; [`Tokenizer`] turns text into ids; [`LocalEngine`] samples from the
//! model and trains LoRA adapters on it; [`export_model`] and [`export_adapter`] write what was trained for other programs. One
//! forward pass (`forward.rs`) serves sampling and training alike; its gradient (`train.rs`) is written by hand. Knows token ids
//! and loss coefficients, and nothing of tasks, rewards or methods.

mod blocks;
mod chat;
mod checkpoint;
mod config;
mod error;
mod export;
mod files;
mod forward;
mod frequencies;
mod gguf;
mod gguf_model;
mod gguf_vocabulary;
mod head;
mod hf;
mod hf_json;
mod hf_vocabulary;
mod kv;
mod local;
mod lora;
mod memory;
mod merge;
mod micro_batch;
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

pub use checkpoint::{Checkpoint, LayerTensor, Tensor};
pub use config::{Architecture, ModelConfig, RopeScaling};
pub use error::ModelError;
pub use export::{Base, Export, ExportError, Exported, WeightFormat, export_adapter, export_model};
pub use files::open;
pub use local::{LocalEngine, LocalOptions};
pub use tokenizer::Tokenizer;
