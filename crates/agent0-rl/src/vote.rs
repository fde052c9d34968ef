//! The majority vote over the answers to one task (algorithm.md section 2). When two answers are the same is
//! `agent0-answers`' business.

use agent0_answers::{AnswerError, Clusters, Grader};
use serde::{Deserialize, Serialize};

/// How samples without an answer are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoteRule {
    /// They count in k and never win.
    #[default]
    Paper,
    /// Each is the answer [`NO_ANSWER`] and may win.
    Code,
}

/// What a sample without an answer votes for under [`VoteRule::Code`].
pub const NO_ANSWER: &str = "None";

/// Outcome of a vote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// The majority answer as its samples wrote it most often, of equals the earliest: what they were all compared with. `None` when no
    /// sample has an answer.
    pub answer: Option<String>,
    /// Samples that gave it.
    pub votes: usize,
    /// Samples in all.
    pub k: usize,
    /// Self-consistency `votes / k`; 0 without an answer.
    pub p_hat: f64,
    /// All candidates, by their earliest sample.
    pub candidates: Vec<Candidate>,
    /// Comparisons of answers on which the judge gave no verdict.
    pub undecided: usize,
}

/// Samples whose answers mean the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The answer as its samples wrote it most often, of equals the earliest.
    pub answer: String,
    /// Indices of the samples, ascending.
    pub samples: Vec<usize>,
}

/// Votes on the answers to one task, one per sample.
///
/// # Errors
/// When the grader's judge does not work; never because of what an answer holds.
pub async fn vote(grader: &Grader, answers: &[Option<String>], rule: VoteRule) -> Result<Vote, AnswerError> {
    let answers: Vec<Option<String>> = match rule {
        VoteRule::Paper => answers.to_vec(),
        VoteRule::Code => answers.iter().map(|answer| answer.clone().or_else(|| Some(NO_ANSWER.to_owned()))).collect(),
    };
    let clusters = grader.cluster(&answers).await?;
    Ok(tally(&answers, &clusters))
}

/// Counts the votes of each cluster.
fn tally(answers: &[Option<String>], clusters: &Clusters) -> Vote {
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut candidate_of_label = vec![None; clusters.sizes.len()];
    for (sample, &label) in clusters.labels.iter().enumerate() {
        let Some(label) = label else { continue };
        let candidate = *candidate_of_label[label].get_or_insert(candidates.len());
        if candidate == candidates.len() {
            let answer = answers[clusters.representatives[label]].clone().unwrap_or_default();
            candidates.push(Candidate { answer, samples: Vec::new() });
        }
        candidates[candidate].samples.push(sample);
    }
    // Of equally large candidates the earliest wins; `max_by_key` alone would take the last.
    let winner = candidates.iter().rev().max_by_key(|candidate| candidate.samples.len());
    let (k, votes) = (answers.len(), winner.map_or(0, |winner| winner.samples.len()));
    let p_hat = if votes == 0 { 0.0 } else { votes as f64 / k as f64 };
    Vote { answer: winner.map(|winner| winner.answer.clone()), votes, k, p_hat, candidates, undecided: clusters.undecided }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(answers: &[&str], rule: VoteRule) -> Vote {
        let answers: Vec<_> = answers.iter().map(|&answer| (answer != "-").then(|| answer.to_owned())).collect();
        vote(&Grader::new(None), &answers, rule).await.unwrap()
    }

    #[tokio::test]
    async fn the_largest_candidate_wins() {
        let vote = of(&["3", "1/2", "0.5", "-", r"\frac{1}{2}"], VoteRule::Paper).await;
        assert_eq!((vote.answer.as_deref(), vote.votes, vote.k, vote.p_hat), (Some("1/2"), 3, 5, 0.6));
        let twice = of(&["0.5", "1/2", "1/2", "7"], VoteRule::Paper).await;
        assert_eq!((twice.answer.as_deref(), twice.votes), (Some("1/2"), 3), "as most of its samples wrote it");
        let samples: Vec<_> = vote.candidates.iter().map(|candidate| candidate.samples.as_slice()).collect();
        assert_eq!(samples, [&[0][..], &[1, 2, 4]]);
    }

    #[tokio::test]
    async fn ties_go_to_the_earliest() {
        assert_eq!(of(&["-", "2", "1", "1", "2"], VoteRule::Paper).await.answer.as_deref(), Some("2"));
    }

    #[tokio::test]
    async fn samples_without_an_answer_count_but_never_win() {
        let vote = of(&["-", "-", "-", "5"], VoteRule::Paper).await;
        assert_eq!((vote.answer.as_deref(), vote.votes, vote.p_hat), (Some("5"), 1, 0.25));
        let empty = of(&["-", "-"], VoteRule::Paper).await;
        assert_eq!((empty.answer, empty.votes, empty.k, empty.p_hat), (None, 0, 2, 0.0));
        assert_eq!(of(&[], VoteRule::Paper).await.p_hat, 0.0);
    }

    #[tokio::test]
    async fn under_the_code_rule_none_may_win() {
        let vote = of(&["-", "-", "-", "5"], VoteRule::Code).await;
        assert_eq!((vote.answer.as_deref(), vote.votes, vote.p_hat), (Some("None"), 3, 0.75));
    }
}
