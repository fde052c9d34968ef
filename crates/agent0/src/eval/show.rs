//! What people and scripts see of an evaluation: progress, lines, the last line of JSON.

use std::path::Path;
use std::time::Instant;

use agent0_eval::{Averages, Exam, Results, Score, Standing, Tool};
use serde::Serialize;

use super::Failed;
use crate::cli::EvalArgs;
use crate::terminal::{Terminal, bar, duration};

/// Shows how an exam goes.
pub struct Meter<'a> {
    what: String,
    began: Instant,
    terminal: &'a Terminal,
}

impl<'a> Meter<'a> {
    pub fn new(exam: &Exam, terminal: &'a Terminal) -> Self {
        Self { what: what(&exam.bench, exam.protocol.tool.into()), began: Instant::now(), terminal }
    }

    pub fn told(&self, standing: &Standing) {
        let Standing { total, done, kept, correct, tokens } = *standing;
        let seconds = self.began.elapsed().as_secs_f64();
        let mut text = format!("{}  {} {done}/{total}", self.what, bar(done as f64 / total.max(1) as f64));
        if done > 0 {
            text += &format!("  {:.1}% right", 100.0 * correct as f64 / done as f64);
        }
        if done > kept {
            let left = seconds / (done - kept) as f64 * (total - done) as f64;
            text += &format!("  {:.0} tokens/s  about {} left", tokens as f64 / seconds.max(1e-3), duration(left));
        }
        self.terminal.status(&text);
    }
}

fn what(bench: &str, tool: Tool) -> String {
    match tool {
        Tool::On => format!("{bench} with tool"),
        Tool::Off => format!("{bench} without tool"),
    }
}

/// One score in a line.
pub fn line(score: &Score) -> String {
    let mut text = format!("{:26} {:5.1} %", what(&score.bench, score.tool), 100.0 * score.accuracy);
    if let Some(stderr) = score.stderr {
        text += &format!(" ± {:4.1}", 100.0 * stderr);
    }
    let answers = if score.protocol.samples > 1 { format!(" x {} answers", score.protocol.samples) } else { String::new() };
    text += &format!(
        "  {} questions{answers}, {:.0} % answered, {:.2} tool calls, {} tokens, {}",
        score.rows,
        100.0 * score.answered_share,
        score.tool_calls_mean,
        score.tokens,
        duration(score.seconds)
    );
    if let Some(limit) = score.limit {
        text += &format!(", {limit} drawn by seed {}", score.protocol.seed);
    }
    if score.skip > 0 {
        text += &format!(", without the first {} drawn by seed {}", score.skip, score.protocol.seed);
    }
    if score.left_out > 0 {
        text += &format!(", {} rows left out", score.left_out);
    }
    if score.undecided > 0 {
        text += &format!(", {} not compared in time", score.undecided);
    }
    if let Some(discrepancy) = score.data.discrepancy(&score.bench) {
        text += &format!("; {discrepancy}");
    }
    text
}

/// What a script reads.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    model_digest: &'a str,
    adapter: Option<&'a str>,
    adapter_digest: Option<&'a str>,
    numerics: &'a str,
    results: Vec<Row<'a>>,
    averages: Vec<ToolAverages>,
    failed: Vec<FailedRow<'a>>,
    folder: String,
}

#[derive(Serialize)]
struct Row<'a> {
    bench: &'a str,
    tool: Tool,
    rows: usize,
    accuracy: f64,
    stderr: Option<f64>,
    answered_share: f64,
    tool_calls_mean: f64,
    tokens: usize,
    seconds: f64,
    samples: usize,
    preset: agent0_eval::Preset,
    temperature: f32,
    max_tokens: usize,
    seed: u64,
    skip: usize,
    limit: Option<usize>,
    left_out: usize,
    undecided: usize,
    prompt_hash: &'a str,
    data: &'a agent0_eval::Origin,
    discrepancy: Option<String>,
    records: &'a str,
}

#[derive(Serialize)]
struct ToolAverages {
    tool: Tool,
    #[serde(flatten)]
    averages: Averages,
    caveat: Option<String>,
}

#[derive(Serialize)]
struct FailedRow<'a> {
    bench: &'a str,
    why: &'a str,
}

/// Prints the scores that the command asked for, and what could not be had.
pub fn print(args: &EvalArgs, results: &Results, exams: &[Exam], failed: &[Failed], folder: &Path) -> anyhow::Result<()> {
    let asked: Vec<&Score> = exams.iter().filter_map(|exam| results.score(&exam.bench, exam.protocol.tool.into())).collect();
    let averages: Vec<ToolAverages> = [Tool::Off, Tool::On]
        .into_iter()
        .map(|tool| ToolAverages { tool, averages: results.averages(tool), caveat: results.caveat(tool) })
        .collect();
    if args.json {
        let subject = &results.subject;
        let report = Report {
            model: &subject.model,
            model_digest: &subject.model_digest,
            adapter: subject.adapter.as_deref(),
            adapter_digest: subject.adapter_digest.as_deref(),
            numerics: &subject.numerics,
            results: asked.iter().map(|score| row(score)).collect(),
            averages: averages.into_iter().filter(|of| of.averages.math.is_some()).collect(),
            failed: failed.iter().map(|Failed { bench, why }| FailedRow { bench, why }).collect(),
            folder: folder.display().to_string(),
        };
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!("{} ({})", results.subject.name, results.subject.numerics);
    asked.iter().for_each(|score| println!("{}", line(score)));
    for ToolAverages { tool, averages, caveat } in averages {
        let percent = |value: f64| format!("{:.1} %", 100.0 * value);
        for (name, value) in [("MATH AVG", averages.math), ("Overall AVG", averages.overall)] {
            if let Some(value) = value {
                println!("{:26} {}", what(name, tool), percent(value));
            }
        }
        if let Some(caveat) = caveat {
            println!("{:26} {caveat}", what("averages", tool));
        }
    }
    for Failed { bench, why } in failed {
        println!("{bench}: not scored: {why}");
    }
    println!("Results and all answers are in {}.", folder.display());
    Ok(())
}

fn row(score: &Score) -> Row<'_> {
    Row {
        bench: &score.bench,
        tool: score.tool,
        rows: score.rows,
        accuracy: score.accuracy,
        stderr: score.stderr,
        answered_share: score.answered_share,
        tool_calls_mean: score.tool_calls_mean,
        tokens: score.tokens,
        seconds: score.seconds,
        samples: score.protocol.samples,
        preset: score.protocol.preset,
        temperature: score.protocol.rollout.temperature,
        max_tokens: score.protocol.rollout.max_tokens,
        seed: score.protocol.seed,
        skip: score.skip,
        limit: score.limit,
        left_out: score.left_out,
        undecided: score.undecided,
        prompt_hash: &score.prompt_hash,
        data: &score.data,
        discrepancy: score.data.discrepancy(&score.bench),
        records: &score.records,
    }
}
