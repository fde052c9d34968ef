//! The curriculum phase's book-keeping: tasks as read from texts, the reward's inputs, and what is recorded of a step.

use agent0_rl::{Scored, Trajectory};

use super::{frontier, mean};
use crate::error::EvolveError;
use crate::place::{Role, Slot};
use crate::reward::{Attempted, Proposal, RewardParts, proposal};
use crate::run::{Findings, Run};
use crate::sampling::Attempt;
use crate::store::TaskRecord;

/// The format gate: the task in each text, where there is one that the prompts do not refuse.
pub fn gate(run: &Run, proposals: &[Trajectory]) -> Vec<Option<Proposal>> {
    let passes = |task: &Proposal| run.config.prompts.refuse(task).is_none();
    proposals.iter().map(|trajectory| proposal(&run.text(trajectory)).filter(passes)).collect()
}

/// The question of each task that passed the gate.
pub fn questions(tasks: &[Option<Proposal>]) -> Vec<Option<&str>> {
    tasks.iter().map(|task| task.as_ref().map(|task| task.question.as_str())).collect()
}

/// What becomes of each task: it was scored, and where the frontier takes tasks of this phase too, it is kept or dropped as there.
pub fn fates(run: &Run, t: usize, proposals: &[Trajectory], attempts: &[Option<Attempt>]) -> Result<Vec<&'static str>, EvolveError> {
    if run.config.frontier.include_curriculum {
        return Ok(frontier::fates(&frontier::sift(run, t, proposals)?, attempts, &run.config));
    }
    Ok(attempts.iter().map(|attempt| if attempt.is_some() { "scored" } else { "malformed" }).collect())
}

/// Rewards of the batch by `score`, from what the executor made of each task.
pub fn judged(
    tasks: &[Option<Proposal>],
    attempts: &[Option<Attempt>],
    score: impl FnOnce(&[Option<Attempted>]) -> Vec<RewardParts>,
) -> Vec<RewardParts> {
    let tool_calls: Vec<Vec<usize>> =
        attempts.iter().map(|attempt| attempt.as_ref().map(Attempt::tool_calls).unwrap_or_default()).collect();
    let batch: Vec<Option<Attempted>> = tasks
        .iter()
        .zip(attempts)
        .zip(&tool_calls)
        .map(|((task, attempt), tool_calls)| {
            Some(Attempted { question: &task.as_ref()?.question, p_hat: attempt.as_ref()?.vote.p_hat, tool_calls })
        })
        .collect();
    score(&batch)
}

/// Why a step cannot teach anything, if so.
pub fn reason_to_skip(parts: &[RewardParts], scored: &[Scored]) -> Option<String> {
    if parts.iter().all(|parts| parts.format == 0.0) {
        Some("no text passed the format gate (a <question> and a \\boxed{} answer)".into())
    } else if scored.is_empty() {
        Some("all tasks earned the same reward: nothing to prefer".into())
    } else {
        None
    }
}

/// What is recorded of a step.
pub fn findings(
    proposals: &[Trajectory],
    tasks: &[Option<Proposal>],
    attempts: &[Option<Attempt>],
    parts: &[RewardParts],
    fates: &[&str],
) -> Findings {
    let passed: Vec<&RewardParts> = parts.iter().filter(|parts| parts.format > 0.0).collect();
    let done: Vec<&Attempt> = attempts.iter().flatten().collect();
    let answers = || done.iter().flat_map(|attempt| &attempt.answers);
    let p_hats: Vec<f64> = done.iter().map(|attempt| attempt.vote.p_hat).collect();
    let metrics = [
        ("reward_mean", mean(parts.iter().map(|parts| parts.composite))),
        ("format_share", mean(parts.iter().map(|parts| parts.format))),
        ("uncertainty_mean", mean(passed.iter().map(|parts| parts.uncertainty))),
        ("tool_mean", mean(passed.iter().map(|parts| parts.tool))),
        ("repetition_mean", mean(passed.iter().map(|parts| parts.repetition))),
        ("p_hat_mean", mean(p_hats.iter().copied())),
        ("answered_share", mean(answers().map(|answer| f64::from(u8::from(answer.answer.is_some()))))),
        ("tool_calls_mean", mean(answers().map(|answer| answer.tool_calls.len() as f64))),
        ("proposal_tokens_mean", mean(proposals.iter().map(|proposal| proposal.sampled_tokens() as f64))),
        ("undecided", Some(done.iter().map(|attempt| attempt.vote.undecided as f64).sum())),
    ];
    let record = |(task, (proposal, parts)): (usize, (&Option<Proposal>, &RewardParts))| TaskRecord {
        task,
        question: proposal.as_ref().map(|proposal| proposal.question.clone()),
        own_answer: proposal.as_ref().map(|proposal| proposal.answer.clone()),
        fate: fates[task].into(),
        reward: Some(*parts),
    };
    let reward = |(task, parts): (usize, &RewardParts)| (Slot { role: Role::Proposer, task, sample: 0 }, parts.composite);
    Findings {
        metrics: metrics.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        tasks: tasks.iter().zip(parts).enumerate().map(record).collect(),
        rewards: parts.iter().enumerate().map(reward).collect(),
        p_hats,
    }
}
