//! What answers come to: accuracy with its standard error, and the published averages over benchmarks.

use serde::{Deserialize, Serialize};

use crate::benchmark::{Grading, benchmarks};
use crate::protocol::Protocol;
use crate::question::Origin;
use crate::records::Record;

/// Digits that are kept of a question's digest: two different questions of one id are not the same by chance.
const QUESTION_DIGITS: usize = 8;

/// The score of one benchmark, with or without the tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The benchmark, or the file's name for a file of the user's.
    pub bench: String,
    /// Whether the model had its tool: `on` or `off`.
    pub tool: Tool,
    /// Questions that were asked.
    pub rows: usize,
    /// Mean over the questions of the share of right answers, 0 to 1.
    pub accuracy: f64,
    /// Standard error of the accuracy, over the questions; `None` for a single one.
    pub stderr: Option<f64>,
    /// Share of the answers that give one at all.
    pub answered_share: f64,
    /// Mean number of programs run for an answer.
    pub tool_calls_mean: f64,
    /// Tokens sampled.
    pub tokens: usize,
    /// Wall-clock seconds it took, over all attempts when it was interrupted.
    pub seconds: f64,
    /// Answers that could not be compared in time; they count as wrong.
    pub undecided: usize,
    /// Rows of the source that were left out because something was wrong in them.
    pub left_out: usize,
    /// How many questions were left out before those that were asked.
    #[serde(default)]
    pub skip: usize,
    /// How many questions were drawn; `None` when all that were left were asked.
    pub limit: Option<usize>,
    /// Where the questions came from.
    pub data: Origin,
    /// How they were asked.
    pub protocol: Protocol,
    /// SHA-256 of what the model was told beside the questions.
    pub prompt_hash: String,
    /// The file with all answers, beside the results.
    pub records: String,
    /// Share of right answers by question.
    pub questions: Vec<(String, f64)>,
    /// The first digits of the digest of each of these questions, with its options and gold answer; none in results of older versions.
    #[serde(default)]
    pub digests: Vec<String>,
    /// The subject of each of these questions, where the source tells one; none in results of older versions.
    #[serde(default)]
    pub subjects: Vec<Option<String>>,
}

/// A question that was asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Asked<'a> {
    pub(crate) id: &'a str,
    /// The first digits of its digest, if they are known.
    pub(crate) digest: Option<&'a str>,
    pub(crate) subject: Option<&'a str>,
    /// Share of right answers.
    pub(crate) share: f64,
}

impl Score {
    /// The questions.
    pub(crate) fn asked(&self) -> impl Iterator<Item = Asked<'_>> {
        self.questions.iter().enumerate().map(|(index, (id, share))| Asked {
            id,
            digest: self.digests.get(index).map(String::as_str),
            subject: self.subjects.get(index).and_then(Option::as_deref),
            share: *share,
        })
    }
}

/// Whether the model had its tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// It had.
    On,
    /// It had not.
    Off,
}

impl From<bool> for Tool {
    fn from(on: bool) -> Self {
        if on { Tool::On } else { Tool::Off }
    }
}

/// What the answers to some questions come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tally {
    pub(crate) accuracy: f64,
    pub(crate) stderr: Option<f64>,
    pub(crate) answered_share: f64,
    pub(crate) tool_calls_mean: f64,
    pub(crate) tokens: usize,
    pub(crate) seconds: f64,
    pub(crate) undecided: usize,
    pub(crate) questions: Vec<(String, f64)>,
    pub(crate) digests: Vec<String>,
}

/// Counts the answers to each question; all 0 for none.
pub(crate) fn tally(answers: &[Vec<&Record>]) -> Tally {
    let all = || answers.iter().flatten();
    let questions: Vec<(String, f64)> = answers
        .iter()
        .filter_map(|group| Some((group.first()?.id.clone(), mean(group.iter().map(|record| f64::from(u8::from(record.correct)))))))
        .collect();
    let shares: Vec<f64> = questions.iter().map(|(_, share)| *share).collect();
    Tally {
        accuracy: mean(shares.iter().copied()),
        stderr: standard_error(&shares),
        answered_share: mean(all().map(|record| f64::from(u8::from(record.answer.is_some())))),
        tool_calls_mean: mean(all().map(|record| record.tool_calls.len() as f64)),
        tokens: all().map(|record| record.tokens).sum(),
        seconds: all().map(|record| record.seconds).sum(),
        undecided: all().filter(|record| record.undecided).count(),
        questions,
        digests: answers.iter().filter_map(|group| Some(group.first()?.question.chars().take(QUESTION_DIGITS).collect())).collect(),
    }
}

/// 0 for the mean of nothing.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    sum / n.max(1) as f64
}

/// Standard error of a mean: the unbiased standard deviation over the root of the number.
pub(crate) fn standard_error(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    let centre = mean(values.iter().copied());
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt())
}

/// The averages of the published tables, each only where all its benchmarks are scored.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Averages {
    /// MATH AVG: the mean of the seven benchmarks of mathematics.
    pub math: Option<f64>,
    /// Overall AVG: the mean of MATH AVG, SuperGPQA, MMLU-Pro and BBEH.
    pub overall: Option<f64>,
}

/// The averages of `accuracy`, which gives the score of a benchmark by its name.
pub fn averages(accuracy: impl Fn(&str) -> Option<f64>) -> Averages {
    let (mathematics, general): (Vec<_>, Vec<_>) = benchmarks().iter().partition(|benchmark| benchmark.grading == Grading::Math);
    let scores = |of: &[&crate::Benchmark]| of.iter().map(|benchmark| accuracy(benchmark.name)).collect::<Option<Vec<f64>>>();
    let math = scores(&mathematics).map(|scores| mean(scores.into_iter()));
    let overall = math.and_then(|math| Some(mean(scores(&general)?.into_iter().chain([math]))));
    Averages { math, overall }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::{EvalPrompts, Overrides, Preset};
    use agent0_rl::Ending;

    /// A score with these shares by question.
    pub(crate) fn score(bench: &str, questions: &[(&str, f64)]) -> Score {
        let shares: Vec<f64> = questions.iter().map(|(_, share)| *share).collect();
        let protocol = Protocol::new(Preset::Greedy, None, true, EvalPrompts::without_tool(), 0, &Overrides::default());
        Score {
            bench: bench.into(),
            tool: Tool::On,
            rows: questions.len(),
            accuracy: mean(shares.iter().copied()),
            stderr: standard_error(&shares),
            answered_share: 1.0,
            tool_calls_mean: 0.5,
            tokens: 100,
            seconds: 2.0,
            undecided: 0,
            left_out: 0,
            skip: 0,
            limit: None,
            data: Origin { source: "here".into(), revision: None, sha256: "0".into(), rows: Some(questions.len()) },
            prompt_hash: protocol.prompts.hash(),
            protocol,
            records: "x.jsonl".into(),
            questions: questions.iter().map(|(id, share)| ((*id).to_owned(), *share)).collect(),
            digests: Vec::new(),
            subjects: Vec::new(),
        }
    }

    fn record(id: &str, correct: bool, answered: bool) -> Record {
        Record {
            id: id.into(),
            sample: 0,
            question: format!("{id}123456789abcdef"),
            gold: String::new(),
            answer: answered.then(String::new),
            correct,
            undecided: false,
            ending: Ending::Boxed,
            tool_calls: Vec::new(),
            tokens: 10,
            seconds: 0.5,
            text: String::new(),
        }
    }

    #[test]
    fn a_question_counts_by_its_share_of_right_answers() {
        let records = [record("a", true, true), record("a", false, false), record("b", true, true), record("b", true, true)];
        let counted = tally(&[records[..2].iter().collect(), records[2..].iter().collect()]);
        assert_eq!((counted.accuracy, counted.answered_share, counted.tokens, counted.seconds), (0.75, 0.75, 40, 2.0));
        assert_eq!(counted.questions, [("a".to_owned(), 0.5), ("b".to_owned(), 1.0)]);
        assert_eq!(counted.digests, ["a1234567", "b1234567"]);
        assert!((counted.stderr.unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(tally(&[]).accuracy, 0.0);
    }

    #[test]
    fn the_standard_error_of_shares_is_the_binomial_one() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i < 30))).collect();
        assert!((standard_error(&values).unwrap() - (0.3f64 * 0.7 / 99.0).sqrt()).abs() < 1e-12);
        assert_eq!(standard_error(&[1.0]), None);
    }

    #[test]
    fn averages_are_those_of_the_published_table() {
        // Agent0's row: its mean of seven is given as 58.2.
        let scores = |name: &str| match name {
            "supergpqa" => Some(33.0),
            "mmlu_pro" => Some(63.4),
            "bbeh" => Some(13.7),
            _ => Some(58.2),
        };
        let both = averages(scores);
        assert!((both.math.unwrap() - 58.2).abs() < 1e-9 && (both.overall.unwrap() - 42.1).abs() < 0.05);
        assert_eq!(averages(|name| scores(name).filter(|_| name != "aime25")), Averages::default());
        assert_eq!(averages(|name| scores(name).filter(|_| name != "bbeh")).overall, None);
    }
}
