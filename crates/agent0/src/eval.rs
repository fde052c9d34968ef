//! `agent0 eval`: scores a model on benchmarks, or compares scores. What is asked and how it is counted is `agent0-eval`'s business.

mod compare;
mod plan;
mod plot;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use agent0_eval::{Clock, Exam, Examinee, Records, Results, Subject as Scored, adapter_digest, evaluate, model_digest, records_name};
use agent0_evolve::find_run;
use anyhow::Context;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::cli::EvalArgs;
use crate::setup::{Equipment, equip, other_python};
use crate::stop::stop_signal;
use crate::subject::Subject;
use crate::terminal::Terminal;
use plan::Failed;
use show::Meter;

/// While the last answers of one exam are sampled, the next one fills the batch.
const EXAMS_AT_ONCE: usize = 2;

/// Runs the command.
pub fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    if !args.compare.is_empty() {
        return compare::run(args);
    }
    let terminal = Terminal::new(args.quiet);
    let subject = Subject::executor(args.run.as_deref(), &args.used)?;
    let (exams, failed) = plan::exams(args, &subject.config.prompts, &terminal)?;
    let folder = args.out.clone().unwrap_or_else(|| default_folder(args, &subject));
    let equipment = equip(&subject.config, args.used.isolation.unsafe_no_isolation, &terminal)?;
    let scored = scored(&subject, &equipment, &terminal)?;
    let ended = work(&exams, &subject, &scored, &equipment, &folder, &terminal);
    terminal.clear();
    let code = match ended {
        Ok(Some(results)) => {
            show::print(args, &results, &exams, &failed, &folder)?;
            u8::from(!failed.is_empty())
        }
        Ok(None) => {
            eprintln!("Stopped; nothing is lost. The same command goes on where it was.");
            1
        }
        Err(error) => {
            eprintln!("agent0: {error:#}\nAnswers that were given are kept; the same command goes on from there.");
            1
        }
    };
    // The engine may be in the middle of a long computation that nobody waits for any more: do not wait either.
    drop(equipment.sandbox);
    std::process::exit(code.into());
}

/// Asks everything until it is done, or someone presses Ctrl-C: then `None`.
fn work(
    exams: &[Exam],
    subject: &Subject,
    scored: &Scored,
    equipment: &Equipment,
    folder: &Path,
    terminal: &Terminal,
) -> anyhow::Result<Option<Results>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")?;
    let whole = async {
        let before = Results::read(folder).ok().and_then(|there| there.subject.python);
        let mut results = Results::open(folder, scored)?;
        if let Some(warning) = other_python(&folder.display().to_string(), before.as_deref(), &equipment.python) {
            terminal.warn(&warning);
        }
        let examinee = Examinee {
            engine: &equipment.engine,
            codec: equipment.tokenizer.clone() as Arc<_>,
            weights: subject.weights(&equipment.engine).await?,
            tool: &*equipment.sandbox,
            grader: &equipment.grader,
            in_flight: subject.config.engine.in_flight,
        };
        let clock = Clock::start();
        let score = async |exam: &Exam| {
            let name = records_name(&exam.bench, &exam.protocol);
            let mut records = Records::open(&folder.join(&name))?;
            let meter = Meter::new(exam, terminal);
            anyhow::Ok(evaluate(&examinee, exam, &mut records, &name, &clock, &|standing| meter.told(standing)).await?)
        };
        let mut scores = std::pin::pin!(stream::iter(exams).map(score).buffered(EXAMS_AT_ONCE));
        while let Some(score) = scores.try_next().await? {
            terminal.line(&show::line(&score));
            results.put(folder, score)?;
        }
        Ok(results)
    };
    runtime.block_on(async {
        tokio::select! {
            done = whole => done.map(Some),
            stop = stop_signal() => stop.map(|()| None).context("waiting for Ctrl-C"),
        }
    })
}

/// Which weights these are, to the bit.
fn scored(subject: &Subject, equipment: &Equipment, terminal: &Terminal) -> anyhow::Result<Scored> {
    terminal.status("taking the model's digest");
    let info = agent0_engine::Engine::info(&equipment.engine);
    Ok(Scored {
        name: subject.name.clone(),
        model: subject.config.model.clone(),
        model_digest: model_digest(&equipment.model)?,
        adapter: subject.adapter.as_ref().map(|folder| folder.display().to_string()),
        adapter_digest: subject.adapter.as_deref().map(adapter_digest).transpose()?,
        numerics: info.numerics.clone(),
        python: Some(equipment.python.clone()),
    })
}

/// `runs/NAME/evals/executor-01-0004` for a run's checkpoint, else `evals/MODEL` or `evals/MODEL-ADAPTER`.
fn default_folder(args: &EvalArgs, subject: &Subject) -> PathBuf {
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let adapter = subject.adapter.as_deref().and_then(last);
    if let Some(run) = &args.run {
        return find_run(&args.used.subject.runs, run).join("evals").join(adapter.unwrap_or_else(|| "base".to_owned()));
    }
    let model = last(Path::new(&subject.config.model)).unwrap_or_else(|| subject.config.model.clone());
    Path::new("evals").join(adapter.map_or(model.clone(), |adapter| format!("{model}-{adapter}")))
}
