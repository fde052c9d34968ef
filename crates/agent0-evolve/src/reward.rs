//! What a generated task is worth to the curriculum agent (algorithm.md section 3): whether it is a task at all, how
//! unsure the executor is about it, how much it makes the executor use its tool, and how much it repeats its batch.

use serde::{Deserialize, Serialize};

use crate::cluster::{THRESHOLD, cluster_texts};

/// A task in the curriculum agent's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The task.
    pub question: String,
    /// The proposer's own answer: recorded, never trusted.
    pub answer: String,
}

/// The task in `text`: its last `<question>...</question>`, which a `\boxed{...}` must follow. `None`, the format gate
/// R_fmt = 0, when a part is missing or the question is empty.
pub fn proposal(text: &str) -> Option<Proposal> {
    let (question, rest) = last_question(text)?;
    let answer = agent0_answers::boxed(rest)?;
    (!question.is_empty()).then(|| Proposal { question: question.to_owned(), answer: answer.trim().to_owned() })
}

/// Content of the last closed question element, trimmed, and what follows it.
fn last_question(text: &str) -> Option<(&str, &str)> {
    const OPEN: &str = "<question>";
    const CLOSE: &str = "</question>";
    text.rmatch_indices(CLOSE).find_map(|(end, _)| {
        let start = text[..end].rfind(OPEN)? + OPEN.len();
        let question = &text[start..end];
        (!question.contains(CLOSE)).then(|| (question.trim(), &text[end + CLOSE.len()..]))
    })
}

/// How the parts become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    /// `R_fmt * max(0, lambda_unc R_unc + lambda_tool R_tool - R_rep)` with `R_unc` rising from 0 at `p^ = 0` to 1 at the peak, and
    /// falling to 0 at `p^ = 1`: at the paper's peak of 1/2, `1 - 2 |p^ - 1/2|`.
    #[default]
    Paper,
    /// `lambda_unc R_unc + lambda_tool R_tool - R_rep` with `R_unc = min(p^, 1 - p^)`; -1 for what fails the gate.
    Code,
}

/// Coefficients of the curriculum reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardParams {
    /// How the parts become one number.
    pub formula: Formula,
    /// Weight of the uncertainty.
    pub lambda_unc: f64,
    /// The self-consistency that is worth most, in (0, 1); the formula of the released code has its own, 1/2.
    pub peak: f64,
    /// Weight of the tool use.
    pub lambda_tool: f64,
    /// Tool use per call.
    pub gamma: f64,
    /// Calls of one trajectory that count at most, C.
    pub tool_cap: usize,
    /// Weight of the repetition.
    pub lambda_rep: f64,
}

impl Default for RewardParams {
    fn default() -> Self {
        Self::paper()
    }
}

impl RewardParams {
    /// The paper's reward.
    pub fn paper() -> Self {
        Self { formula: Formula::Paper, lambda_unc: 1.0, peak: 0.5, lambda_tool: 1.0, gamma: 0.1, tool_cap: 4, lambda_rep: 1.0 }
    }

    /// The reward of the authors' released code, without its faults.
    pub fn code() -> Self {
        Self { formula: Formula::Code, gamma: 0.05, ..Self::paper() }
    }

    /// The factors by name, none of which may be negative.
    pub fn factors(&self) -> [(&'static str, f64); 4] {
        [("lambda_unc", self.lambda_unc), ("lambda_tool", self.lambda_tool), ("gamma", self.gamma), ("lambda_rep", self.lambda_rep)]
    }

    /// R_unc of a task with self-consistency `p_hat`.
    fn uncertainty(&self, p_hat: f64) -> f64 {
        match self.formula {
            Formula::Paper if p_hat <= self.peak => p_hat / self.peak,
            Formula::Paper => (1.0 - p_hat) / (1.0 - self.peak),
            Formula::Code => p_hat.min(1.0 - p_hat),
        }
    }

    /// R_tool of a task, from the tool calls of each executor trajectory.
    fn tool(&self, tool_calls: &[usize]) -> f64 {
        let counted: usize = tool_calls.iter().map(|&calls| calls.min(self.tool_cap)).sum();
        self.gamma * counted as f64 / tool_calls.len().max(1) as f64
    }

    /// R_C of a task that passed the format gate.
    fn composite(&self, uncertainty: f64, tool: f64, repetition: f64) -> f64 {
        let sum = self.lambda_unc * uncertainty + self.lambda_tool * tool - repetition;
        match self.formula {
            Formula::Paper => sum.max(0.0),
            Formula::Code => sum,
        }
    }

    /// The parts of what failed the format gate. It is in no cluster.
    fn rejected(&self) -> RewardParts {
        let composite = match self.formula {
            Formula::Paper => 0.0,
            Formula::Code => -1.0,
        };
        RewardParts { composite, ..RewardParts::default() }
    }
}

/// A task that passed the format gate, and what the frozen executor made of it.
#[derive(Debug, Clone, Copy)]
pub struct Attempted<'a> {
    /// The task.
    pub question: &'a str,
    /// Self-consistency of the executor's answers.
    pub p_hat: f64,
    /// Tool calls of each executor trajectory.
    pub tool_calls: &'a [usize],
}

/// The curriculum reward of one generated task.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RewardParts {
    /// R_fmt: 1 when it passed the format gate, else 0 and all parts below are 0.
    pub format: f64,
    /// R_unc.
    pub uncertainty: f64,
    /// R_tool.
    pub tool: f64,
    /// R_rep.
    pub repetition: f64,
    /// R_C, the reward.
    pub composite: f64,
    /// Tasks of the batch that say the same, this one included.
    pub cluster_size: usize,
}

/// Rewards of a batch of generated tasks, in order; `None` is one that failed the format gate. Tasks that say the same
/// share a penalty that grows with their number.
pub fn rewards(batch: &[Option<Attempted>], params: &RewardParams) -> Vec<RewardParts> {
    let sizes = cluster_sizes(batch);
    batch
        .iter()
        .zip(sizes)
        .map(|(task, size)| task.map_or_else(|| params.rejected(), |task| reward(&task, size, batch.len(), params)))
        .collect()
}

/// The reward of a task that shares its cluster with `cluster_size - 1` others of `batch` tasks.
fn reward(task: &Attempted, cluster_size: usize, batch: usize, params: &RewardParams) -> RewardParts {
    let uncertainty = params.uncertainty(task.p_hat);
    let tool = params.tool(task.tool_calls);
    let repetition = params.lambda_rep * cluster_size as f64 / batch as f64;
    let composite = params.composite(uncertainty, tool, repetition);
    RewardParts { format: 1.0, uncertainty, tool, repetition, composite, cluster_size }
}

/// How many tasks each task's cluster holds; 0 for those that failed the gate.
fn cluster_sizes(batch: &[Option<Attempted>]) -> Vec<usize> {
    let gated_in: Vec<usize> = (0..batch.len()).filter(|&i| batch[i].is_some()).collect();
    let questions: Vec<&str> = batch.iter().flatten().map(|task| task.question).collect();
    let labels = cluster_texts(&questions, THRESHOLD);
    let mut sizes = vec![0; batch.len()];
    for (&i, label) in gated_in.iter().zip(&labels) {
        sizes[i] = labels.iter().filter(|&other| other == label).count();
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(text: &str) -> Option<&str> {
        last_question(text).map(|(question, _)| question)
    }

    #[test]
    fn the_last_closed_question_counts() {
        assert_eq!(question("<question> a </question> <question>b</question>"), Some("b"));
        assert_eq!(question("<question>a</question> <question>b"), Some("a"));
        assert_eq!(question("<question>a</question> b</question>"), Some("a"));
        assert_eq!(question("<question> <question>a</question>"), Some("a"));
        assert_eq!(question("a</question> <question>"), None);
        assert_eq!(question(""), None);
    }

    #[test]
    fn a_box_must_follow_the_question() {
        let text = "<question>What is 1 + 1?</question>\n\\boxed{ 2 }";
        assert_eq!(proposal(text), Some(Proposal { question: "What is 1 + 1?".into(), answer: "2".into() }));
        assert_eq!(proposal("<question>\\boxed{2}</question>"), None);
        assert_eq!(proposal("\\boxed{2} <question>a</question>"), None);
        assert_eq!(proposal("<question> </question> \\boxed{2}"), None);
        assert_eq!(proposal("<question>a</question><question></question>\\boxed{2}"), None, "the last question is empty");
    }

    #[test]
    fn what_fails_the_gate_counts_in_the_batch_but_in_no_cluster() {
        let task = Attempted { question: "one two three four five", p_hat: 0.5, tool_calls: &[1, 9] };
        let parts = rewards(&[None, Some(task), Some(task), None], &RewardParams::paper());
        assert_eq!(parts[0], RewardParts::default());
        assert_eq!((parts[1].cluster_size, parts[1].repetition), (2, 0.5));
        assert!((parts[1].composite - (1.0 + 0.1 * 2.5 - 0.5)).abs() < 1e-15);
        assert_eq!(rewards(&[None], &RewardParams::code())[0].composite, -1.0);
        assert!(rewards(&[], &RewardParams::paper()).is_empty());
    }

    #[test]
    fn a_task_is_worth_most_at_the_peak_and_nothing_at_the_ends() {
        let at = |peak: f64, p_hat: f64| RewardParams { peak, ..RewardParams::paper() }.uncertainty(p_hat);
        for sixths in 0..=6 {
            let p_hat = f64::from(sixths) / 6.0;
            assert!((at(0.5, p_hat) - (1.0 - 2.0 * (p_hat - 0.5).abs())).abs() < 1e-15, "the paper's at {p_hat}");
        }
        assert_eq!([0.0, 0.375, 0.75, 0.875, 1.0].map(|p_hat| at(0.75, p_hat)), [0.0, 0.5, 1.0, 0.5, 0.0]);
    }
}
