//! The tool a trajectory may call, and what a model is told of a run.

use agent0_engine::{Codec, CodecError};
use agent0_sandbox::{Limits, Outcome, Sandbox, Status};
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

#[async_trait]
impl Tool for Sandbox {
    async fn call(&self, code: &str, seed: u64) -> Result<ToolResult, ToolError> {
        let outcome = self.run(code, seed).await.map_err(|error| ToolError(error.to_string()))?;
        Ok(ToolResult { text: told(&outcome, self.limits()), ok: outcome.status.is_success() })
    }
}

/// What a model is told of a run: its output, then the last line of the traceback, or in a sentence which limit ended it.
fn told(outcome: &Outcome, limits: &Limits) -> String {
    let trouble = match outcome.status {
        Status::Finished { code: 0 } => String::new(),
        Status::Finished { code } => {
            let last_line = outcome.stderr.trim_end().lines().next_back();
            last_line.map_or_else(|| format!("exit code {code}"), str::to_owned)
        }
        Status::CpuLimit => format!("killed: CPU limit {} s", limits.cpu_s),
        killed => killed.to_string(),
    };
    let told: Vec<&str> = [outcome.stdout.trim_end(), &trouble].into_iter().filter(|part| !part.is_empty()).collect();
    if told.is_empty() { "[no output]".to_owned() } else { told.join("\n") }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn told_of(status: Status, stdout: &str, stderr: &str) -> String {
        told(
            &Outcome { status, stdout: stdout.into(), stderr: stderr.into(), cpu_s: 0.0, wall_s: 0.0, peak_rss_bytes: 0 },
            &Limits::default(),
        )
    }

    #[test]
    fn what_a_model_is_told() {
        let ran = |code| Status::Finished { code };
        assert_eq!(told_of(ran(0), "  1\n2\n", "a warning\n"), "  1\n2");
        assert_eq!(told_of(ran(0), "\n", ""), "[no output]");
        assert_eq!(told_of(ran(1), "1\n", "Traceback:\n  File\nValueError: no\n\n"), "1\nValueError: no");
        assert_eq!(told_of(ran(3), "", ""), "exit code 3");
        let killed = told_of(Status::CpuLimit, "1\n", "");
        assert_eq!(killed, "1\nkilled: CPU limit 5 s");
    }
}
