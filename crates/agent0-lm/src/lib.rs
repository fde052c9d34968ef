//! The embedded engine: model files, tokenizer, transformer, LoRA, sampler, optimizer.
