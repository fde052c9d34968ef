//! One attempt as token ids: what was sampled, what the environment said, and how it ended.

use agent0_engine::{Codec, TokenId};
use serde::{Deserialize, Serialize};

/// One attempt at a task. `ids`, `sampled` and `logprobs` are equally long and aligned.
///
/// Token-level truth (algorithm.md section 1): the ids are exactly those that were sampled or injected; text is never
/// tokenised again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    /// The prompt, then sampled and environment tokens in turn.
    pub ids: Vec<TokenId>,
    /// How many of `ids` are the prompt.
    pub prompt_len: usize,
    /// True where the policy chose the token; false for prompt and environment.
    pub sampled: Vec<bool>,
    /// Log-probability at sampling time; 0 where not sampled.
    pub logprobs: Vec<f32>,
    /// The tool calls that were run, in order.
    pub tool_calls: Vec<ToolCall>,
    /// Tokens that were sampled and then cut away, because they began an invented tool result.
    pub dropped: usize,
    /// Why it ended.
    pub ending: Ending,
    /// Content of the `\boxed{...}` that ended it.
    pub answer: Option<String>,
}

/// A python block that was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The program.
    pub code: String,
    /// The result as the model saw it.
    pub output: String,
    /// Whether the program ran to its end without an error.
    pub ok: bool,
}

/// Why a trajectory ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// An answer was given.
    Boxed,
    /// The model ended its turn without an answer.
    Stop,
    /// The token budget ran out.
    Budget,
    /// The model's context was full.
    Context,
}

impl Trajectory {
    /// A trajectory of which only the prompt exists.
    pub(crate) fn new(prompt: &[TokenId]) -> Self {
        Self {
            ids: prompt.to_vec(),
            prompt_len: prompt.len(),
            sampled: vec![false; prompt.len()],
            logprobs: vec![0.0; prompt.len()],
            tool_calls: Vec::new(),
            dropped: 0,
            ending: Ending::Budget,
            answer: None,
        }
    }

    /// This trajectory, over for that reason.
    pub(crate) fn ended(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    /// How many tokens the policy chose.
    pub fn sampled_tokens(&self) -> usize {
        self.sampled.iter().filter(|&&sampled| sampled).count()
    }

    /// All that follows the prompt, as text.
    pub fn text(&self, codec: &dyn Codec) -> String {
        codec.decode(&self.ids[self.prompt_len..])
    }

    /// Appends tokens that the policy chose. Surplus entries of the longer slice are ignored.
    pub(crate) fn push_sampled(&mut self, ids: &[TokenId], logprobs: &[f32]) {
        for (&id, &logprob) in ids.iter().zip(logprobs) {
            self.ids.push(id);
            self.sampled.push(true);
            self.logprobs.push(logprob);
        }
    }

    /// Appends tokens that the environment put in: no loss, no KL.
    pub(crate) fn push_environment(&mut self, ids: &[TokenId]) {
        self.ids.extend_from_slice(ids);
        self.sampled.resize(self.ids.len(), false);
        self.logprobs.resize(self.ids.len(), 0.0);
    }
}
