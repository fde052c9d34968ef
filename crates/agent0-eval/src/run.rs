//! Asks a model the questions of one benchmark and grades what it says. Many answers are in flight at once; each is recorded as it
//! finishes, and none that is recorded is asked for again. No answer depends on which others are in flight.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use agent0_answers::Grader;
use agent0_engine::{Codec, Engine, Weights};
use agent0_rl::{Seed, Tool as PythonTool, rollout};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::EvalError;
use crate::benchmark::Benchmark;
use crate::grade::grade;
use crate::protocol::{Protocol, grading_of};
use crate::question::{Loaded, Question};
use crate::records::{Record, Records, question_digest};
use crate::score::{Score, tally};

/// The model that is asked, and what it is asked with.
pub struct Examinee<'a> {
    /// The engine that holds it.
    pub engine: &'a dyn Engine,
    /// Its tokenizer and chat template.
    pub codec: Arc<dyn Codec>,
    /// Its weights.
    pub weights: Weights,
    /// Its Python.
    pub tool: &'a dyn PythonTool,
    /// When two answers are the same.
    pub grader: &'a Grader,
    /// Answers in flight at once.
    pub in_flight: usize,
}

/// One benchmark and how it is asked.
pub struct Exam {
    /// The benchmark's name, or the file's for a file of the user's.
    pub bench: String,
    /// The benchmark; `None` is a file of the user's.
    pub benchmark: Option<&'static Benchmark>,
    /// Its questions, and what was left out.
    pub loaded: Loaded,
    /// How many of the questions, in the order in which they are drawn, to leave out.
    pub skip: usize,
    /// How many questions to draw after those; `None` asks all that are left.
    pub limit: Option<usize>,
    /// How they are asked.
    pub protocol: Protocol,
}

/// Deals the time of a process out to the answers it brings, also when exams overlap: each is told the seconds since the one before.
pub struct Clock(Cell<Instant>);

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Self(Cell::new(Instant::now()))
    }

    fn lap(&self) -> f64 {
        let now = Instant::now();
        (now - self.0.replace(now)).as_secs_f64()
    }
}

/// Where an evaluation stands.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Standing {
    /// Answers wanted in all.
    pub total: usize,
    /// Answers that are there.
    pub done: usize,
    /// Of these, the ones that were there before.
    pub kept: usize,
    /// Right ones.
    pub correct: usize,
    /// Tokens sampled by this process.
    pub tokens: usize,
}

/// Asks the examinee what is not recorded yet, and scores all of it. `told` hears of each answer. Exams may overlap, with one clock for
/// all: then the last answers of one leave no places empty.
///
/// # Errors
/// When the engine, the tool, the grader or the disk fails; what was recorded stays.
pub async fn evaluate(
    examinee: &Examinee<'_>,
    exam: &Exam,
    records: &mut Records,
    records_name: &str,
    clock: &Clock,
    told: &dyn Fn(&Standing),
) -> Result<Score, EvalError> {
    let questions = draw(&exam.loaded.questions, exam.skip, exam.limit, exam.protocol.seed);
    let wanted: Vec<(&Question, usize)> =
        questions.iter().flat_map(|q| (0..exam.protocol.samples).map(move |sample| (*q, sample))).collect();
    let missing: Vec<(&Question, usize)> = wanted.iter().copied().filter(|(q, sample)| records.get(q, *sample).is_none()).collect();
    let kept = wanted.len() - missing.len();
    let correct = wanted.iter().filter(|(q, sample)| records.get(q, *sample).is_some_and(|record| record.correct)).count();
    let mut standing = Standing { total: wanted.len(), done: kept, kept, correct, tokens: 0 };
    told(&standing);

    let answers = stream::iter(missing).map(|(question, sample)| answer(examinee, exam, question, sample));
    let mut answers = answers.buffer_unordered(examinee.in_flight);
    while let Some(mut record) = answers.try_next().await? {
        record.seconds = clock.lap();
        standing.done += 1;
        standing.correct += usize::from(record.correct);
        standing.tokens += record.tokens;
        records.put(record)?;
        told(&standing);
    }
    drop(answers);

    let groups: Vec<Vec<&Record>> =
        questions.iter().map(|q| (0..exam.protocol.samples).filter_map(|sample| records.get(q, sample)).collect()).collect();
    let counted = tally(&groups);
    Ok(Score {
        bench: exam.bench.clone(),
        tool: exam.protocol.tool.into(),
        rows: questions.len(),
        accuracy: counted.accuracy,
        stderr: counted.stderr,
        answered_share: counted.answered_share,
        tool_calls_mean: counted.tool_calls_mean,
        tokens: counted.tokens,
        seconds: counted.seconds,
        undecided: counted.undecided,
        left_out: exam.loaded.rejected.len(),
        skip: exam.skip,
        limit: exam.limit.filter(|limit| *limit < exam.loaded.questions.len().saturating_sub(exam.skip)),
        data: exam.loaded.origin.clone(),
        prompt_hash: exam.protocol.prompts.hash(),
        protocol: exam.protocol.clone(),
        records: records_name.to_owned(),
        questions: counted.questions,
        digests: counted.digests,
        subjects: questions.iter().map(|question| question.subject.clone()).collect(),
    })
}

/// One answer with its verdict. Its random stream is named by the seed, the question and the answer's number.
async fn answer(examinee: &Examinee<'_>, exam: &Exam, question: &Question, sample: usize) -> Result<Record, EvalError> {
    let protocol = &exam.protocol;
    let prompt = examinee.codec.chat(&protocol.prompts.chat(question)).map_err(agent0_rl::RolloutError::from)?;
    let seed = Seed::root(protocol.seed).child("evaluation").child(exam.bench.as_str()).child(question.id.as_str()).child(sample);
    let tool = protocol.tool.then_some(examinee.tool);
    let trajectory = rollout(examinee.engine, &examinee.codec, tool, &prompt, examinee.weights, &protocol.rollout, seed).await?;
    let text = trajectory.text(&*examinee.codec);
    let grading = grading_of(exam.benchmark, question);
    let verdict = grade(question, grading, trajectory.answer.as_deref(), &text, examinee.grader).await?;
    Ok(Record {
        id: question.id.clone(),
        sample,
        question: question_digest(question),
        gold: question.answer.clone(),
        answer: verdict.answer,
        correct: verdict.correct,
        undecided: verdict.undecided,
        ending: trajectory.ending,
        tokens: trajectory.sampled_tokens() + trajectory.dropped,
        tool_calls: trajectory.tool_calls,
        seconds: 0.0,
        text,
    })
}

/// The next `limit` questions after the first `skip` drawn by the seed, in their own order. A larger limit draws the same ones and more.
fn draw(questions: &[Question], skip: usize, limit: Option<usize>, seed: u64) -> Vec<&Question> {
    let seed = Seed::root(seed).child("questions");
    let mut order: Vec<usize> = (0..questions.len()).collect();
    order.sort_by_key(|&index| (seed.child(questions[index].id.as_str()).value(), index));
    order.drain(..skip.min(order.len()));
    order.truncate(limit.unwrap_or(usize::MAX));
    order.sort_unstable();
    order.into_iter().map(|index| &questions[index]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(skip: usize, limit: Option<usize>, seed: u64) -> Vec<usize> {
        let question =
            |i: usize| Question { id: i.to_string(), question: "?".into(), answer: "1".into(), choices: Vec::new(), subject: None };
        let questions: Vec<Question> = (0..100).map(question).collect();
        draw(&questions, skip, limit, seed).into_iter().map(|question| question.id.parse().unwrap()).collect()
    }

    #[test]
    fn a_larger_limit_draws_the_same_questions_and_more() {
        let (few, more) = (ids(0, Some(10), 0), ids(0, Some(40), 0));
        assert_eq!((few.len(), more.len()), (10, 40));
        assert!(few.iter().all(|id| more.contains(id)) && few.is_sorted());
        assert_ne!(few, ids(0, Some(10), 1));
        assert_eq!(ids(0, None, 0), (0..100).collect::<Vec<_>>());
        assert_eq!(ids(0, Some(1000), 0).len(), 100);
    }

    #[test]
    fn what_is_skipped_is_what_a_limit_takes() {
        let (first, rest) = (ids(0, Some(30), 3), ids(30, None, 3));
        let mut all: Vec<usize> = first.iter().chain(&rest).copied().collect();
        all.sort_unstable();
        assert_eq!((first.len(), all), (30, (0..100).collect()));
        assert!(ids(30, Some(5), 3).iter().all(|id| rest.contains(id)));
        assert!(ids(100, None, 3).is_empty() && ids(101, None, 3).is_empty());
    }
}
