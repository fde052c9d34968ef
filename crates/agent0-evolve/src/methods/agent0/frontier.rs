//! The frontier's book-keeping: how many tasks to write next, which texts are tasks at all, and which of them are kept.

use std::collections::HashSet;

use agent0_rl::{NO_ANSWER, Trajectory, Vote, VoteRule};

use super::mean;
use crate::config::Config;
use crate::error::EvolveError;
use crate::place::Phase;
use crate::prompts::{asks_for_proof, is_prose};
use crate::reward::{Proposal, proposal};
use crate::run::{Findings, Run};
use crate::sampling::Attempt;
use crate::store::TaskRecord;

/// What is known of a text before it is answered: its task, or why it is dropped.
pub struct Sifted {
    task: Option<Proposal>,
    dropped: Option<&'static str>,
}

/// How many tasks the next round writes; `None` when no more are wanted.
pub fn next_round(run: &Run, t: usize) -> Result<Option<usize>, EvolveError> {
    let config = &run.config.frontier;
    let fates = run.fates(t)?;
    let written: usize = fates.iter().map(|(_, n)| n).sum();
    let kept = run.frontier(t)?.len();
    let wanted = if written < config.pool {
        config.pool - written
    } else if kept < config.min_kept {
        config.pool.min(config.max_pool.saturating_sub(written))
    } else {
        0
    };
    Ok((wanted > 0).then_some(wanted))
}

/// Reads the tasks and drops what no vote can label, and exact duplicates within the iteration.
pub fn sift(run: &Run, t: usize, proposals: &[Trajectory]) -> Result<Vec<Sifted>, EvolveError> {
    let mut seen: HashSet<String> = run.frontier_questions(t)?.into_iter().collect();
    let sift = |trajectory| {
        let task = proposal(&run.text(trajectory));
        let dropped = match &task {
            None => Some("malformed"),
            Some(task) => {
                let is_new = seen.insert(task.question.clone());
                (run.config.prompts.refuse(task))
                    .or_else(|| (!is_new).then_some("duplicate"))
                    .or_else(|| asks_for_proof(&task.question).then_some("proof"))
            }
        };
        Sifted { task, dropped }
    };
    Ok(proposals.iter().map(sift).collect())
}

/// The questions to answer.
pub fn questions(tasks: &[Sifted]) -> Vec<Option<&str>> {
    tasks.iter().map(|sifted| sifted.task.as_ref().filter(|_| sifted.dropped.is_none()).map(|task| task.question.as_str())).collect()
}

/// What becomes of each task, before or after it was answered.
pub fn fates(tasks: &[Sifted], attempts: &[Option<Attempt>], config: &Config) -> Vec<&'static str> {
    let fate_of = |(sifted, attempt): (&Sifted, &Option<Attempt>)| match (sifted.dropped, attempt) {
        (Some(reason), _) => reason,
        (None, Some(attempt)) => fate(&attempt.vote, config),
        (None, None) => "unanswered",
    };
    tasks.iter().zip(attempts).map(fate_of).collect()
}

/// Whether an answered task is kept, or why not: only those with a label and `low <= p^ <= high` are.
fn fate(vote: &Vote, config: &Config) -> &'static str {
    match &vote.answer {
        None => "unanswered",
        // "None" is what most did: no answer could agree with it.
        Some(label) if config.vote == VoteRule::Code && label == NO_ANSWER => "unanswered",
        Some(_) if vote.p_hat < config.frontier.low => "too_hard",
        Some(_) if vote.p_hat > config.frontier.high => "too_easy",
        Some(label) if is_prose(label) => "prose",
        Some(label) if !config.prompts.admits(label) => "no_number",
        Some(_) => "kept",
    }
}

/// What is recorded of a round.
pub fn findings(tasks: &[Sifted], attempts: &[Option<Attempt>], config: &Config) -> Findings {
    let records: Vec<TaskRecord> = tasks
        .iter()
        .zip(fates(tasks, attempts, config))
        .enumerate()
        .map(|(task, (sifted, fate))| TaskRecord {
            task,
            question: sifted.task.as_ref().map(|task| task.question.clone()),
            own_answer: sifted.task.as_ref().map(|task| task.answer.clone()),
            fate: fate.into(),
            reward: None,
        })
        .collect();
    let done: Vec<&Attempt> = attempts.iter().flatten().collect();
    let answers = || done.iter().flat_map(|attempt| &attempt.answers);
    let p_hats: Vec<f64> = done.iter().map(|attempt| attempt.vote.p_hat).collect();
    let kept = records.iter().filter(|record| record.fate == "kept").count();
    let metrics = [
        ("generated", Some(records.len() as f64)),
        ("kept", Some(kept as f64)),
        ("p_hat_mean", mean(p_hats.iter().copied())),
        ("answered_share", mean(answers().map(|answer| f64::from(u8::from(answer.answer.is_some()))))),
        ("tool_calls_mean", mean(answers().map(|answer| answer.tool_calls.len() as f64))),
        ("undecided", Some(done.iter().map(|attempt| attempt.vote.undecided as f64).sum())),
    ];
    Findings {
        metrics: metrics.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        tasks: records,
        rewards: Vec::new(),
        p_hats,
    }
}

/// The yield in words, and what to do when it is poor.
pub fn report(run: &Run, t: usize) -> Result<String, EvolveError> {
    let fates = run.fates(t)?;
    let written: usize = fates.iter().map(|(_, n)| n).sum();
    let kept = count(&fates, "kept");
    let dropped: Vec<String> =
        fates.iter().filter(|(fate, _)| fate != "kept").map(|(fate, n)| format!("{n} {}", fate.replace('_', " "))).collect();
    let all_kept = run.frontier(t)?.len();
    let mut report = format!("kept {kept} of {written} tasks");
    if all_kept > kept {
        report += &format!(" and {} of the curriculum phase", all_kept - kept);
    }
    if !dropped.is_empty() {
        report += &format!(" (dropped: {})", dropped.join(", "));
    }
    let config = &run.config.frontier;
    if all_kept < config.min_kept {
        report += &format!(
            "; fewer than the {} wanted at the limit of {} written; raise frontier.max_pool, or widen frontier.low..high",
            config.min_kept, config.max_pool
        );
    }
    Ok(report)
}

fn count(fates: &[(String, usize)], fate: &str) -> usize {
    fates.iter().find(|(name, _)| name == fate).map_or(0, |(_, n)| *n)
}

impl Run<'_> {
    fn fates(&self, t: usize) -> Result<Vec<(String, usize)>, EvolveError> {
        Ok(self.store.fates(t, Phase::Frontier)?)
    }

    fn frontier_questions(&self, t: usize) -> Result<Vec<String>, EvolveError> {
        Ok(self.store.frontier_questions(t)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Prompts;

    #[test]
    fn the_band_includes_its_ends() {
        let config = Config::default();
        let vote = |votes: usize, answer: Option<&str>| Vote {
            answer: answer.map(str::to_owned),
            votes,
            k: 10,
            p_hat: votes as f64 / 10.0,
            candidates: Vec::new(),
            undecided: 0,
        };
        let fates: Vec<_> = [2, 3, 8, 9].map(|votes| fate(&vote(votes, Some("7")), &config)).to_vec();
        assert_eq!(fates, ["too_hard", "kept", "kept", "too_easy"]);
        assert_eq!(fate(&vote(0, None), &config), "unanswered");
        assert_eq!(fate(&vote(5, Some("it grows because the base is larger than one")), &config), "prose");
        assert_eq!(["2, 3", "1/2"].map(|label| fate(&vote(5, Some(label)), &config)), ["no_number", "kept"]);
        let prompts = Prompts { numbers_only: false, ..config.prompts.clone() };
        let config = Config { prompts, ..config };
        assert_eq!(["2, 3", "None"].map(|label| fate(&vote(5, Some(label)), &config)), ["kept", "kept"]);
        assert_eq!(fate(&vote(5, Some("None")), &Config { vote: VoteRule::Code, ..config }), "unanswered");
    }
}
