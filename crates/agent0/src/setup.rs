//! Brings what a run needs: model, tokenizer, Python environment, sandbox, grader.

use std::path::Path;
use std::sync::Arc;

use agent0_answers::{Grader, MathVerify};
use agent0_compute::Dtype;
use agent0_engine::Engine;
use agent0_evolve::config::{Config, DtypeChoice};
use agent0_lm::{LocalEngine, LocalOptions, Tokenizer};
use agent0_provision::{Cache, find_model, obtain_model, python_env};
use agent0_sandbox::{Isolation, Limits, Sandbox, SandboxConfig};
use anyhow::Context;

use crate::terminal::{SetupProgress, Terminal};

/// What a run needs, running.
pub struct Equipment {
    pub engine: LocalEngine,
    pub tokenizer: Arc<Tokenizer>,
    pub sandbox: Arc<Sandbox>,
    pub grader: Grader,
}

/// Obtains and starts it all; what was obtained before is found in the cache. `unsafe_no_isolation` lets programs run even where nothing can
/// isolate them.
pub fn equip(config: &Config, unsafe_no_isolation: bool, terminal: &Terminal) -> anyhow::Result<Equipment> {
    let cache = Cache::open()?;
    let progress = SetupProgress::new(terminal);
    let progress = |event| progress.event(event);
    let model = obtain_model(&cache, &config.model, &progress)?;
    let python = python_env(&cache, None, &progress)?;

    terminal.status("starting the sandbox");
    let sandbox = SandboxConfig { unsafe_no_isolation, ..sandbox_config(&python.python, config) };
    let sandbox = Sandbox::start(sandbox).context("the sandbox for Python programs cannot be had; `agent0 doctor` says what is missing")?;
    let sandbox = Arc::new(sandbox);
    terminal.line(&format!("sandbox: isolation {}", sandbox.isolation()));
    if sandbox.isolation() == Isolation::None {
        terminal.warn("nothing isolates the executor's programs; they can do what you can do");
    }

    terminal.status(&format!("loading {}", model.display()));
    let tokenizer = Arc::new(Tokenizer::open(&model)?);
    if !tokenizer.has_chat_template() {
        terminal.line("note: the model brings no chat template; ChatML is used");
    }
    let engine = LocalEngine::open(&model, &options(config))?;
    let info = engine.info();
    terminal.line(&format!("model: {}, {}, context {} tokens", info.model, info.numerics, info.context));
    for note in &info.notes {
        terminal.line(&format!("note: {note}"));
    }
    let grader = Grader::new(Some(Arc::new(MathVerify::new(sandbox.clone()))));
    Ok(Equipment { engine, tokenizer, sandbox, grader })
}

fn sandbox_config(python: &Path, config: &Config) -> SandboxConfig {
    let limits = &config.sandbox;
    let mut sandbox = SandboxConfig::new(python);
    sandbox.preload.extend(MathVerify::PRELOAD.map(str::to_owned));
    sandbox.limits = Limits { memory_bytes: limits.memory_mib << 20, ..Limits::with_cpu(limits.cpu_s) };
    if limits.concurrency > 0 {
        sandbox.concurrency = limits.concurrency;
    }
    sandbox
}

fn options(config: &Config) -> LocalOptions {
    let chosen = |n: usize| (n > 0).then_some(n);
    LocalOptions {
        threads: chosen(config.engine.threads),
        dtype: match config.engine.dtype {
            DtypeChoice::Auto => None,
            DtypeChoice::F32 => Some(Dtype::F32),
            DtypeChoice::Bf16 => Some(Dtype::Bf16),
            DtypeChoice::Q8 => Some(Dtype::Q8),
        },
        kv_bytes: (config.engine.kv_mib > 0).then_some(config.engine.kv_mib << 20),
        micro_tokens: Some(config.training.micro_batch_tokens),
        base: find_model(&config.model).ok().map(|entry| entry.base.to_owned()),
        ..LocalOptions::default()
    }
}
