//! `agent0 answers`: the answer checker from a shell. Reads rows of JSON from standard input, one a line, and writes one for each, in
//! the same order. When two answers are the same is `agent0-answers`' business.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent0_answers::{By, Grader, MathVerify, boxed};
use agent0_provision::{Cache, python_env};
use agent0_rl::{Candidate, VoteRule, vote};
use agent0_sandbox::{Sandbox, SandboxConfig};
use anyhow::Context;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::{AnswersArgs, AnswersCommand, AnswersOptions};
use crate::streams::Results;
use crate::terminal::{SetupProgress, Terminal};

/// The answers to one task.
#[derive(Deserialize)]
struct Answers {
    id: Value,
    /// As the samples gave them, perhaps still in their box; null where there is none.
    answers: Vec<Option<String>>,
}

/// The vote on them.
#[derive(Serialize)]
struct Voted {
    id: Value,
    majority: Option<String>,
    votes: usize,
    p_hat: f64,
    clusters: Vec<Candidate>,
}

/// Two answers.
#[derive(Deserialize)]
struct Pair {
    a: String,
    b: String,
}

/// The verdict on them.
#[derive(Serialize)]
struct Judged {
    same: bool,
    by: &'static str,
}

/// What one row came to: a line for the output, or what is wrong with the row.
type Answered = Result<String, String>;

/// Runs the command. The exit code is 1 when some rows could not be read.
pub fn run(args: &AnswersArgs) -> anyhow::Result<ExitCode> {
    let (AnswersCommand::Vote(options) | AnswersCommand::Same(options)) = &args.command;
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).context("reading rows from standard input")?;
    let lines: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
    let rows: Vec<(usize, &[u8])> = (1..).zip(lines).filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
    let grader = grader()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")?;
    match &args.command {
        AnswersCommand::Vote(_) => runtime.block_on(answer_all(&rows, options, async |row| vote_row(&grader, row, options.json).await)),
        AnswersCommand::Same(_) => runtime.block_on(answer_all(&rows, options, async |row| same_row(&grader, row, options.json).await)),
    }
}

/// A grader with math-verify in the sandbox.
fn grader() -> anyhow::Result<Grader> {
    let terminal = Terminal::new(false);
    let progress = SetupProgress::new(&terminal);
    let python = python_env(&Cache::open()?, None, &|event| progress.event(event))?;
    terminal.status("starting the sandbox");
    let preload = MathVerify::PRELOAD.map(str::to_owned).to_vec();
    let sandbox = Sandbox::start(SandboxConfig { preload, ..SandboxConfig::new(python.python) })
        .context("the sandbox for math-verify cannot be had; `agent0 doctor` says what is missing")?;
    terminal.clear();
    Ok(Grader::new(Some(Arc::new(MathVerify::new(Arc::new(sandbox))))))
}

/// Answers the rows, some at a time, and writes what they come to in their order: a row that takes long holds back the lines after it,
/// but no work. Bad rows are named on standard error and passed over.
async fn answer_all(
    rows: &[(usize, &[u8])],
    options: &AnswersOptions,
    answer: impl AsyncFn(&[u8]) -> anyhow::Result<Answered>,
) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let timed = async |(place, (line, row)): (usize, &(usize, &[u8]))| {
        let start = Instant::now();
        let answered = answer(row).await.with_context(|| format!("line {line}"))?;
        anyhow::Ok((place, (*line, answered, start.elapsed())))
    };
    let jobs = options.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let mut answers = std::pin::pin!(futures_util::stream::iter(rows.iter().enumerate().map(timed)).buffer_unordered(jobs));
    let mut held_back = BTreeMap::new();
    let mut times = Vec::with_capacity(rows.len());
    let mut bad = 0;
    let mut out = Results;
    while let Some(answered) = answers.next().await {
        held_back.extend([answered?]);
        while let Some((line, answered, time)) = held_back.remove(&times.len()) {
            times.push(time);
            match answered {
                Ok(text) => writeln!(out, "{text}").context("writing to standard output")?,
                Err(wrong) => {
                    bad += 1;
                    eprintln!("line {line}: {wrong}");
                }
            }
        }
    }
    out.flush().context("writing to standard output")?;
    times.sort_unstable();
    let at = |part: f64| 1e3 * times.get((part * times.len() as f64) as usize).unwrap_or(&Duration::ZERO).as_secs_f64();
    let took = start.elapsed().as_secs_f64();
    eprintln!(
        "{} rows in {took:.1} s, {bad} of them bad; half of them within {:.2} ms, 95 % within {:.1} ms each",
        rows.len(),
        at(0.5),
        at(0.95)
    );
    Ok(ExitCode::from(u8::from(bad > 0)))
}

async fn vote_row(grader: &Grader, row: &[u8], json: bool) -> anyhow::Result<Answered> {
    let Answers { id, answers } = match parse(row, r#"{"id": 1, "answers": ["\\frac12", "0.5", null]}"#) {
        Ok(row) => row,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.map(unboxed)).collect();
    let vote = vote(grader, &answers, VoteRule::Paper).await?;
    let voted = Voted { id, majority: vote.answer, votes: vote.votes, p_hat: vote.p_hat, clusters: vote.candidates };
    Ok(Ok(match json {
        true => serde_json::to_string(&voted)?,
        false => {
            let majority = voted.majority.as_deref().unwrap_or("no answer");
            format!("{}: {majority} ({} of {} votes, {} clusters)", voted.id, voted.votes, vote.k, voted.clusters.len())
        }
    }))
}

async fn same_row(grader: &Grader, row: &[u8], json: bool) -> anyhow::Result<Answered> {
    let Pair { a, b } = match parse(row, r#"{"a": "\\frac12", "b": "0.5"}"#) {
        Ok(row) => row,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let decision = grader.same(&unboxed(a), &unboxed(b)).await?;
    let by = match decision.by {
        By::Text => "text",
        By::Number => "number",
        By::Judge => "math-verify",
        By::Nobody => "no verdict",
    };
    let judged = Judged { same: decision.same, by };
    Ok(Ok(match json {
        true => serde_json::to_string(&judged)?,
        false => format!("{} (by {by})", if judged.same { "same" } else { "different" }),
    }))
}

/// What is in the box, if there is one.
fn unboxed(answer: String) -> String {
    boxed(&answer).map(str::to_owned).unwrap_or(answer)
}

/// Reads a row, or says what is wrong with it and what it should be like.
fn parse<T: DeserializeOwned>(row: &[u8], example: &str) -> Result<T, String> {
    serde_json::from_slice(row).map_err(|error| format!("not a row ({error}); write it like {example}, with every backslash doubled"))
}
