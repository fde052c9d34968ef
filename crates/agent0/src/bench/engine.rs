//! `agent0 bench engine`: the limits of the machine, then products, sampling and training of one model held against them.

use agent0_compute::roofline::Roofline;
use agent0_compute::{Compute, Isa};
use agent0_engine::{Engine, Weights};
use serde::Serialize;
use serde_json::{Value, json};

use super::least::Least;
use super::work::{self, Sampling, SamplingTimes, TrainingTimes};
use super::{Report, Subject, memory, name, products, provide, shape};
use crate::cli::{BenchEngineArgs, Part, Shape};

/// One measured call of sampling.
#[derive(Serialize)]
struct SamplePoint {
    batch: usize,
    group: usize,
    prompt_tokens: usize,
    /// Sampled tokens of each sequence.
    new_tokens: usize,
    seconds: f64,
    /// Sampled tokens a second of all the time, prompts included.
    tokens_per_s: f64,
    prefill_s: f64,
    /// Sampled tokens a second while all sequences decode.
    decode_tokens_per_s: Option<f64>,
    share_of_roofline: f64,
    decode_share_of_roofline: Option<f64>,
    peak_rss_bytes: Option<u64>,
}

/// One measured step of training.
#[derive(Serialize)]
struct TrainPoint {
    sequences: usize,
    /// Of each sequence; the second half carries loss.
    tokens: usize,
    seconds: f64,
    /// All tokens, trained or not, a second.
    tokens_per_s: f64,
    forward_s: f64,
    head_s: f64,
    backward_s: f64,
    optimizer_s: f64,
    share_of_roofline: f64,
    peak_rss_bytes: Option<u64>,
}

/// Runs the command.
pub async fn run(args: &BenchEngineArgs) -> anyhow::Result<()> {
    let report = Report { json: args.engine.json };
    let threads = args.threads.map(usize::from);
    let isa = args.engine.isa.unwrap_or_else(Isa::detect);
    let cx = Compute::new(threads.unwrap_or_else(|| Compute::auto().threads()), isa);
    let roofline = Roofline::measure(&cx);
    let giga = roofline_json(&roofline);
    report.line(&format!("machine  {} threads, {}: {}", cx.threads(), cx.isa(), limits(&roofline)));
    let mut results = json!({ "isa": cx.isa().to_string(), "threads": cx.threads(), "roofline": giga });

    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if [Part::Gemm, Part::Sample, Part::Train].into_iter().any(wanted) {
        let figures = measure_model(args, &report, &cx, roofline, wanted).await?;
        merge(&mut results, figures);
    }
    if args.engine.json {
        println!("{results}");
    }
    Ok(())
}

/// Loads the model and measures the wanted parts.
async fn measure_model(
    args: &BenchEngineArgs,
    report: &Report,
    cx: &Compute,
    roofline: Roofline,
    wanted: impl Fn(Part) -> bool,
) -> anyhow::Result<Value> {
    let path = provide(&args.engine.model)?;
    let config = shape(&path)?;
    let most = args.batch.iter().map(|b| b.get()).max().unwrap_or(1);
    let subject = Subject::open(&path, &args.engine, Some(cx.threads()), most.max(64)).await?;
    let dtype = subject.dtype()?;
    let info = subject.engine.info();
    report.line(&format!("model    {}, {} ({}), loaded in {:.1} s", info.model, info.numerics, info.processor, subject.load_s));
    info.notes.iter().for_each(|note| report.line(&format!("note     {note}")));

    let (mut gemm, mut sample, mut train) = (Vec::new(), Vec::new(), Vec::new());
    if wanted(Part::Gemm) {
        report.line("\nproduct       m      n      k    GFLOP/s  of peak  weights GB/s");
        products::measure(cx, &config, dtype, &roofline, |p| {
            let (share, gbps) = (100.0 * p.share_of_peak, p.weights_gbps);
            report.line(&format!("{:11} {:>4} {:>6} {:>6} {:>9.1} {share:>7.0}% {gbps:>9.1}", p.layer, p.m, p.n, p.k, p.gflops));
            gemm.push(p);
        });
    }
    let rank = usize::from(args.engine.rank);
    if wanted(Part::Sample) {
        let least = Least::new(roofline, &config, dtype, if args.base { 0 } else { rank });
        report.line("\nsample  batch  prompt    new  tokens/s  of least  prefill s  decode tokens/s  of least  peak GiB");
        for (index, batch) in args.batch.iter().enumerate() {
            let point = sample_point(args, &subject, &least, batch.get(), index as u64).await?;
            report.line(&sample_line(&point));
            sample.push(point);
        }
    }
    if wanted(Part::Train) {
        let least = Least::new(roofline, &config, dtype, rank);
        report.line("\ntrain   sequences  tokens  tokens/s  of least  forward s   head s  backward s  optimizer s  peak GiB");
        if !args.train.is_empty() {
            // The first backward pass packs the transposed weights.
            work::train(&subject.engine, subject.adapter, 1, 16, 0).await?;
        }
        for (index, &shape) in args.train.iter().enumerate() {
            let point = train_point(args, &subject, &least, shape, index as u64).await?;
            report.line(&train_line(&point));
            train.push(point);
        }
    }
    Ok(json!({
        "model": info.model,
        "dtype": name(dtype),
        "rank": rank,
        "load_s": subject.load_s,
        "notes": info.notes,
        "peak_rss_is_of": if memory::reset_peak() { "each point" } else { "the process so far" },
        "gemm": gemm,
        "sample": sample,
        "train": train,
    }))
}

async fn sample_point(args: &BenchEngineArgs, subject: &Subject, least: &Least, batch: usize, index: u64) -> anyhow::Result<SamplePoint> {
    let weights = if args.base { Weights::Base } else { Weights::Live(subject.adapter) };
    let work = Sampling { batch, group: args.group.get().min(batch), prompt: args.prompt.get(), new: args.new.get() };
    memory::reset_peak();
    let mut best: Option<SamplingTimes> = None;
    for repeat in 0..args.repeats.get() as u64 {
        let times = work::sample(&subject.engine, weights, work, (index << 32 | repeat) << 16).await?;
        if best.is_none_or(|best| times.seconds < best.seconds) {
            best = Some(times);
        }
    }
    let times = best.ok_or_else(|| anyhow::anyhow!("nothing was repeated"))?;
    let step_at_middle = least.step(batch, (work.prompt + work.new / 2) as f64);
    Ok(SamplePoint {
        batch,
        group: work.group,
        prompt_tokens: work.prompt,
        new_tokens: work.new,
        seconds: times.seconds,
        tokens_per_s: (batch * work.new) as f64 / times.seconds,
        prefill_s: times.prefill_s,
        decode_tokens_per_s: times.step_s.map(|step| batch as f64 / step),
        share_of_roofline: least.sample(batch, work.group, work.prompt, work.new) / times.seconds,
        decode_share_of_roofline: times.step_s.map(|step| step_at_middle / step),
        peak_rss_bytes: memory::peak(),
    })
}

async fn train_point(args: &BenchEngineArgs, subject: &Subject, least: &Least, shape: Shape, index: u64) -> anyhow::Result<TrainPoint> {
    let Shape { sequences, tokens } = shape;
    memory::reset_peak();
    let mut best: Option<TrainingTimes> = None;
    for repeat in 0..args.repeats.get() as u64 {
        let times = work::train(&subject.engine, subject.adapter, sequences, tokens, (index << 32 | repeat) << 16).await?;
        if best.is_none_or(|best| times.seconds < best.seconds) {
            best = Some(times);
        }
    }
    let times = best.ok_or_else(|| anyhow::anyhow!("nothing was repeated"))?;
    Ok(TrainPoint {
        sequences,
        tokens,
        seconds: times.seconds,
        tokens_per_s: (sequences * tokens) as f64 / times.seconds,
        forward_s: times.forward_s,
        head_s: times.head_s,
        backward_s: times.backward_s,
        optimizer_s: times.optimizer_s,
        share_of_roofline: least.train(sequences, tokens, work::trained(tokens)) / times.seconds,
        peak_rss_bytes: memory::peak(),
    })
}

fn sample_line(p: &SamplePoint) -> String {
    let (share, peak) = (100.0 * p.share_of_roofline, memory::gib(p.peak_rss_bytes));
    let decode = p.decode_tokens_per_s.map_or_else(|| "-".into(), |speed| format!("{speed:.1}"));
    let decode_share = p.decode_share_of_roofline.map_or_else(|| "-".into(), |share| format!("{:.0}%", 100.0 * share));
    format!(
        "       {:>6} {:>7} {:>6} {:>9.1} {share:>8.0}% {:>10.2} {decode:>16} {decode_share:>9} {peak:>9}",
        p.batch, p.prompt_tokens, p.new_tokens, p.tokens_per_s, p.prefill_s
    )
}

fn train_line(p: &TrainPoint) -> String {
    let (share, peak) = (100.0 * p.share_of_roofline, memory::gib(p.peak_rss_bytes));
    format!(
        "        {:>9} {:>7} {:>9.1} {share:>8.0}% {:>10.2} {:>8.2} {:>11.2} {:>12.3} {peak:>9}",
        p.sequences, p.tokens, p.tokens_per_s, p.forward_s, p.head_s, p.backward_s, p.optimizer_s
    )
}

fn limits(r: &Roofline) -> String {
    format!(
        "bf16 {:.0}, f32 {:.0} GFLOP/s, int8 {:.0} Gop/s, read {:.1}, copy {:.1} GB/s",
        r.bf16_ops / 1e9,
        r.f32_ops / 1e9,
        r.int8_ops / 1e9,
        r.read_bytes / 1e9,
        r.copy_bytes / 1e9
    )
}

fn roofline_json(r: &Roofline) -> Value {
    json!({
        "bf16_gflops": r.bf16_ops / 1e9,
        "f32_gflops": r.f32_ops / 1e9,
        "int8_gops": r.int8_ops / 1e9,
        "read_gbps": r.read_bytes / 1e9,
        "copy_gbps": r.copy_bytes / 1e9,
    })
}

/// Adds the fields of `more` to `object`.
fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}
