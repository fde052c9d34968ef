//! The majority vote over the answers to one task (algorithm.md section 2). When two answers are the same is
//! `agent0-answers`' business.

use serde::{Deserialize, Serialize};

/// How samples without an answer are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoteRule {
    /// They count in k and never win.
    #[default]
    Paper,
    /// Each is the answer "None" and may win.
    Code,
}

/// Outcome of a vote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// The majority answer, as its earliest sample wrote it; `None` when no sample has an answer.
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
    /// The answer as its earliest sample wrote it.
    pub answer: String,
    /// Indices of the samples, ascending.
    pub samples: Vec<usize>,
}

/// Counts the votes. `labels[i]` names the candidate of `answers[i]`, and is `None` where that is.
pub fn tally(answers: &[Option<String>], labels: &[Option<usize>], undecided: usize) -> Vote {
    let mut candidates: Vec<(usize, Candidate)> = Vec::new();
    for (sample, (answer, label)) in answers.iter().zip(labels).enumerate() {
        let (Some(answer), &Some(label)) = (answer, label) else { continue };
        match candidates.iter_mut().find(|(known, _)| *known == label) {
            Some((_, candidate)) => candidate.samples.push(sample),
            None => candidates.push((label, Candidate { answer: answer.clone(), samples: vec![sample] })),
        }
    }
    let candidates: Vec<Candidate> = candidates.into_iter().map(|(_, candidate)| candidate).collect();
    // Of equally large candidates the earliest wins; `max_by_key` would take the last.
    let winner = candidates.iter().rev().max_by_key(|candidate| candidate.samples.len());
    let (k, votes) = (answers.len(), winner.map_or(0, |winner| winner.samples.len()));
    let p_hat = if votes == 0 { 0.0 } else { votes as f64 / k as f64 };
    Vote { answer: winner.map(|winner| winner.answer.clone()), votes, k, p_hat, candidates, undecided }
}
