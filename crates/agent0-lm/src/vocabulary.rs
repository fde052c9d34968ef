//! What model files say about tokens: vocabulary, chat template, which tokens end a turn. Reading is in `gguf_vocabulary.rs` and
//! `hf_vocabulary.rs`, encoding in `tokenizer.rs`.

use agent0_engine::TokenId;

use crate::chat::ControlToken;

/// What a model's files say about its tokens.
pub(crate) struct Vocabulary {
    /// The tokenizer without any control token.
    pub(crate) plain: tokenizers::Tokenizer,
    /// Tokens that are not made of ordinary text; ids are below `size`.
    pub(crate) controls: Vec<ControlToken>,
    /// Number of ids.
    pub(crate) size: usize,
    /// Whether tokens are written in GPT-2's byte alphabet, else in SentencePiece's.
    pub(crate) byte_level: bool,
    /// The chat template.
    pub(crate) template: Option<String>,
    /// Text of the token that begins a document.
    pub(crate) bos: String,
    /// Text of the token that ends a document or turn.
    pub(crate) eos: String,
    /// Tokens that end a turn.
    pub(crate) eos_ids: Vec<TokenId>,
}
