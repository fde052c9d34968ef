//! `agent0 bench growth`: time and memory of one model against batch, context and threads, with the exponents seen: growth
//! by a factor f multiplies the time by f to the exponent.

use std::num::NonZeroUsize;
use std::path::Path;

use agent0_engine::{Engine, Weights};
use serde::Serialize;
use serde_json::json;

use super::work::{self, Sampling, SamplingTimes};
use super::{Report, Subject, memory, name, provide};
use crate::cli::BenchGrowthArgs;

/// Tokens of a prompt, and sampled after it, where the batch or the threads grow.
const PROMPT: usize = 64;
const NEW: usize = 32;
/// Tokens sampled at the end of a context that grows.
const TAIL: usize = 16;
/// Tokens of a trained sequence where their number grows.
const TRAINED: usize = 256;
/// What is done by more threads: sequences sampled, sequences trained.
const THREADED: (usize, usize) = (16, 2);

/// One kind of work at growing sizes.
#[derive(Serialize)]
struct Series {
    /// What is done.
    work: String,
    /// What grows.
    against: &'static str,
    points: Vec<Point>,
    /// Slope of the logarithm of time against that of size, by least squares.
    time_exponent: Option<f64>,
    /// The same for memory beyond the engine at rest.
    memory_exponent: Option<f64>,
}

/// The work at one size.
#[derive(Serialize)]
struct Point {
    size: usize,
    seconds: f64,
    peak_rss_bytes: Option<u64>,
    /// Of the peak, what came on top of the engine at rest.
    working_bytes: Option<u64>,
    /// Slope from the point before.
    time_exponent: Option<f64>,
}

/// Runs the command.
pub async fn run(args: &BenchGrowthArgs) -> anyhow::Result<()> {
    let report = Report { json: args.engine.json };
    let bench = Bench { args, path: &provide(&args.engine.model)?, report: &report };
    let subject = bench.open(None, 1).await?;
    let (model, dtype) = (subject.engine.info().model.clone(), name(subject.dtype()?));
    drop(subject);
    report.line(&format!("{model}, {dtype}"));

    let mut series = Vec::from(bench.threads().await?);
    series.push(bench.batch().await?);
    series.extend(bench.context().await?);
    series.push(bench.sequences().await?);
    series.push(bench.trained_context().await?);
    if args.engine.json {
        println!("{}", json!({ "model": model, "dtype": dtype, "growth": series }));
    }
    Ok(())
}

struct Bench<'a> {
    args: &'a BenchGrowthArgs,
    path: &'a Path,
    report: &'a Report,
}

impl Bench<'_> {
    async fn open(&self, threads: Option<usize>, batch: usize) -> anyhow::Result<Subject> {
        let threads = threads.or(self.args.threads.last().map(|t| t.get()));
        let subject = Subject::open(self.path, &self.args.engine, threads, batch.max(64)).await?;
        subject.engine.info().notes.iter().for_each(|note| self.report.line(&format!("note: {note}")));
        Ok(subject)
    }

    /// Sampling and training with more and more threads.
    async fn threads(&self) -> anyhow::Result<[Series; 2]> {
        let (batch, sequences) = THREADED;
        let (mut sampling, mut training) = (Vec::new(), Vec::new());
        for threads in self.args.threads.iter().map(|t| t.get()) {
            let subject = self.open(Some(threads), batch).await?;
            let rest = at_rest();
            let times = sample(&subject, batch, PROMPT, NEW).await?;
            sampling.push(Point::new(threads, times.seconds, rest));
            warm_up(&subject).await?;
            let rest = at_rest();
            let times = work::train(&subject.engine, subject.adapter, sequences, TRAINED, 1).await?;
            training.push(Point::new(threads, times.seconds, rest));
        }
        Ok([
            self.tell(format!("sampling {batch} x ({PROMPT} + {NEW})"), "threads", sampling),
            self.tell(format!("training {sequences} x {TRAINED}"), "threads", training),
        ])
    }

    /// Sampling of more and more sequences.
    async fn batch(&self) -> anyhow::Result<Series> {
        let most = self.args.batch.iter().map(|b| b.get()).max().unwrap_or(1);
        let subject = self.open(None, most).await?;
        let rest = at_rest();
        let mut points = Vec::new();
        for batch in sizes(&self.args.batch) {
            memory::reset_peak();
            let times = sample(&subject, batch, PROMPT, NEW).await?;
            points.push(Point::new(batch, times.seconds, rest));
        }
        Ok(self.tell(format!("sampling ({PROMPT} + {NEW})"), "sequences", points))
    }

    /// One sequence at the end of a longer and longer context: reading it, and a step of decoding.
    async fn context(&self) -> anyhow::Result<[Series; 2]> {
        let subject = self.open(None, 1).await?;
        let rest = at_rest();
        let (mut reading, mut steps) = (Vec::new(), Vec::new());
        for context in self.contexts(&subject) {
            memory::reset_peak();
            let new = TAIL.min(context / 2).max(1);
            let times = sample(&subject, 1, context - new, new).await?;
            reading.push(Point::new(context, times.prefill_s, rest));
            if let Some(step) = times.step_s {
                steps.push(Point::new(context, step, rest));
            }
        }
        Ok([
            self.tell("reading a prompt".into(), "tokens of context", reading),
            self.tell("a decoding step of one sequence".into(), "tokens of context", steps),
        ])
    }

    /// Training on more and more sequences.
    async fn sequences(&self) -> anyhow::Result<Series> {
        let subject = self.open(None, 1).await?;
        warm_up(&subject).await?;
        let rest = at_rest();
        let mut points = Vec::new();
        for count in sizes(&self.args.sequences) {
            memory::reset_peak();
            let times = work::train(&subject.engine, subject.adapter, count, TRAINED, count as u64).await?;
            points.push(Point::new(count, times.seconds, rest));
        }
        Ok(self.tell(format!("training sequences of {TRAINED}"), "sequences", points))
    }

    /// Training on one longer and longer sequence.
    async fn trained_context(&self) -> anyhow::Result<Series> {
        let subject = self.open(None, 1).await?;
        warm_up(&subject).await?;
        let rest = at_rest();
        let mut points = Vec::new();
        for tokens in self.contexts(&subject) {
            memory::reset_peak();
            let times = work::train(&subject.engine, subject.adapter, 1, tokens, tokens as u64).await?;
            points.push(Point::new(tokens, times.seconds, rest));
        }
        Ok(self.tell("training one sequence".into(), "tokens of context", points))
    }

    /// The wanted contexts that the model has.
    fn contexts(&self, subject: &Subject) -> Vec<usize> {
        sizes(&self.args.context).filter(|&context| (2..=subject.engine.info().context).contains(&context)).collect()
    }

    /// Fits and shows a series.
    fn tell(&self, work: String, against: &'static str, mut points: Vec<Point>) -> Series {
        for i in 1..points.len() {
            points[i].time_exponent = slope(points[i - 1..=i].iter().map(|p| (p.size as f64, p.seconds)));
        }
        let time_exponent = slope(points.iter().map(|p| (p.size as f64, p.seconds)));
        let memory_exponent = slope(points.iter().filter_map(|p| Some((p.size as f64, p.working_bytes.filter(|&b| b > 0)? as f64))));
        let series = Series { work, against, points, time_exponent, memory_exponent };
        self.report.line(&text(&series));
        series
    }
}

impl Point {
    /// The peak of memory is that since it was last reset; `rest` is what was resident before.
    fn new(size: usize, seconds: f64, rest: Option<u64>) -> Self {
        let peak = memory::peak();
        let working = peak.zip(rest).map(|(peak, rest)| peak.saturating_sub(rest));
        Self { size, seconds, peak_rss_bytes: peak, working_bytes: working, time_exponent: None }
    }
}

async fn sample(subject: &Subject, batch: usize, prompt: usize, new: usize) -> anyhow::Result<SamplingTimes> {
    let work = Sampling { batch, group: 1, prompt, new };
    // Another salt for every shape: no prompt is one that the engine has kept.
    let salt = ((batch << 16 | prompt) as u64) << 16;
    Ok(work::sample(&subject.engine, Weights::Live(subject.adapter), work, salt).await?)
}

/// The first backward pass packs the transposed weights: they belong to the engine at rest.
async fn warm_up(subject: &Subject) -> anyhow::Result<()> {
    work::train(&subject.engine, subject.adapter, 1, 16, 0).await?;
    Ok(())
}

/// What is resident now, with the peak of memory set back to it.
fn at_rest() -> Option<u64> {
    memory::reset_peak();
    memory::resident()
}

fn sizes(list: &[NonZeroUsize]) -> impl Iterator<Item = usize> {
    list.iter().map(|size| size.get())
}

/// Slope of ln y against ln x by least squares; None for fewer than two different sizes.
fn slope(points: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let logs: Vec<(f64, f64)> = points.map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |f: fn(&(f64, f64)) -> f64| logs.iter().map(f).sum::<f64>() / logs.len() as f64;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let (xy, xx) = logs.iter().fold((0.0, 0.0), |(xy, xx), p| (xy + (p.0 - x) * (p.1 - y), xx + (p.0 - x).powi(2)));
    Some(xy / xx).filter(|slope| slope.is_finite())
}

fn text(series: &Series) -> String {
    let exponent = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
    let mut text = format!(
        "\n{} against {}: time exponent {}, memory exponent {}\n{:>10} {:>10} {:>9} {:>12} {:>9}",
        series.work,
        series.against,
        exponent(series.time_exponent),
        exponent(series.memory_exponent),
        "size",
        "seconds",
        "exponent",
        "working GiB",
        "peak GiB"
    );
    for p in &series.points {
        let (working, peak) = (memory::gib(p.working_bytes), memory::gib(p.peak_rss_bytes));
        text += &format!("\n{:>10} {:>10.3} {:>9} {working:>12} {peak:>9}", p.size, p.seconds, exponent(p.time_exponent));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_slopes_of_logarithms() {
        let near = |points: &[(f64, f64)], expected: f64| assert!((slope(points.iter().copied()).unwrap() - expected).abs() < 1e-12);
        near(&[(1.0, 3.0), (2.0, 12.0), (4.0, 48.0)], 2.0);
        near(&[(1.0, 4.0), (2.0, 2.0)], -1.0);
        assert_eq!(slope([(1.0, 4.0)].into_iter()), None);
        assert_eq!(slope(std::iter::empty()), None);
    }
}
