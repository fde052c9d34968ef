//! `agent0 bench`: the engine measured on this machine, and the machine itself. This file holds what both commands share.

mod engine;
mod growth;
mod least;
mod memory;
mod products;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use agent0_compute::Dtype;
use agent0_engine::{AdapterId, Engine, LINEAR_LAYERS, LoraSpec};
use agent0_lm::{LocalEngine, LocalOptions, ModelConfig};
use agent0_provision::{Cache, obtain_model};
use anyhow::Context;

use crate::cli::{BenchArgs, BenchCommand, EngineArgs};
use crate::terminal::{SetupProgress, Terminal};

/// Runs the command.
pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("starting the event loop")?;
    match &args.command {
        BenchCommand::Engine(args) => runtime.block_on(engine::run(args))?,
        BenchCommand::Growth(args) => runtime.block_on(growth::run(args))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a result is told as it comes: standard output, or standard error when that is kept for JSON.
struct Report {
    json: bool,
}

impl Report {
    fn line(&self, text: &str) {
        if self.json { eprintln!("{text}") } else { println!("{text}") }
    }
}

/// The model's file or folder, obtained if need be.
fn provide(model: &str) -> anyhow::Result<PathBuf> {
    let terminal = Terminal::new(false);
    let progress = SetupProgress::new(&terminal);
    let path = obtain_model(&Cache::open()?, model, &|event| progress.event(event));
    terminal.clear();
    Ok(path?)
}

/// The shape of a model, without its weights.
fn shape(path: &Path) -> anyhow::Result<ModelConfig> {
    Ok(agent0_lm::open(path)?.config().clone())
}

/// An engine with an adapter, ready to be measured.
struct Subject {
    engine: LocalEngine,
    adapter: AdapterId,
    /// Seconds that loading took.
    load_s: f64,
}

impl Subject {
    /// Loads the model; `batch` is the most sequences it will have to sample at once.
    async fn open(path: &Path, args: &EngineArgs, threads: Option<usize>, batch: usize) -> anyhow::Result<Self> {
        let options = LocalOptions {
            threads,
            isa: args.isa,
            dtype: args.dtype.dtype(),
            max_batch: Some(batch),
            micro_tokens: Some(args.micro_batch),
            ..LocalOptions::default()
        };
        let began = Instant::now();
        let engine = LocalEngine::open(path, &options)?;
        let load_s = began.elapsed().as_secs_f64();
        let rank = usize::from(args.rank);
        let targets = LINEAR_LAYERS.map(str::to_owned).to_vec();
        let adapter = engine.create_adapter(LoraSpec { rank, alpha: 2.0 * rank as f32, targets, seed: 1 }).await?;
        Ok(Self { engine, adapter, load_s })
    }

    /// The format of the frozen weights, by the engine's own word.
    fn dtype(&self) -> anyhow::Result<Dtype> {
        let word = self.engine.info().numerics.split_whitespace().next().unwrap_or_default();
        [Dtype::F32, Dtype::Bf16, Dtype::Q8]
            .into_iter()
            .find(|&dtype| name(dtype) == word)
            .with_context(|| format!("the engine computes in {word:?}, which this command does not know"))
    }
}

fn name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "f32",
        Dtype::Bf16 => "bf16",
        Dtype::Q8 => "q8",
    }
}
