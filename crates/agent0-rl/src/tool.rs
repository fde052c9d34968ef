//! The tool a trajectory may call, and what a model is told of a run.

use agent0_engine::{Codec, CodecError};
use async_trait::async_trait;

/// Something that runs a program a model wrote.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Runs `code`. A program that fails is a result, not an error.
    async fn call(&self, code: &str, seed: u64) -> Result<ToolResult, ToolError>;
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// What the model is shown.
    pub text: String,
    /// Whether the program ran to its end without an error.
    pub ok: bool,
}

/// The tool itself failed; the program may never have run.
#[derive(Debug, thiserror::Error)]
#[error("the tool could not run a program: {0}")]
pub struct ToolError(pub String);

/// Cuts `text` to about `limit` tokens: its head and its tail, with a line between them that says how much is missing.
pub(crate) fn shorten(codec: &dyn Codec, text: &str, limit: usize) -> Result<String, CodecError> {
    let ids = codec.encode(text)?;
    if ids.len() <= limit {
        return Ok(text.to_owned());
    }
    let marker = |missing: usize| format!("\n[... {missing} tokens cut ...]\n");
    let kept = limit.saturating_sub(codec.encode(&marker(ids.len()))?.len());
    let (head, tail) = (kept - kept / 2, kept / 2);
    let part = |ids| codec.decode(ids).trim_matches(char::REPLACEMENT_CHARACTER).to_owned();
    Ok(part(&ids[..head]) + &marker(ids.len() - kept) + &part(&ids[ids.len() - tail..]))
}
