//! Brings what a run needs: model, tokenizer, Python environment, sandbox, grader.

use std::path::{Path, PathBuf};
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
    /// Where the model's file or folder is.
    pub model: PathBuf,
    pub engine: LocalEngine,
    pub tokenizer: Arc<Tokenizer>,
    pub sandbox: Arc<Sandbox>,
    /// The version of Python in the sandbox, and of its packages: what programs print may depend on them.
    pub python: String,
    pub grader: Grader,
}

/// Obtains and starts it all; what was obtained before is found in the cache. `unsafe_no_isolation` lets programs run even where nothing can
/// isolate them.
pub fn equip(config: &Config, unsafe_no_isolation: bool, terminal: &Terminal) -> anyhow::Result<Equipment> {
    if unsafe_no_isolation {
        terminal.warn("with --unsafe-no-isolation, programs that nobody has read run even where nothing isolates them");
    }
    let cache = Cache::open()?;
    let model = provide_model(&cache, config, terminal)?;
    let (sandbox, python) = provide_sandbox(&cache, config, unsafe_no_isolation, terminal)?;
    let (engine, tokenizer) = load(&model, config, terminal)?;
    let grader = Grader::new(Some(Arc::new(MathVerify::new(sandbox.clone()))));
    Ok(Equipment { model, engine, tokenizer, sandbox, python, grader })
}

/// The same without tool and grader: no Python is needed.
pub fn equip_without_tool(config: &Config, terminal: &Terminal) -> anyhow::Result<(LocalEngine, Arc<Tokenizer>)> {
    load(&provide_model(&Cache::open()?, config, terminal)?, config, terminal)
}

fn provide_model(cache: &Cache, config: &Config, terminal: &Terminal) -> anyhow::Result<PathBuf> {
    let progress = SetupProgress::new(terminal);
    Ok(obtain_model(cache, &config.model, &|event| progress.event(event))?)
}

fn provide_sandbox(
    cache: &Cache,
    config: &Config,
    unsafe_no_isolation: bool,
    terminal: &Terminal,
) -> anyhow::Result<(Arc<Sandbox>, String)> {
    let progress = SetupProgress::new(terminal);
    let env = python_env(cache, None, &|event| progress.event(event))?;
    terminal.status("starting the sandbox");
    let sandbox = SandboxConfig { unsafe_no_isolation, ..sandbox_config(&env.python, config) };
    let sandbox = Sandbox::start(sandbox).context("the sandbox for Python programs cannot be had; `agent0 doctor` says what is missing")?;
    let sandbox = Arc::new(sandbox);
    terminal.line(&format!("sandbox: isolation {}, Python {}", sandbox.isolation(), env.version));
    if sandbox.isolation() == Isolation::None {
        terminal.warn("nothing isolates the model's programs; they can do what you can do");
    }
    Ok((sandbox, format!("Python {} with {}", env.version, env.packages.join(", "))))
}

/// What to say when the programs of a run or a folder of answers were run by another Python before. No reason to stop: systems are kept up to date.
pub fn other_python(whose: &str, before: Option<&str>, now: &str) -> Option<String> {
    let before = before.filter(|before| *before != now)?;
    Some(format!(
        "programs of {whose} were run by {before}, and are now run by {now}: what they print may differ, and nobody can repeat it bit for bit"
    ))
}

fn load(model: &Path, config: &Config, terminal: &Terminal) -> anyhow::Result<(LocalEngine, Arc<Tokenizer>)> {
    terminal.status(&format!("loading {}", model.display()));
    let tokenizer = Arc::new(Tokenizer::open(model)?);
    if !tokenizer.has_chat_template() {
        terminal.line("note: the model brings no chat template; ChatML is used");
    }
    let engine = LocalEngine::open(model, &options(config))?;
    let info = engine.info();
    terminal.line(&format!("model: {}, {} ({}), context {} tokens", info.model, info.numerics, info.processor, info.context));
    for note in &info.notes {
        terminal.line(&format!("note: {note}"));
    }
    Ok((engine, tokenizer))
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
        adapter_rank: Some(config.lora.rank),
        base: find_model(&config.model).ok().map(|entry| entry.base.to_owned()),
        ..LocalOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_python_is_told_and_the_same_or_none_is_not() {
        assert_eq!(other_python("it", None, "Python 3.11.2"), None);
        assert_eq!(other_python("it", Some("Python 3.11.2"), "Python 3.11.2"), None);
        let warning = other_python("it", Some("Python 3.11.2"), "Python 3.13.1").unwrap();
        assert!(warning.starts_with("programs of it were run by Python 3.11.2, and are now run by Python 3.13.1"), "{warning}");
    }
}
