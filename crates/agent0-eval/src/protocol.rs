//! How a benchmark is asked (algorithm.md section 9): the presets, what the model is told, and how answers are drawn. Runs nothing.

use agent0_engine::Message;
use agent0_provision::sha256_text;
use agent0_rl::RolloutParams;
use serde::{Deserialize, Serialize};

use crate::benchmark::{Benchmark, Grading};
use crate::choice::with_options;
use crate::question::Question;

/// Benchmarks so small that one answer a question says little: they are scored by the mean over many answers.
const MEAN_OF_32: [&str; 3] = ["amc23", "aime24", "aime25"];

/// A named way to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// One greedy answer (pass@1); AMC and AIME by the mean of 32 answers sampled at temperature 1.
    Paper,
    /// One greedy answer everywhere. What a mean over 32 greedy answers comes to as well, since they are all alike here.
    Greedy,
    /// Answers sampled at temperature 1: 32 for AMC and AIME, 4 for the others.
    Sampled,
}

impl Preset {
    /// How many answers to a question of a benchmark are drawn, and at which temperature; `None` is a file of the user's.
    pub(crate) fn drawn(self, benchmark: Option<&Benchmark>) -> (usize, f32) {
        let small = benchmark.is_some_and(|benchmark| MEAN_OF_32.contains(&benchmark.name));
        match self {
            Self::Paper if small => (32, 1.0),
            Self::Paper | Self::Greedy => (1, 0.0),
            Self::Sampled => (if small { 32 } else { 4 }, 1.0),
        }
    }
}

/// What is asked for in place of the preset's own numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overrides {
    /// Answers a question.
    pub samples: Option<usize>,
    /// Temperature of all answers.
    pub temperature: Option<f32>,
    /// Most tokens sampled for one answer.
    pub max_tokens: Option<usize>,
    /// Most tool calls of one answer.
    pub max_turns: Option<usize>,
}

/// What the model is told: `{question}` stands for the question, with its options if it has some. An empty system turn is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvalPrompts {
    /// The system turn.
    pub system: String,
    /// The user turn.
    pub user: String,
}

impl EvalPrompts {
    /// What a model without a tool is told.
    pub fn without_tool() -> Self {
        // In the user's turn, which small models heed more than the system's.
        Self { system: String::new(), user: "{question}\n\nReason step by step. End with the final answer in \\boxed{}.".to_owned() }
    }

    /// The chat that puts a question.
    pub(crate) fn chat(&self, question: &Question) -> Vec<Message> {
        let asked =
            if question.choices.is_empty() { question.question.clone() } else { with_options(&question.question, &question.choices) };
        Message::chat(&self.system, &self.user.replace("{question}", asked.trim()))
    }

    /// SHA-256 of all that the model is told beside questions and options, lower-case hex.
    pub fn hash(&self) -> String {
        let options = with_options("{question}", &["{first}".to_owned(), "{second}".to_owned()]);
        sha256_text(&serde_json::json!([self.system, self.user, options]).to_string())
    }
}

/// How one benchmark is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// The preset it comes from.
    pub preset: Preset,
    /// Whether the model has its Python tool.
    pub tool: bool,
    /// Answers a question; the score of a question is the share of right ones.
    pub samples: usize,
    /// How one answer is drawn.
    pub rollout: RolloutParams,
    /// Root of the random streams: an answer depends on it, the question's id and the answer's number.
    pub seed: u64,
    /// What the model is told.
    pub prompts: EvalPrompts,
}

impl Protocol {
    /// The protocol of `preset` for a benchmark; `None` is a file of the user's.
    pub fn new(preset: Preset, benchmark: Option<&Benchmark>, tool: bool, prompts: EvalPrompts, seed: u64, overrides: &Overrides) -> Self {
        let (samples, temperature) = preset.drawn(benchmark);
        let rollout = RolloutParams {
            max_turns: overrides.max_turns.unwrap_or(4),
            max_tokens: overrides.max_tokens.unwrap_or(4096),
            temperature: overrides.temperature.unwrap_or(temperature),
            ..RolloutParams::default()
        };
        Self { preset, tool, samples: overrides.samples.unwrap_or(samples), rollout, seed, prompts }
    }
}

/// How the answers to a question are graded: as the benchmark says; in a file of the user's a question with options wants a letter.
pub fn grading_of(benchmark: Option<&Benchmark>, question: &Question) -> Grading {
    match benchmark {
        Some(benchmark) => benchmark.grading,
        None if question.choices.is_empty() => Grading::Math,
        None => Grading::Choice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::find_benchmark;

    fn protocol(preset: Preset, name: &str, overrides: &Overrides) -> Protocol {
        Protocol::new(preset, Some(find_benchmark(name).unwrap()), true, EvalPrompts::without_tool(), 0, overrides)
    }

    #[test]
    fn presets_are_those_of_the_paper() {
        let drawn = |preset, name| {
            let protocol = protocol(preset, name, &Overrides::default());
            (protocol.samples, protocol.rollout.temperature)
        };
        assert_eq!((drawn(Preset::Paper, "aime25"), drawn(Preset::Paper, "gsm8k")), ((32, 1.0), (1, 0.0)));
        assert_eq!((drawn(Preset::Greedy, "amc23"), drawn(Preset::Sampled, "bbeh")), ((1, 0.0), (4, 1.0)));
        let rollout = protocol(Preset::Paper, "gsm8k", &Overrides::default()).rollout;
        assert_eq!((rollout.max_turns, rollout.max_tokens, rollout.top_p, rollout.top_k), (4, 4096, 1.0, 0));
        let asked = Overrides { samples: Some(2), temperature: Some(0.6), max_tokens: Some(99), max_turns: Some(1) };
        let changed = protocol(Preset::Paper, "aime24", &asked);
        assert_eq!((changed.samples, changed.rollout.temperature, changed.rollout.max_tokens), (2, 0.6, 99));
    }

    #[test]
    fn questions_are_put_with_their_options() {
        let mut question = Question {
            id: "1".into(),
            question: "Which {question}?".into(),
            answer: "B".into(),
            choices: vec!["x".into(), "y".into()],
            subject: None,
        };
        let prompts = EvalPrompts { system: String::new(), user: "Now: {question}\nBox it.".into() };
        let chat = prompts.chat(&question);
        assert_eq!(chat.len(), 1, "no empty system turn");
        assert!(chat[0].content.starts_with("Now: Which {question}?\n\n(A) x\n(B) y\n"), "{}", chat[0].content);
        assert!(chat[0].content.ends_with("alone.\nBox it."));
        assert_eq!(grading_of(None, &question), Grading::Choice);
        question.choices.clear();
        assert_eq!(prompts.chat(&question)[0].content, "Now: Which {question}?\nBox it.");
        assert_eq!(grading_of(None, &question), Grading::Math);
        assert_ne!(prompts.hash(), EvalPrompts::without_tool().hash());
    }
}
