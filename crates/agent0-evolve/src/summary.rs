//! A run in numbers and examples, read from its store. Computes nothing that the store does not have.

use serde::Serialize;

use crate::config::Config;
use crate::place::Phase;
use crate::store::{Store, StoreError};

/// A run in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The run's name.
    pub run: String,
    /// `finished`, or `unfinished` when there is work left.
    pub status: String,
    /// The model that produced it.
    pub model: String,
    /// One per iteration that was begun.
    pub iterations: Vec<IterationSummary>,
    /// Tokens sampled, in all.
    pub tokens_sampled: u64,
    /// Tokens that went through forward and backward, in all.
    pub tokens_trained: u64,
    /// Seconds that processes worked on it, in all.
    pub seconds: f64,
    /// Where the seconds of its finished steps went.
    pub time: TimeSummary,
}

/// Seconds of finished steps by what the engine did. Steps that were resumed count from where the last process began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TimeSummary {
    /// It sampled trajectories.
    pub sampling: f64,
    /// It scored trajectories under the reference policy.
    pub scoring: f64,
    /// It computed gradients and updates.
    pub training: f64,
    /// It waited: for programs and votes, rewards, the store, checkpoints.
    pub other: f64,
}

/// One iteration in numbers. A mean over nothing is `null`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IterationSummary {
    /// Its number, from 1.
    pub iteration: usize,
    /// The curriculum phase.
    pub curriculum: CurriculumSummary,
    /// The frontier.
    pub frontier: FrontierSummary,
    /// The executor phase.
    pub executor: ExecutorSummary,
    /// Steps that changed no weights although they should have, with the reason.
    pub skipped: Vec<String>,
    /// A few tasks of the frontier.
    pub examples: Vec<Example>,
}

/// The curriculum phase in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CurriculumSummary {
    /// Steps done.
    pub steps: usize,
    /// Mean of R_C over all proposals.
    pub reward_mean: Option<f64>,
    /// Share of proposals that passed the format gate.
    pub format_share: Option<f64>,
    /// Mean self-consistency of the executor's answers.
    pub p_hat_mean: Option<f64>,
    /// Mean tool calls of the executor's answers.
    pub tool_calls_mean: Option<f64>,
}

/// The frontier in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FrontierSummary {
    /// Tasks written.
    pub generated: usize,
    /// Tasks kept.
    pub kept: usize,
    /// Tasks of the curriculum phase that are kept besides.
    pub kept_of_curriculum: usize,
    /// `kept / generated`.
    #[serde(rename = "yield")]
    pub share_kept: Option<f64>,
    /// Mean self-consistency of all answered tasks.
    pub p_hat_mean: Option<f64>,
    /// Tasks by what became of them.
    pub fates: Vec<(String, usize)>,
}

/// The executor phase in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExecutorSummary {
    /// Steps done.
    pub steps: usize,
    /// Share of answers that agree with the label.
    pub reward_mean: Option<f64>,
    /// Share of trajectories that ended with an answer.
    pub answered_share: Option<f64>,
    /// Mean tool calls of a trajectory.
    pub tool_calls_mean: Option<f64>,
}

/// A task of the frontier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// The question.
    pub question: String,
    /// The majority's answer.
    pub label: String,
    /// Its self-consistency.
    pub p_hat: f64,
}

/// Examples shown per iteration.
const EXAMPLES: usize = 3;

/// Sums up the run `name`.
pub fn summarise(name: &str, config: &Config, store: &Store) -> Result<Summary, StoreError> {
    let next = store.cursor()?.place;
    let finished = next.iteration > config.iterations;
    let last = if finished { config.iterations } else { next.iteration };
    let (tokens_sampled, tokens_trained) = store.token_counts()?;
    Ok(Summary {
        run: name.to_owned(),
        status: if finished { "finished" } else { "unfinished" }.to_owned(),
        model: config.model.clone(),
        iterations: (1..=last).map(|t| iteration(t, store)).collect::<Result<_, _>>()?,
        tokens_sampled,
        tokens_trained,
        seconds: store.seconds()?,
        time: TimeSummary {
            sampling: store.total("sampling_seconds")?,
            scoring: store.total("scoring_seconds")?,
            training: store.total("training_seconds")?,
            other: store.total("other_seconds")?,
        },
    })
}

fn iteration(t: usize, store: &Store) -> Result<IterationSummary, StoreError> {
    let number = |sql: &str| store.number(sql, t);
    let count = |sql: &str| Ok::<_, StoreError>(store.number(sql, t)?.unwrap_or_default() as usize);
    // Of its steps, not of its trajectories: it may have learned from those of the frontier.
    let of_executor =
        |name: &str| format!("SELECT AVG(value) FROM metrics WHERE iteration = ?1 AND phase = 'executor' AND name = '{name}'");
    let fates = store.fates(t, Phase::Frontier)?;
    let generated: usize = fates.iter().map(|(_, n)| n).sum();
    let kept = fates.iter().find(|(fate, _)| fate == "kept").map_or(0, |(_, n)| *n);
    let skipped = store.skipped_steps()?.into_iter().filter(|(place, _)| place.iteration == t);
    let frontier = store.frontier(t)?;
    Ok(IterationSummary {
        iteration: t,
        curriculum: CurriculumSummary {
            steps: count("SELECT CAST(COUNT(*) AS REAL) FROM steps WHERE iteration = ?1 AND phase = 'curriculum'")?,
            reward_mean: number(
                "SELECT AVG(reward) FROM trajectories WHERE iteration = ?1 AND phase = 'curriculum' AND role = 'proposer'",
            )?,
            format_share: number("SELECT AVG(question IS NOT NULL) FROM tasks WHERE iteration = ?1 AND phase = 'curriculum'")?,
            p_hat_mean: number("SELECT AVG(p_hat) FROM votes WHERE iteration = ?1 AND phase = 'curriculum'")?,
            tool_calls_mean: number(
                "SELECT AVG(json_array_length(tool_calls)) FROM trajectories WHERE iteration = ?1 AND phase = 'curriculum' AND role = 'executor'",
            )?,
        },
        frontier: FrontierSummary {
            generated,
            kept,
            kept_of_curriculum: frontier.len() - kept,
            share_kept: (generated > 0).then(|| kept as f64 / generated as f64),
            p_hat_mean: number("SELECT AVG(p_hat) FROM votes WHERE iteration = ?1 AND phase = 'frontier'")?,
            fates,
        },
        executor: ExecutorSummary {
            steps: count("SELECT CAST(COUNT(*) AS REAL) FROM steps WHERE iteration = ?1 AND phase = 'executor'")?,
            reward_mean: number(&of_executor("reward_mean"))?,
            answered_share: number(&of_executor("answered_share"))?,
            tool_calls_mean: number(&of_executor("tool_calls_mean"))?,
        },
        skipped: skipped.map(|(place, reason)| format!("{} step {}: {reason}", place.phase, place.step)).collect(),
        examples: frontier
            .into_iter()
            .take(EXAMPLES)
            .map(|task| Example { question: task.question, label: task.label, p_hat: task.p_hat })
            .collect(),
    })
}
